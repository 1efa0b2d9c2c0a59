"""What a provider says, on its way to the client."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.dialects.realtime import (
    AUDIO_DELTAS,
    JsonObject,
    RealtimeFrameError,
    delta_to_pcm,
    dump_event,
    load_event,
    sound_of,
    with_sound,
)
from switchboard.dialects.realtime.script import Script
from switchboard.engine.converse.held import UPDATE
from switchboard.engine.converse.renewal import Renewal
from switchboard.engine.converse.talk.state import PCM, TalkState
from switchboard.engine.converse.toolbox import Toolbox
from switchboard.engine.converse.usage import estimated, usage_of
from switchboard.engine.converse.words import TELLING, mask_words

_log: Final = logging.getLogger("switchboard.relay")
_TRANSCRIBED: Final = "conversation.item.input_audio_transcription.completed"
_UPDATED: Final = ("session.updated", "transcription_session.updated")
#: Bytes of a millisecond of sound that is no PCM, by the names of either shape.
_BYTES_PER_MS: Final = {"g711_ulaw": 8, "g711_alaw": 8, "audio/pcmu": 8, "audio/pcma": 8}
_MOST_CALLS: Final = 256


class ProviderSide(TalkState):
    """The part of a `Talk` that listens to the provider."""

    def from_provider(self, data: bytes) -> None:
        """A text message of the provider."""
        try:
            kind, item, characters = sound_of(data)
            if kind in AUDIO_DELTAS:
                self._sound(data, kind, item, characters)
                return
            for secret in self._secret_bytes:
                if secret in data:  # whatever it echoes, and wherever
                    data = data.replace(secret, b"***")
            if kind in _READ:
                event = load_event(data)
                read = self._read(kind, event)
                if read is None:
                    return
                if read:
                    data = dump_event(event)
                self._tell(data, kind)
                if kind == "response.done":
                    self._done(event)
                elif kind == _TRANSCRIBED:
                    self._transcribed(event)
            else:
                self._tell(data, kind)
        except RealtimeFrameError as e:
            _log.warning("the provider sent what is no event: %s", e)
        except Problem as p:
            self._ends.broken(p)

    def _tell(self, data: bytes, kind: str) -> None:
        for frame in self._translator.from_provider(data, kind):
            self._ends.to_client(frame)

    def _sound(self, data: bytes, kind: str, item: str, characters: int) -> None:
        ms = characters * 0.75 / self._bytes_per_ms  # base64 makes four characters of three bytes
        self.script.sound(item, ms)
        self._made_ms += ms
        if self._ended is not None:
            self._stats.sound_after(now() - self._ended)
            self._ended = None
        if self._binary or self._down is not None:
            pcm = delta_to_pcm(data)
            if pcm is not None and self._down is not None:
                pcm = self._down.feed(pcm)
                data = with_sound(data, pcm)
            if pcm is not None and self._binary:
                if pcm:
                    self._ends.sound_to_client(pcm, binary=True)
                return
        for frame in self._translator.from_provider(data, kind):
            self._ends.sound_to_client(frame, binary=False)

    def _read(self, kind: str, event: JsonObject) -> bool | None:
        """Take notice of an event: None where the client does not hear of it, else whether it was changed. Raises `Problem`."""
        if kind == "error":
            return None if self._error(event) else mask_words(event, self._secrets)
        if self._renewed and self._renewal.hides(kind, event):
            return None
        aside = self._responses.aside(event)
        if kind in Script.WANTED and not aside:
            self.script.event(kind, event, time.time())
        if kind in Renewal.WANTED and not aside:
            self._renewal.event(kind, event)
        hidden = kind in _UPDATED and self._renewal.updated()
        changed = kind in TELLING and mask_words(event, self._secrets)
        if self._toolbox is not None and kind in Toolbox.WANTED:
            of_ours, edited = self._toolbox.event(kind, event, aside=aside)
            changed = changed or edited
            hidden = hidden or of_ours
        notice = self._NOTICED.get(kind)
        if notice is not None:
            notice(self, event)
        return None if hidden else changed

    # ---- what is noticed

    def _error(self, event: JsonObject) -> bool:
        """An error of the provider; whether the client does not hear of it. Raises `Problem`."""
        error = event.get("error")
        if not isinstance(error, dict):
            return False
        named = error.get("event_id")
        if named == UPDATE:
            # whoever talks on now talks to a model that was told nothing
            raise Problem("PROVIDER_REJECTED", "The session could not be set up.", detail=str(error)[:500])
        if named is not None and self._renewal.refused(named):
            _log.warning("a new session did not take what was said before: %s", str(error)[:500])
            return True
        hidden, frames = self._responses.refused(error, now())
        self._to_provider(frames)
        return hidden

    def _on_session(self, event: JsonObject) -> None:
        session = event.get("session")
        if not isinstance(session, dict):
            return
        audio = _within(session, "audio")
        listens, speaks = _within(audio, "input"), _within(audio, "output")
        name = session.get("output_audio_format") or _within(speaks, "format").get("type")
        self._bytes_per_ms = _BYTES_PER_MS.get(name, PCM) if isinstance(name, str) else PCM
        scribe = _within(session, "input_audio_transcription") or _within(listens, "transcription")
        self._scribe = str(scribe.get("model") or "")
        for held in (session, listens):
            if "turn_detection" in held:
                self._turns = held["turn_detection"] is not None

    def _on_speech(self, _event: JsonObject) -> None:
        self._speaking = True

    def _on_speech_end(self, _event: JsonObject) -> None:
        self._speaking = False
        self._ended = now()

    def _on_committed(self, _event: JsonObject) -> None:
        self._unheard = False
        if self._ended is None:
            self._ended = now()

    def _on_begun(self, event: JsonObject) -> None:
        response = event.get("response")
        if isinstance(response, dict):
            self._responses.begun(response)
        self._response_began = now()

    def _on_words(self, event: JsonObject) -> None:
        delta = event.get("delta")
        if isinstance(delta, str):
            self._made_characters += len(delta)

    def _on_done(self, event: JsonObject) -> None:
        response = event.get("response")
        if not isinstance(response, dict) or self._responses.aside(event):
            return
        if response.get("status") == "cancelled":
            self._stats.interruptions += 1
            self._ends.sound_is_stale()
        output = response.get("output")
        for item in output if isinstance(output, list) else ():  # ours were taken out of it
            if isinstance(item, dict) and item.get("type") == "function_call" and len(self._calls) < _MOST_CALLS:
                self._calls.add(str(item.get("call_id")))

    _NOTICED: Final[dict[str, Callable[[ProviderSide, JsonObject], None]]] = {
        "session.created": _on_session,
        "session.updated": _on_session,
        "transcription_session.updated": _on_session,
        "input_audio_buffer.speech_started": _on_speech,
        "input_audio_buffer.speech_stopped": _on_speech_end,
        "input_audio_buffer.committed": _on_committed,
        "input_audio_buffer.cleared": _on_committed,
        "response.created": _on_begun,
        "response.done": _on_done,
        "response.output_text.delta": _on_words,
        "response.text.delta": _on_words,
        "response.output_audio_transcript.delta": _on_words,
        "response.audio_transcript.delta": _on_words,
    }

    # ---- what follows, once the client has heard of it

    def _done(self, event: JsonObject) -> None:
        usage = usage_of(event)
        if usage is None:
            self._settle()
        response = event.get("response")
        # before it is billed, which may be the end
        frames = self._responses.done(response if isinstance(response, dict) else {}, now())
        if usage is not None:
            self._made_characters, self._made_ms = 0, 0.0
            self._ends.answered(usage, self._response_began or now())
        self._to_provider(frames)

    def _transcribed(self, event: JsonObject) -> None:
        usage = usage_of(event)
        if usage is not None:
            self._ends.answered(usage, now(), self._scribe)

    def _settle(self) -> None:
        """What is under way is over without a word of what it used: about what was made of it is billed."""
        active = self._responses.active
        if (active and active != self._billed) or self._made_characters or self._made_ms:
            self._billed = active  # what follows may be the end, which settles too
            context = sum(len(s.content) for s in self.script.said())
            usage = estimated(context, self._made_characters, self._made_ms)
            self._made_characters, self._made_ms = 0, 0.0
            self._ends.answered(usage, self._response_began or now())


def _within(body: JsonObject, name: str) -> JsonObject:
    """The object that `body` has under `name`; an empty one where there is none."""
    found: Any = body.get(name)
    return found if isinstance(found, dict) else {}


#: Events of the provider that some stage wants.
_READ: Final = (
    TELLING
    | Script.WANTED
    | Toolbox.WANTED
    | Renewal.WANTED
    | frozenset(ProviderSide._NOTICED)
    | {"conversation.created", _TRANSCRIBED}
)
