"""What stands between a client and a provider in a conversation by voice: the stages that an event goes through, both ways.

From the client: what it may change of the session → the provider's shape → one response at a time. From the provider: usage, transcript,
server tools → the client's shape. Most frames are sound, which no stage wants: they pass as bytes. Nothing here knows of sockets.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from switchboard.core.clock import now
from switchboard.core.errors import Problem
from switchboard.core.types import Usage
from switchboard.dialects.realtime import (
    AUDIO_DELTAS,
    JsonObject,
    RealtimeFrameError,
    Shape,
    Translator,
    append_to_pcm,
    binary_to_append,
    clamp_truncate,
    delta_to_pcm,
    dump_event,
    field_guard,
    guess,
    load_event,
    plain_type,
    sound_of,
    with_sound,
)
from switchboard.dialects.realtime.script import Script
from switchboard.engine.converse.held import UPDATE, HeldSession
from switchboard.engine.converse.rate import Resampler
from switchboard.engine.converse.renewal import Renewal
from switchboard.engine.converse.responses import Responses
from switchboard.engine.converse.stats import Stats
from switchboard.engine.converse.toolbox import Toolbox
from switchboard.engine.converse.usage import usage_of

_log: Final = logging.getLogger("switchboard.relay")
_APPEND: Final = "input_audio_buffer.append"
#: Asks whether the server lives, for proxies that answer pings themselves; told by `_PONG`, which is also the heartbeat.
_PING: Final = "switchboard.ping"
_PONG: Final = dump_event({"type": "switchboard.pong"})
#: Bytes of a millisecond of sound, by the names of either shape; base64 makes four characters of three.
_BYTES_PER_MS: Final = {"g711_ulaw": 8, "g711_alaw": 8, "audio/pcmu": 8, "audio/pcma": 8}
_PCM: Final = 48
#: Hz of the sound of both interfaces.
RATE: Final = 24_000


class Ends(Protocol):
    """What a conversation is between."""

    def to_client(self, frame: bytes) -> None:
        """Send an event."""

    def sound_to_client(self, frame: bytes, *, binary: bool) -> None:
        """Send sound, as an event or by itself."""

    def sound_is_stale(self) -> None:
        """The user broke in: what waits of the sound is not to be heard any more."""

    def to_provider(self, frame: bytes, *, sound: bool = False) -> None:
        """Send an event."""

    def answered(self, usage: Usage | None, began: float) -> None:
        """A response is over; `usage` where the provider told, `began` on the monotonic clock."""

    def broken(self, problem: Problem) -> None:
        """The conversation cannot go on."""


class Talk:
    """One conversation between the `ends`. `binary`: the client wants sound as binary messages; `rate` is that of its sound, in Hz."""

    def __init__(
        self,
        session: HeldSession,
        client: Shape,
        provider: Shape,
        ends: Ends,
        stats: Stats,
        *,
        binary: bool = False,
        rate: int = RATE,
    ) -> None:
        self._session = session
        self._ends = ends
        self._stats = stats
        self._translator = Translator(client, provider)
        self._binary = binary
        self._up = self._down = None
        if rate != RATE:
            self._up, self._down = Resampler(rate, RATE), Resampler(RATE, rate)
        self.script = Script()
        self._responses = Responses()
        self._renewal = Renewal()
        self._toolbox = Toolbox(session.tools, self._tool_answered, self._ask) if session.tools.described() else None
        self._first = True  # nothing has come from the client yet
        self._bytes_per_ms = _PCM
        self._speaking = False  # the user
        self._ended: float | None = None  # when the user had said all, until something is answered
        self._response_began = 0.0
        self._answering = False  # something of the response under way was passed on
        self._unanswered = False  # a response was lost before anything came of it
        self._renewed = False

    def news(self) -> list[dict[str, Any]] | None:
        """All that was said, where that changed since it was last asked for."""
        if not self.script.changed:
            return None
        self.script.changed = False
        return self.script.messages()

    @property
    def quiet(self) -> bool:
        """Whether nobody says anything."""
        return not self._speaking and not self._responses.busy

    # ---- from the client

    def from_client(self, data: bytes) -> None:
        """A text message of the client. What is wrong with it is told to the client."""
        try:
            kind, plain = plain_type(data)
            if not kind:
                raise RealtimeFrameError("The event has no type.", "invalid_event")
            if self._first:
                self._guess(data)
            if not plain:  # two readers could take it for different events: now they cannot
                data = dump_event(load_event(data))
            stage = self._CLIENT.get(kind)
            if stage is not None:
                stage(self, data, kind)
            elif kind == _APPEND and self._up is not None:
                self._resampled(data)
            else:
                self._pass(data, kind)
        except RealtimeFrameError as e:
            self._ends.to_client(error_event(str(e), e.code))

    def sound_from_client(self, pcm: bytes) -> None:
        """A binary message of the client: sound, 16 bits, mono."""
        self._first = False
        if self._up is not None:
            pcm = self._up.feed(pcm)
        if pcm:
            self._ends.to_provider(binary_to_append(pcm), sound=True)

    def _guess(self, data: bytes) -> None:
        self._first = False
        spoken = guess(data)
        if spoken is not None and spoken is not self._translator.client:
            self._translator.correct(spoken)

    def _pass(self, data: bytes, kind: str) -> None:
        for frame in self._translator.from_client(data, kind):
            self._ends.to_provider(frame, sound=kind == _APPEND)

    def _resampled(self, data: bytes) -> None:
        pcm = append_to_pcm(data)
        if pcm is None or self._up is None:
            self._pass(data, _APPEND)
        elif made := self._up.feed(pcm):
            self._ends.to_provider(binary_to_append(made), sound=True)

    def _on_update(self, data: bytes, kind: str) -> None:
        self._to_provider(self._updates(self._translator.from_client(self._guarded(data), kind)))

    def _updates(self, frames: list[bytes]) -> list[bytes]:
        """Updates of the session, in the provider's shape, with what the server adds to them."""
        events = [load_event(frame) for frame in frames]
        for event in events:
            session = event.get("session")
            if isinstance(session, dict):
                self._with_tools(session)
                self._renewal.updated(session)
        return [dump_event(event) for event in events]

    def _on_create(self, data: bytes, kind: str) -> None:
        for frame in self._translator.from_client(self._guarded(data), kind):
            event = load_event(frame)
            body = event.get("response")
            if isinstance(body, dict):
                self._with_tools(body)
            self._to_provider(self._responses.ask(event, now()))

    def _on_truncate(self, data: bytes, kind: str) -> None:
        item = load_event(data).get("item_id")
        if isinstance(item, str) and (played := self.script.played(item)):
            data = clamp_truncate(data, int(played))
        self._pass(data, kind)

    def _on_ping(self, _data: bytes, _kind: str) -> None:
        self._ends.to_client(_PONG)

    _CLIENT: Final[dict[str, Callable[[Talk, bytes, str], None]]] = {
        "session.update": _on_update,
        "transcription_session.update": _on_update,
        "response.create": _on_create,
        "conversation.item.truncate": _on_truncate,
        _PING: _on_ping,
    }

    def _guarded(self, data: bytes) -> bytes:
        data, removed = field_guard(data, self._session.allowed)
        for name in removed:
            _log.debug("a client may not set %s", name)
        return data

    def _with_tools(self, body: JsonObject) -> None:
        """A list of the client's tools takes the place of the one before: ours go into it."""
        tools = body.get("tools")
        if self._toolbox is not None and isinstance(tools, list):
            body["tools"] = self._session.with_ours(tools)

    # ---- from the provider

    def from_provider(self, data: bytes) -> None:
        """A text message of the provider."""
        try:
            kind, item, characters = sound_of(data)
            if kind in AUDIO_DELTAS:
                self._sound(data, kind, item, characters)
                return
            if kind in _READ:
                event = load_event(data)
                read = self._read(kind, event)
                if read is None:
                    return
                if read:
                    data = dump_event(event)
                self._tell(data, kind)
                self._after(kind, event)
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
        self.script.sound(item, characters * 0.75 / self._bytes_per_ms)
        self._answering = True
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
            return None if self._error(event) else False
        if self._renewed and self._renewal.hides(kind, event):
            return None
        if kind in Script.WANTED and not self._responses.aside(event):
            self.script.event(kind, event, time.time())
        changed = False
        if self._toolbox is not None and kind in Toolbox.WANTED:
            hidden, changed = self._toolbox.event(kind, event)
            if hidden:
                return None
        notice = self._NOTICED.get(kind)
        if notice is not None:
            notice(self, event)
        return changed

    def _after(self, kind: str, event: JsonObject) -> None:
        """What follows from an event, once the client has it."""
        if kind == "response.done":
            response = event.get("response")
            self._to_provider(self._responses.done(response if isinstance(response, dict) else {}, now()))

    def _error(self, event: JsonObject) -> bool:
        """An error of the provider; whether the client does not hear of it. Raises `Problem`."""
        error = event.get("error")
        if not isinstance(error, dict):
            return False
        if error.get("event_id") == UPDATE:
            # whoever talks on now talks to a model that was told nothing
            raise Problem("PROVIDER_REJECTED", "The session could not be set up.", detail=str(error)[:500])
        if self._renewed and self._renewal.hides("error", event):
            _log.warning("a new session did not take what was said before: %s", str(error)[:500])
            return True
        hidden, frames = self._responses.refused(error, now())
        self._to_provider(frames)
        return hidden

    def _on_session(self, event: JsonObject) -> None:
        self._bytes_per_ms = _BYTES_PER_MS.get(_output_format(event.get("session")), _PCM)

    def _on_speech(self, _event: JsonObject) -> None:
        self._speaking = True

    def _on_speech_end(self, _event: JsonObject) -> None:
        self._speaking = False
        self._ended = now()

    def _on_committed(self, _event: JsonObject) -> None:
        if self._ended is None:
            self._ended = now()

    def _on_begun(self, event: JsonObject) -> None:
        response = event.get("response")
        if isinstance(response, dict):
            self._responses.begun(response)
        self._response_began, self._answering = now(), False

    def _on_done(self, event: JsonObject) -> None:
        response = event.get("response")
        if isinstance(response, dict) and response.get("status") == "cancelled":
            self._stats.interruptions += 1
            self._ends.sound_is_stale()
        self._ends.answered(usage_of(event), self._response_began or now())

    def _on_text(self, _event: JsonObject) -> None:
        self._answering = True

    _NOTICED: Final[dict[str, Callable[[Talk, JsonObject], None]]] = {
        "session.created": _on_session,
        "session.updated": _on_session,
        "input_audio_buffer.speech_started": _on_speech,
        "input_audio_buffer.speech_stopped": _on_speech_end,
        "input_audio_buffer.committed": _on_committed,
        "response.created": _on_begun,
        "response.done": _on_done,
        "response.output_text.delta": _on_text,
        "response.text.delta": _on_text,
    }

    # ---- tools

    def _tool_answered(self, call: str, output: str) -> None:
        self._stats.tool_calls += 1
        item = {"type": "function_call_output", "call_id": call, "output": output}
        self._ends.to_provider(dump_event({"type": "conversation.item.create", "item": item}))

    def _ask(self) -> None:
        """The model is to go on."""
        try:
            self._to_provider(self._responses.ask({"type": "response.create"}, now()))
        except RealtimeFrameError:
            _log.debug("the model goes on with what else it was asked for")

    # ---- sessions of the provider

    def begin(self, *, again: bool) -> list[bytes]:
        """What a provider's session is told first; `again`: one that goes on with this conversation."""
        shape = self._translator.provider
        update = self._session.update(shape)
        out = [] if update is None else [update]
        if again:
            self._renewed = True
            self._stats.renewed += 1
            out += self._renewal.frames(shape, self.script.said(), own_update=update is not None)
            if self._unanswered:
                self._unanswered = False
                out += self._responses.ask({"type": "response.create"}, now())
            else:
                out += self._responses.go_on(now())
        return out

    def configured(self, session: JsonObject) -> list[bytes]:
        """What the provider is told of the session (in GA's shape) that the client asked for when it got its secret."""
        own = {name: value for name, value in session.items() if name != "model"}  # which was chosen by it
        frame = self._guarded(dump_event({"type": "session.update", "session": own}))
        return self._updates(Translator(Shape.GA, self._translator.provider).from_client(frame, "session.update"))

    def dropped(self) -> None:
        """The provider's session broke off; another one is coming."""
        self._speaking = False
        lost = self._responses.lost()
        if not lost:
            return
        self._unanswered = not self._answering
        if lost != "?":
            error = {"type": "server_error", "code": "session_renewed"}
            response: JsonObject = {
                "id": lost,
                "object": "realtime.response",
                "status": "failed",
                "status_details": {"type": "failed", "error": error},
                "output": [],
                "usage": None,
            }
            event = {"type": "response.done", "event_id": "evt_switchboard_lost", "response": response}
            self.script.event("response.done", event | {"response": response | {"status": "incomplete"}}, time.time())
            self._tell(dump_event(event), "response.done")

    # ---- time

    def tick(self, at: float) -> None:
        """It is `at` (seconds, monotonic)."""
        self._to_provider(self._responses.tick(at))

    def close(self) -> None:
        """It is over."""
        if self._toolbox is not None:
            self._toolbox.close()
        self._stats.lost.update(self._translator.dropped)

    def heartbeat(self) -> None:
        """Tell the client that the server lives."""
        self._ends.to_client(_PONG)

    def _to_provider(self, frames: list[bytes]) -> None:
        for frame in frames:
            self._ends.to_provider(frame)


#: Events of the provider that some stage wants.
_READ: Final = Script.WANTED | Toolbox.WANTED | frozenset(Talk._NOTICED) | {"error", "conversation.created"}


def _output_format(session: Any) -> str:
    """The name of the format of what the model says, in either shape."""
    if not isinstance(session, dict):
        return ""
    found = session.get("output_audio_format")
    for name in ("audio", "output", "format", "type"):
        session = session.get(name) if isinstance(session, dict) else None
    found = found or session
    return found if isinstance(found, str) else ""


def error_event(message: str, code: str = "invalid_event") -> bytes:
    """An error event, the same in both shapes."""
    error = {"type": "invalid_request_error", "code": code, "message": message, "param": None, "event_id": None}
    return dump_event({"type": "error", "event_id": "evt_switchboard_error", "error": error})
