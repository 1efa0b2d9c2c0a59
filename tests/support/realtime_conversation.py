"""What a Realtime server for tests does, in what its two shapes have in common (`support.beta_server`, `support.ga_server`).

It is no model, but an honest server: what it does not know of a client's events, by the official SDK's types, it refuses, and of what it
says itself it checks the same. It says back what it was told, and what it was told before, and of sound its pitch:
"You said: bread. Before: milk; a tone of 440 Hz." A user's text ``use NAME {…}`` calls that tool, if the session has it; ``at
length`` in it makes an answer of two hundred words. Its own voice is a tone of 220 Hz, 100 ms a word. Where turns are detected, it
hears speech begin and end by how loud it is.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import itertools
import json
import re
from contextlib import suppress
from typing import Any, ClassVar, Final

from websockets import ConnectionClosed
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request

from support.realtime_sound import MS, Ear, described, tone
from support.realtime_types import Json, RefusalError, Types, faults

_WORD: Final = tone(220, 100)
_PACE: Final = 0.002  # seconds between words
_LEAST: Final = 100 * MS  # a committed turn is no shorter


class Notes:
    """What a server has seen: the `heads` of handshakes, the events that it `heard`, and what was `wrong` with its own by their types; how its
    sockets `closed`."""

    def __init__(self) -> None:
        self.heads: list[Request] = []
        self.heard: list[Any] = []
        self.wrong: list[str] = []
        self.closed: list[tuple[int | None, str | None]] = []
        self._ids = itertools.count(1)

    def id(self, kind: str) -> str:
        """A new id: ``item_7``."""
        return f"{kind}_{next(self._ids)}"


class Conversation:
    """One client's conversation; a class of its own for each shape of the wire."""

    CLIENT: ClassVar[Types]
    SERVER: ClassVar[Types]
    #: Names of events, where they are not GA's.
    NAMES: ClassVar[dict[str, str]] = {}
    #: What text and sound of the model's are called as content.
    TEXT: ClassVar[str]
    AUDIO: ClassVar[str]

    def __init__(self, ws: ServerConnection, notes: Notes, model: str) -> None:
        self._ws, self.notes = ws, notes
        self.session: Json = self.fresh(model)
        self.items: list[Json] = []
        self._sounds: dict[str, bytes] = {}  # of items, theirs and ours
        self._buffer = bytearray()
        self._ear = Ear()
        self._next = ""  # the id of the item that is being spoken
        self._answering: asyncio.Task[None] | None = None
        self._why = ""  # it is cancelled
        self._open: tuple[Json, Json] | None = None  # what is being made, and where it is told of

    # ---- the shape

    @classmethod
    def refused(cls, head: Request) -> tuple[str, str, int] | None:
        """Why a client is not served: code, message, and what its socket is closed with; None if it is."""
        raise NotImplementedError

    def fresh(self, model: str) -> Json:
        """A session as it begins."""
        raise NotImplementedError

    def updated(self, update: Json) -> Json:
        """The session with `update` in it. Raises `RefusalError`."""
        raise NotImplementedError

    def turn_detection(self) -> Json | None:
        """How the ends of turns are found; None: the client tells."""
        raise NotImplementedError

    def transcription(self) -> Json | None:
        """How what the user says is written down, if it is."""
        raise NotImplementedError

    def speaks(self, asked: Json) -> bool:
        """Whether an answer that is `asked` for so has sound. Raises `RefusalError`."""
        raise NotImplementedError

    def response(self, asked: Json) -> Json:
        """What a response says of how it is made."""
        raise NotImplementedError

    async def tell_item(self, item: Json, before: str | None, *, whole: bool) -> None:
        """Say that there is an item, which is `whole` or not yet."""
        raise NotImplementedError

    # ---- the socket

    async def run(self) -> None:
        """Converse until the client has gone."""
        try:
            await self.say("session.created", session=self.session)
            async for message in self._ws:
                await self._take(message)
        except ConnectionClosed:
            pass
        finally:
            await self._stop()

    async def say(self, kind: str, **members: Any) -> None:
        """Say an event, which is given by the name that GA has for it."""
        event = {"type": self.NAMES.get(kind, kind), "event_id": self.notes.id("event"), **members}
        wrong = faults(event, self.SERVER[event["type"]])
        self.notes.wrong += [f"{event['type']}: {f.param}: {f.message}" for f in wrong]
        await self._ws.send(json.dumps(event))

    async def _take(self, message: str | bytes) -> None:
        event: Any = None
        try:
            if isinstance(message, bytes):
                raise RefusalError("Binary messages are not taken.", "invalid_event")
            try:
                event = json.loads(message)
            except ValueError:
                raise RefusalError("The event is not JSON.", "invalid_json") from None
            self.notes.heard.append(event)
            kind = event.get("type") if isinstance(event, dict) else None
            if not isinstance(kind, str) or kind not in self.CLIENT:
                raise RefusalError(f"Invalid value: {kind!r}.", "invalid_value", "type")
            for fault in faults(event, self.CLIENT[kind]):
                raise RefusalError(fault.message, fault.code, fault.param)
            await getattr(self, "_on_" + kind.replace(".", "_"))(event)
        except RefusalError as r:
            error = {"type": "invalid_request_error", "code": r.code, "message": r.message, "param": r.param}
            await self.say("error", error={**error, "event_id": event.get("event_id") if event else None})

    # ---- sessions and items

    async def _on_session_update(self, event: Json) -> None:
        self.session = self.updated(event["session"])
        await self.say("session.updated", session=self.session)

    async def _on_conversation_item_create(self, event: Json) -> None:
        item = {"id": self.notes.id("item"), "object": "realtime.item", "status": "completed"} | event["item"]
        after = event.get("previous_item_id")
        at = len(self.items) if after is None else 0 if after == "root" else self._place(after) + 1
        await self._put(item, at)

    async def _on_conversation_item_retrieve(self, event: Json) -> None:
        await self.say("conversation.item.retrieved", item=self.items[self._place(event["item_id"])])

    async def _on_conversation_item_delete(self, event: Json) -> None:
        del self.items[self._place(event["item_id"])]
        await self.say("conversation.item.deleted", item_id=event["item_id"])

    async def _on_conversation_item_truncate(self, event: Json) -> None:
        item = self.items[self._place(event["item_id"])]
        there = len(self._sounds.get(item["id"], b"")) // MS
        if item.get("role") != "assistant" or event["audio_end_ms"] > there:
            raise RefusalError(f"Audio content of {there}ms is already shorter than {event['audio_end_ms']}ms")
        self._sounds[item["id"]] = self._sounds[item["id"]][: event["audio_end_ms"] * MS]
        told = {n: event[n] for n in ("item_id", "content_index", "audio_end_ms")}
        await self.say("conversation.item.truncated", **told)

    def _place(self, item_id: str) -> int:
        for n, item in enumerate(self.items):
            if item["id"] == item_id:
                return n
        raise RefusalError(f"Item with item_id not found: {item_id}", "item_not_found", "item_id")

    async def _put(self, item: Json, at: int, *, whole: bool = True) -> None:
        before = self.items[at - 1]["id"] if at else None
        self.items.insert(at, item)
        await self.tell_item(item, before, whole=whole)

    # ---- sound

    async def _on_input_audio_buffer_append(self, event: Json) -> None:
        try:
            pcm = base64.b64decode(event["audio"], validate=True)
        except binascii.Error:
            raise RefusalError("Invalid 'audio'. Expected base64.", "invalid_value", "audio") from None
        self._buffer += pcm
        turns = self.turn_detection()
        if turns is None:
            return
        for begins, ms in self._ear.hear(pcm, turns.get("silence_duration_ms") or 500):
            if begins:
                self._next = self.notes.id("item")
                del self._buffer[: -(len(pcm) + (turns.get("prefix_padding_ms") or 300) * MS)]
                await self.say("input_audio_buffer.speech_started", item_id=self._next, audio_start_ms=ms)
                if turns.get("interrupt_response", True):
                    await self._stop("turn_detected")
            else:
                await self.say("input_audio_buffer.speech_stopped", item_id=self._next, audio_end_ms=ms)
                await self._commit(self._next)
                if turns.get("create_response", True) and self._answering is None:
                    await self._answer({})

    async def _on_input_audio_buffer_clear(self, _event: Json) -> None:
        self._buffer.clear()
        await self.say("input_audio_buffer.cleared")

    async def _on_input_audio_buffer_commit(self, _event: Json) -> None:
        if len(self._buffer) < _LEAST:
            had = len(self._buffer) / MS
            message = (
                f"Error committing input audio buffer: buffer too small. Expected at least 100ms, had {had:.2f}ms."
            )
            raise RefusalError(message, "input_audio_buffer_commit_empty")
        await self._commit(self.notes.id("item"))

    async def _on_output_audio_buffer_clear(self, _event: Json) -> None:
        raise RefusalError("There is no output buffer on a WebSocket.")

    async def _commit(self, item_id: str) -> None:
        pcm = bytes(self._buffer)
        self._buffer.clear()
        self._sounds[item_id] = pcm
        before = self.items[-1]["id"] if self.items else None
        await self.say("input_audio_buffer.committed", item_id=item_id, previous_item_id=before)
        part: Json = {"type": "input_audio", "transcript": None}
        item = {"id": item_id, "object": "realtime.item", "type": "message", "role": "user", "status": "completed"}
        await self._put({**item, "content": [part]}, len(self.items))
        if self.transcription() is None:
            return
        self.items[self._place(item_id)]["content"] = [{**part, "transcript": described(pcm)}]
        name = "conversation.item.input_audio_transcription"
        at = {"item_id": item_id, "content_index": 0}
        await self.say(f"{name}.delta", **at, delta=described(pcm))
        usage = {"type": "duration", "seconds": len(pcm) / MS / 1000}
        await self.say(f"{name}.completed", **at, transcript=described(pcm), usage=usage)

    # ---- answers

    async def _on_response_create(self, event: Json) -> None:
        if self._answering is not None:
            message = "Conversation already has an active response"
            raise RefusalError(message, "conversation_already_has_active_response")
        await self._answer(event.get("response") or {})

    async def _on_response_cancel(self, _event: Json) -> None:
        if self._answering is None:
            raise RefusalError("Cancellation failed: no active response found", "response_cancel_not_active")
        await self._stop("client_cancelled")

    async def _stop(self, why: str = "") -> None:
        """End the answer that is being given, if any, which is told where there is a `why`."""
        task, self._answering, self._why = self._answering, None, why
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await task

    async def _answer(self, asked: Json) -> None:
        speaks = self.speaks(asked)
        response: Json = {"id": self.notes.id("resp"), "object": "realtime.response", "status": "in_progress"}
        response |= {"status_details": None, "output": [], "usage": None, **self.response(asked)}
        await self.say("response.created", response=response)
        self._answering = asyncio.create_task(self._given(response, asked, speaks))

    async def _given(self, response: Json, asked: Json, speaks: bool) -> None:
        """Give an answer, which may be cancelled."""
        with suppress(ConnectionClosed):
            try:
                call = self._call(asked)
                if call is not None:
                    output = await self._called(response["id"], *call)
                else:
                    output = await self._said(response["id"], asked, speaks)
                response |= {"status": "completed", "output": [output]}
            except asyncio.CancelledError:
                if not self._why:
                    raise
                response |= {"status": "cancelled", "status_details": {"type": "cancelled", "reason": self._why}}
                if self._open is not None:
                    response["output"] = [await self._whole(*self._open, status="incomplete")]
            self._answering = None
            response["usage"] = self._usage(response["output"])
            await self.say("response.done", response=response)
            limit = {"name": "requests", "limit": 1000, "remaining": 999, "reset_seconds": 0.06}
            await self.say("rate_limits.updated", rate_limits=[limit])

    def _told(self, asked: Json) -> list[str]:
        """What users said, in the order that they said it in."""
        items = [i for i in asked.get("input", self.items) if i.get("role") == "user"]
        return [self._heard(i) for i in items]

    def _heard(self, item: Json) -> str:
        sound = self._sounds.get(item.get("id", ""))
        if sound is not None:
            return described(sound)
        parts = [p if p["type"] == "input_text" else {"text": _described(p)} for p in item["content"]]
        return " ".join(p["text"] for p in parts)

    def _words(self, asked: Json) -> str:
        told = self._told(asked)
        if "input" not in asked and self.items and self.items[-1]["type"] == "function_call_output":
            return f"The tool said: {self.items[-1]['output']}."
        if not told:
            return "You said nothing."
        if "at length" in told[-1]:
            return " ".join(itertools.repeat("blah", 200))
        before = f" Before: {'; '.join(told[:-1])}." if told[:-1] else ""
        return f"You said: {told[-1]}.{before}"

    def _call(self, asked: Json) -> tuple[str, str] | None:
        """The tool that is asked for, and its arguments."""
        told = self._told(asked)
        found = re.fullmatch(r"use (\w+) (\{.*\})", told[-1]) if told else None
        tools = {t["name"] for t in asked.get("tools") or self.session["tools"]}
        if found is None or found[1] not in tools or self.items[-1]["type"] == "function_call_output":
            return None
        return found[1], found[2]

    async def _begin(self, at: Json, item: Json, *, kept: bool = True) -> Json:
        """Say that an item of ours begins, and of the conversation if it is `kept`. Gives the item."""
        item |= {"id": self.notes.id("item"), "object": "realtime.item", "status": "in_progress"}
        self._open = at, item
        await self.say("response.output_item.added", **at, item=item)
        if kept:
            await self._put(item, len(self.items), whole=False)
        return item

    async def _whole(self, at: Json, item: Json, **members: Any) -> Json:
        """Say that an item of ours is whole. Gives the item."""
        self._open = None
        item |= {"status": "completed", **members}
        await self.say("response.output_item.done", **at, item=item)
        if item in self.items:
            await self.told_whole(item)
        return item

    async def _called(self, response_id: str, name: str, arguments: str) -> Json:
        at = {"response_id": response_id, "output_index": 0}
        call_id = self.notes.id("call")
        item = await self._begin(at, {"type": "function_call", "name": name, "call_id": call_id, "arguments": ""})
        about = at | {"item_id": item["id"], "call_id": call_id}
        for n in range(0, len(arguments), 8):
            await self.say("response.function_call_arguments.delta", **about, delta=arguments[n : n + 8])
        again = {"name": name} if "name" in self.SERVER["response.function_call_arguments.done"].model_fields else {}
        await self.say("response.function_call_arguments.done", **about, **again, arguments=arguments)
        return await self._whole(at, item, arguments=arguments)

    async def _said(self, response_id: str, asked: Json, speaks: bool) -> Json:
        text = self._words(asked)
        at = {"response_id": response_id, "output_index": 0}
        item: Json = {"type": "message", "role": "assistant", "content": []}
        await self._begin(at, item, kept=asked.get("conversation") != "none")
        about = at | {"item_id": item["id"], "content_index": 0}
        name, member = ("audio", "transcript") if speaks else ("text", "text")
        part = {"type": self.AUDIO if speaks else self.TEXT, member: ""}
        stream = "response.output_audio_transcript" if speaks else "response.output_text"
        await self.say("response.content_part.added", **about, part={"type": name, member: ""})
        item["content"] = [part]
        for word in re.findall(r"\S+\s*", text):
            part[member] += word
            await self.say(f"{stream}.delta", **about, delta=word)
            if speaks:
                self._sounds[item["id"]] = self._sounds.get(item["id"], b"") + _WORD
                await self.say("response.output_audio.delta", **about, delta=base64.b64encode(_WORD).decode())
            await asyncio.sleep(_PACE)
        if speaks:
            await self.say("response.output_audio.done", **about)
        await self.say(f"{stream}.done", **about, **{member: text})
        await self.say("response.content_part.done", **about, part={"type": name, member: text})
        return await self._whole(at, item)

    async def told_whole(self, item: Json) -> None:
        """Where the shape says once more of an item that it is whole."""

    def _usage(self, output: list[Json]) -> Json:
        """Tokens: a word of text, 100 ms of what the user said, 50 ms of what we did."""
        users = [i for i in self.items if i.get("role") == "user"]
        heard = sum(len(self._sounds.get(i["id"], b"")) // MS // 100 for i in users)
        read = sum(len(self._heard(i).split()) for i in users if i["id"] not in self._sounds)
        spoken = sum(len(self._sounds.get(i["id"], b"")) // MS // 50 for i in output)
        said = sum(len(json.dumps(i.get("content") or i.get("arguments")).split()) for i in output)
        return {
            "total_tokens": heard + read + spoken + said,
            "input_tokens": heard + read,
            "output_tokens": spoken + said,
            "input_token_details": {"text_tokens": read, "audio_tokens": heard, "cached_tokens": 0},
            "output_token_details": {"text_tokens": said, "audio_tokens": spoken},
        }


def _described(part: Json) -> str:
    """What is heard in a part of an item that a client made."""
    return described(base64.b64decode(part.get("audio") or ""))
