"""Tools that run here, in one conversation: the client sees nothing of them, the model gets what they give.

Sans-I/O but for the tasks that the tools run in. Events are the provider's, in either shape.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from switchboard.dialects.realtime import JsonObject
from switchboard.engine.converse.tools import ServerTools

#: Calls that are remembered of a conversation, and items.
_MOST: Final = 1024
_ITEMS: Final = frozenset(
    {
        "response.output_item.added",
        "response.output_item.done",
        "conversation.item.added",
        "conversation.item.created",
        "conversation.item.done",
        "conversation.item.retrieved",
    }
)
_NAMED: Final = frozenset(
    {"response.function_call_arguments.delta", "response.function_call_arguments.done", "conversation.item.deleted"}
)
_PLACED: Final = "input_audio_buffer.committed"


class Toolbox:
    """`answer` is told the id of a call and what came of it, `ask` when the model is to go on."""

    WANTED: Final = _ITEMS | _NAMED | {"session.created", "session.updated", "response.done", _PLACED}

    def __init__(self, tools: ServerTools, answer: Callable[[str, str], None], ask: Callable[[], None]) -> None:
        self._tools = tools
        self._answer = answer
        self._ask = ask
        self._items: dict[str, Any] = {}  # that the client does not know of, and the one that it knows before each
        self._calls: dict[str, None] = {}  # that were run, or are
        self._running: set[asyncio.Task[None]] = set()
        self._begun = False  # a call of the response under way was run
        self._to_ask = False  # for a response, once all of them are through

    @property
    def running(self) -> bool:
        """Whether a tool runs, or the model is to be asked to go on."""
        return bool(self._running) or self._to_ask

    # ---- what a client may not say

    def hides(self, item_id: Any) -> bool:
        """Whether an item is not the client's to know."""
        return isinstance(item_id, str) and item_id in self._items

    def forged(self, item: JsonObject) -> bool:
        """Whether an item of a client's passes for a call of a tool of ours, or for what came of one."""
        if item.get("type") == "function_call":
            return str(item.get("name")) in self._tools
        call = item.get("call_id")
        return item.get("type") == "function_call_output" and isinstance(call, str) and call in self._calls

    # ---- what the provider says

    def event(self, kind: str, event: JsonObject, *, aside: bool = False) -> tuple[bool, bool]:
        """See to an event, `aside`: of a response out of band: whether it is hidden from the client, and whether it was changed."""
        if kind in _ITEMS:
            hidden = self._item(kind, event, aside=aside)
            return hidden, not hidden and self._placed(event)
        if kind in _NAMED:
            return self.hides(event.get("item_id")), False
        if kind == _PLACED:
            return False, self._placed(event)
        if kind == "response.done":
            return False, self._done(event.get("response"), aside=aside)
        session = event.get("session")
        return False, isinstance(session, dict) and self._strip(session)

    def _placed(self, event: JsonObject) -> bool:
        """Have an event name the item before that the client knows; whether that is another one."""
        before = event.get("previous_item_id")
        if not isinstance(before, str) or before not in self._items:
            return False
        event["previous_item_id"] = self._items[before]
        return True

    def _item(self, kind: str, event: JsonObject, *, aside: bool) -> bool:
        item = event.get("item")
        if not isinstance(item, dict):
            return False
        if item.get("type") == "function_call" and str(item.get("name")) in self._tools:
            self._hide(item, event)
            if kind == "response.output_item.done" and not aside:
                self._run(item)
            return True
        call = item.get("call_id")
        if item.get("type") == "function_call_output" and isinstance(call, str) and call in self._calls:
            self._hide(item, event)
            return True
        return self.hides(item.get("id"))

    def _hide(self, item: JsonObject, event: JsonObject) -> None:
        name, before = item.get("id"), event.get("previous_item_id")
        if not isinstance(name, str):
            return
        if isinstance(before, str):
            before = self._items.get(before, before)
        else:
            before = self._items.get(name)
        self._items[name] = before
        if len(self._items) > _MOST:
            del self._items[next(iter(self._items))]

    def _run(self, item: JsonObject) -> None:
        call = item.get("call_id")
        if not isinstance(call, str) or call in self._calls or item.get("status", "completed") != "completed":
            return
        self._calls[call] = None
        if len(self._calls) > _MOST:
            del self._calls[next(iter(self._calls))]
        self._begun = True
        task = asyncio.get_running_loop().create_task(self._work(call, str(item["name"]), item.get("arguments")))
        self._running.add(task)
        task.add_done_callback(self._finished)

    async def _work(self, call: str, name: str, arguments: Any) -> None:
        self._answer(call, await self._tools.run(name, arguments if isinstance(arguments, str) else ""))

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.result()
            self._ask_if_ready()

    def _done(self, response: Any, *, aside: bool) -> bool:
        """A response is over: leave ours out of it, and see whether the model is to go on."""
        output = response.get("output") if isinstance(response, dict) else None
        if not isinstance(output, list):
            return False
        calls = [i for i in output if isinstance(i, dict) and i.get("type") == "function_call"]
        ours = [i for i in calls if str(i.get("name")) in self._tools]
        if not ours:
            return False
        response["output"] = [i for i in output if i not in ours]
        for item in ours:
            self._hide(item, {})
            if not aside:
                self._run(item)  # where it was not told of before
        if not aside:
            self._begun = False
            # a client with calls of its own asks for the next response when it has answered them; who was interrupted has the word
            self._to_ask = len(ours) == len(calls) and response.get("status") == "completed"
            self._ask_if_ready()
        return True

    def _ask_if_ready(self) -> None:
        if self._to_ask and not self._running:
            self._to_ask = False
            self._ask()

    def _strip(self, session: JsonObject) -> bool:
        tools = session.get("tools")
        if not isinstance(tools, list):
            return False
        session["tools"] = [t for t in tools if not (isinstance(t, dict) and str(t.get("name")) in self._tools)]
        return len(session["tools"]) != len(tools)

    # ---- the end

    def lost(self) -> bool:
        """The response under way is lost. Whether a call of it was run: then the model is to go on with that, and not to begin anew."""
        begun, self._begun = self._begun, False
        self._to_ask = self._to_ask or begun
        return begun

    def renewed(self) -> None:
        """There is a provider again."""
        self._ask_if_ready()

    def close(self) -> None:
        """The conversation is over."""
        for task in self._running:
            task.cancel()
