"""What a client says, on its way to the provider."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from switchboard.core.clock import now
from switchboard.dialects.realtime import (
    JsonObject,
    RealtimeFrameError,
    append_to_pcm,
    binary_to_append,
    clamp_truncate,
    dump_event,
    field_guard,
    guess,
    load_event,
    plain_type,
    unambiguous,
)
from switchboard.engine.converse.talk.state import PONG, TalkState, error_event

_log: Final = logging.getLogger("switchboard.relay")
_APPEND: Final = "input_audio_buffer.append"
_CREATE: Final = "conversation.item.create"
#: Asks whether the server lives, for proxies that answer pings themselves.
_PING: Final = "switchboard.ping"
#: Bytes of an event that is read here, of an item (which may hold a picture), and of one that is read here for it has to be
#: translated. Reading is work for the whole server.
_MOST: Final = 256 * 1024
_MOST_ITEM: Final = 8 * 1024 * 1024
_MOST_READ: Final = 1024 * 1024


class _Item(Struct):
    id: Any = None
    type: Any = None
    role: Any = None
    name: Any = None
    call_id: Any = None


class _About(Struct):
    """What of an event says what it is about."""

    event_id: Any = None
    item_id: Any = None
    previous_item_id: Any = None
    response_id: Any = None
    item: _Item | None = None


_about: Final = msgspec.json.Decoder(_About).decode


class ClientSide(TalkState):
    """The part of a `Talk` that listens to the client."""

    def from_client(self, data: bytes) -> None:
        """A text message of the client. What is wrong with it is told to the client."""
        try:
            kind, plain = plain_type(data)
            if not kind:
                raise RealtimeFrameError("The event has no type.", "invalid_event")
            if kind != _APPEND:
                self._bound(data, kind)
            if self._first:
                self._guess(data)
            if not plain:
                data = unambiguous(data)
            stage = self._CLIENT.get(kind)
            if stage is not None:
                stage(self, data, kind)
            else:
                self._pass(data, kind)
        except RealtimeFrameError as e:
            self._ends.to_client(error_event(str(e), e.code, _name_of(data)))

    def _bound(self, data: bytes, kind: str) -> None:
        most = _MOST
        if kind == _CREATE:
            translated = self._translator.client is not self._translator.provider
            most = _MOST_READ if translated else _MOST_ITEM
        if len(data) > most:
            raise RealtimeFrameError(f"The event is larger than {most} bytes.", "event_too_large")

    def sound_from_client(self, pcm: bytes) -> None:
        """A binary message of the client: sound, 16 bits, mono."""
        self._first = False
        if self._up is not None:
            pcm = self._up.feed(pcm)
        if pcm:
            self._unheard = True
            self._ends.to_provider(binary_to_append(pcm), sound=True)

    def _guess(self, data: bytes) -> None:
        self._first = False
        spoken = guess(data)
        if spoken is not None and spoken is not self._translator.client:
            self._translator.correct(spoken)

    def _pass(self, data: bytes, kind: str) -> None:
        for frame in self._translator.from_client(data, kind):
            self._ends.to_provider(frame)

    # ---- the stages

    def _on_append(self, data: bytes, kind: str) -> None:
        self._unheard = True
        if self._up is not None:
            pcm = append_to_pcm(data)
            if pcm is not None:
                made = self._up.feed(pcm)
                if made:
                    self._ends.to_provider(binary_to_append(made), sound=True)
                return
        for frame in self._translator.from_client(data, kind):
            self._ends.to_provider(frame, sound=True)

    def _on_update(self, data: bytes, kind: str) -> None:
        self._to_provider(self._updates(self._translator.from_client(self._guarded(data), kind)))

    def _updates(self, frames: list[bytes]) -> list[bytes]:
        """Updates of the session, in the provider's shape, with what the server adds to them."""
        events = [load_event(frame) for frame in frames]
        for event in events:
            session = event.get("session")
            if isinstance(session, dict):
                self._with_tools(session)
            self._renewal.asks(event)
        return [dump_event(event) for event in events]

    def _on_create(self, data: bytes, kind: str) -> None:
        for frame in self._translator.from_client(self._guarded(data), kind):
            event = load_event(frame)
            body = event.get("response")
            if isinstance(body, dict):
                self._with_tools(body)
                if isinstance(body.get("input"), list):
                    body["input"] = [i for i in body["input"] if not self._is_refused(i)]
            self._to_provider(self._responses.ask(event, now()))

    def _on_item(self, data: bytes, kind: str) -> None:
        about = self._about(data)
        item = about.item
        if item is not None:
            if self._is_refused({n: getattr(item, n) for n in _Item.__struct_fields__}):
                text = "Items of this kind are the server's: system messages where it holds instructions, and its tools' calls."
                raise RealtimeFrameError(text, "not_allowed")
            if item.type == "function_call_output":
                self._calls.discard(str(item.call_id))
        self._pass(data, kind)

    def _is_refused(self, item: Any) -> bool:
        """Whether an item is not the client's to say."""
        if not isinstance(item, dict):
            return False
        if item.get("role") == "system" and self._session.alone:
            return True
        return self._toolbox is not None and self._toolbox.forged(item)

    def _on_named(self, data: bytes, kind: str) -> None:
        """An event about an item that is there."""
        item = self._about(data).item_id
        if kind == "conversation.item.truncate" and isinstance(item, str) and (played := self.script.played(item)):
            data = clamp_truncate(data, int(played))
        self._pass(data, kind)

    def _about(self, data: bytes) -> _About:
        """What an event is about. Raises `RealtimeFrameError` where that is no business of the client's."""
        try:
            about = _about(data)
        except (ValueError, RecursionError):
            raise RealtimeFrameError("The event has members of the wrong type.", "invalid_value") from None
        box = self._toolbox
        own = None if about.item is None else about.item.id
        if box is not None and any(box.hides(name) for name in (about.item_id, about.previous_item_id, own)):
            raise RealtimeFrameError("There is no such item.", "item_not_found")
        return about

    def _on_cancel(self, data: bytes, kind: str) -> None:
        if self._about(data).response_id is None:
            self._responses.cancelled()
        self._pass(data, kind)

    def _on_clear(self, data: bytes, kind: str) -> None:
        self._unheard = False
        self._pass(data, kind)

    def _on_ping(self, _data: bytes, _kind: str) -> None:
        self._ends.to_client(PONG)

    _CLIENT: Final[dict[str, Callable[[ClientSide, bytes, str], None]]] = {
        _APPEND: _on_append,
        _CREATE: _on_item,
        _PING: _on_ping,
        "session.update": _on_update,
        "transcription_session.update": _on_update,
        "response.create": _on_create,
        "response.cancel": _on_cancel,
        "conversation.item.truncate": _on_named,
        "conversation.item.delete": _on_named,
        "conversation.item.retrieve": _on_named,
        "input_audio_buffer.clear": _on_clear,
    }

    def _guarded(self, data: bytes) -> bytes:
        data, removed = field_guard(data, self._session.allowed)
        for name in removed:
            _log.debug("a client may not set %s", name)
        return data

    def _with_tools(self, body: JsonObject) -> None:
        """A list of the client's tools takes the place of the one before: ours go into it."""
        if isinstance(body.get("tools"), list):
            body["tools"] = self._session.with_ours(body["tools"])


def _name_of(data: bytes) -> str | None:
    """The id of a client's event."""
    try:
        name = _about(data).event_id if len(data) <= _MOST else None
    except (ValueError, RecursionError):
        return None
    return name if isinstance(name, str) else None
