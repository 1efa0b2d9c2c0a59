"""The items of a request as messages of OpenAI's chat, for a provider that speaks no Responses."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from switchboard.core.errors import Problem
from switchboard.dialects.openai_chat import invalid
from switchboard.dialects.openai_responses import shapes

T = TypeVar("T")

_ROLES: Final = "user, assistant, system, developer"
#: Items that stand for something that only the provider holds.
_HELD: Final = ("item_reference", "compaction")
#: How closely an image is looked at, where chat has a word for it.
_DETAILS: Final = {"low": "low", "high": "high", "original": "high"}


def checked(value: Any, kind: type[T], place: str) -> T:
    """`value`, which stands at `place` in the body, as a `kind`. Raises `Problem` that names the field at fault."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as e:
        what, at, where = str(e).rpartition(" - at `$")
        told = what if at else str(e)
        raise invalid(f"{told} - at `$.{place}{where if at else '`'}", _ROLES) from None


def missing(place: str) -> Problem:
    """The field at `place` is not there."""
    return Problem("INVALID_REQUEST", f"{place}: this field is required.", param=place)


class ItemReader:
    """Puts items together to `messages`, one `add` after the other, then `end`.

    `lost` names what chat has no place for; `bound` the first thing that only the provider which holds it can take. An
    assistant's turn is one message: what it says, and the calls of tools in a row.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.lost: dict[str, None] = {}  # a set in order
        self.bound = ""
        self._shown: list[dict[str, Any]] = []  # what tools gave that is no text: a tool's message holds text only
        self._thinking: list[dict[str, Any]] = []  # of the turn that comes

    def add(self, item: dict[str, Any], place: str) -> None:
        """Take in `item`, which stands at `place`. Raises `Problem`."""
        kind = item.get("type")
        if kind is None:
            kind = "message" if "role" in item else "item_reference" if "id" in item else None
        if not isinstance(kind, str):
            raise missing(f"{place}.type") if kind is None else _no_text(f"{place}.type")
        if kind != "function_call_output":
            self.end()
        match kind:
            case "message":
                self._message(checked(item, shapes.MessageItem, place), place)
            case "function_call":
                self._call(item, checked(item, shapes.CallItem, place))
            case "function_call_output":
                self._output(checked(item, shapes.CallOutputItem, place), place)
            case "reasoning":
                self._reasoning(item, checked(item, shapes.ReasoningItem, place))
            case _ if kind in _HELD:
                self._hold(kind)
            case _:
                self.lost[kind] = None

    def end(self) -> None:
        """No more results of tools come: show what they gave beside text."""
        if self._shown:
            self.messages.append({"role": "user", "content": self._shown})
            self._shown = []

    def _hold(self, name: str) -> None:
        self.bound = self.bound or name

    # ---- messages

    def _message(self, item: shapes.MessageItem, place: str) -> None:
        content = item.content
        parts = self._parts(content, f"{place}.content") if isinstance(content, list) else []
        if item.role == "assistant":
            self._say(content if isinstance(content, str) else self._text(parts, ""))
        elif item.role == "user":
            said = content if isinstance(content, str) else _plain(parts)
            if said or not content:  # else nothing is left of it
                self.messages.append({"role": "user", "content": said})
        else:
            # many servers know no "developer"; those that do take "system" for it
            text = content if isinstance(content, str) else self._text(parts, "\n\n")
            self.messages.append({"role": "system", "content": text})

    def _text(self, parts: list[dict[str, Any]], between: str) -> str:
        """The text of `parts`, where chat takes nothing else."""
        for p in parts:
            if p["type"] != "text":
                self.lost[p["type"]] = None
        return between.join([p["text"] for p in parts if p["type"] == "text"])

    def _turn(self, *, anew: bool) -> dict[str, Any]:
        """The assistant's message to add to: the last one, unless it is another's or a turn begins `anew`."""
        last = self.messages[-1] if self.messages else {}
        if last.get("role") != "assistant" or anew:
            last = {"role": "assistant", "content": None}
            self.messages.append(last)
        if self._thinking:
            last.setdefault("thinking_blocks", []).extend(self._thinking)
            self._thinking = []
        return last

    def _say(self, text: str) -> None:
        # behind a call the results have to come, so that a text between them belongs to the turn of the call
        calling = bool(self.messages) and "tool_calls" in self.messages[-1]
        turn = self._turn(anew=not calling)
        turn["content"] = (turn["content"] or "") + text

    def _call(self, item: dict[str, Any], call: shapes.CallItem) -> None:
        if item.get("namespace") is not None:
            self.lost["namespace"] = None
        function = {"name": call.name, "arguments": call.arguments}
        turn = self._turn(anew=False)
        turn["content"] = turn["content"] or None
        turn.setdefault("tool_calls", []).append({"id": call.call_id, "type": "function", "function": function})

    def _output(self, item: shapes.CallOutputItem, place: str) -> None:
        if item.call_id is None:  # as tools have it that the provider calls itself
            self.lost["function_call_output"] = None
            return
        text = item.output
        if isinstance(text, list):
            parts = self._parts(text, f"{place}.output")
            self._shown += [p for p in parts if p["type"] != "text"]
            text = "\n".join([p["text"] for p in parts if p["type"] == "text"])
        self.messages.append({"role": "tool", "tool_call_id": item.call_id, "content": text})

    def _reasoning(self, item: dict[str, Any], read: shapes.ReasoningItem) -> None:
        texts = [p.get("text") for p in read.summary or ()]
        passage = shapes.unseal(read.encrypted_content, "".join([t for t in texts if isinstance(t, str)]))
        if passage is not None:
            self._thinking.append(passage)
        elif not is_own(item):
            self.lost["reasoning"] = None

    # ---- parts of a content

    def _parts(self, content: list[dict[str, Any]], place: str) -> list[dict[str, Any]]:
        parts = [self._part(part, f"{place}[{i}]") for i, part in enumerate(content)]
        return [p for p in parts if p is not None]

    def _part(self, part: dict[str, Any], place: str) -> dict[str, Any] | None:
        kind = part.get("type")
        if not isinstance(kind, str):
            raise missing(f"{place}.type") if kind is None else _no_text(f"{place}.type")
        if part.get("prompt_cache_breakpoint") is not None:
            self.lost["prompt_cache_breakpoint"] = None
        match kind:
            case "input_text" | "output_text" | "text":
                return {"type": "text", "text": checked(part, shapes.TextPart, place).text}
            case "refusal":  # few servers know a refusal from a text
                return {"type": "text", "text": checked(part, shapes.RefusalPart, place).refusal}
            case "input_image":
                return self._image(checked(part, shapes.ImagePart, place), place)
            case "input_file":
                return self._file(checked(part, shapes.FilePart, place), place)
            case "input_audio" if isinstance(part.get("input_audio"), dict):
                return {"type": "input_audio", "input_audio": part["input_audio"]}
        self.lost[kind] = None
        return None

    def _image(self, part: shapes.ImagePart, place: str) -> dict[str, Any] | None:
        if part.image_url is None:
            if part.file_id is None:
                raise missing(f"{place}.image_url")
            self._hold("file_id")
            return None
        image = {"url": part.image_url}
        if part.detail in _DETAILS:
            image["detail"] = _DETAILS[part.detail]
        return {"type": "image_url", "image_url": image}

    def _file(self, part: shapes.FilePart, place: str) -> dict[str, Any] | None:
        if part.file_data is not None:
            name = part.filename or "document.pdf"
            return {"type": "file", "file": {"filename": name, "file_data": part.file_data}}
        if part.file_url is not None:
            self.lost["input_file.file_url"] = None
        elif part.file_id is not None:
            self._hold("file_id")
        else:
            raise missing(f"{place}.file_data")
        return None


def is_own(item: dict[str, Any]) -> bool:
    """Whether a reasoning item was written here. Some clients leave out its id when they send it back."""
    name, sealed = item.get("id"), item.get("encrypted_content")
    if isinstance(name, str) and name.startswith(shapes.OWN_REASONING):
        return True
    return isinstance(sealed, str) and shapes.unseal(sealed, "") is not None


def _plain(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One text as a string."""
    if not parts:
        return ""
    first: str | None = parts[0].get("text") if len(parts) == 1 else None
    return parts if first is None else first


def _no_text(place: str) -> Problem:
    return Problem("INVALID_REQUEST", f"{place}: a string is required.", param=place)
