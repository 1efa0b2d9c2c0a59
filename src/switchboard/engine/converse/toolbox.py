"""Tools that run here, in one conversation: the client sees nothing of them, the model gets what they give.

Sans-I/O but for the tasks that the tools run in. Events are the provider's, in either shape.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from switchboard.dialects.realtime import JsonObject
from switchboard.engine.converse.tools import ServerTools

#: Calls that are remembered of a conversation.
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


class Toolbox:
    """`answer` is told the id of a call and what came of it, `ask` when the model is to go on."""

    WANTED: Final = _ITEMS | _NAMED | {"session.created", "session.updated", "response.done"}

    def __init__(self, tools: ServerTools, answer: Callable[[str, str], None], ask: Callable[[], None]) -> None:
        self._tools = tools
        self._answer = answer
        self._ask = ask
        self._items: dict[str, None] = {}  # that the client does not know of
        self._calls: dict[str, None] = {}  # that were run, or are
        self._running: set[asyncio.Task[None]] = set()
        self._to_ask = False  # for a response, once all of them are through

    @property
    def calls(self) -> int:
        """How many there were."""
        return len(self._calls)

    def event(self, kind: str, event: JsonObject) -> tuple[bool, bool]:
        """See to an event: whether it is hidden from the client, and whether it was changed."""
        if kind in _ITEMS:
            return self._item(kind, event.get("item")), False
        if kind in _NAMED:
            return self._is_hidden(event.get("item_id")), False
        if kind == "response.done":
            return False, self._done(event.get("response"))
        session = event.get("session")
        return False, isinstance(session, dict) and self._strip(session)

    def _is_hidden(self, item: Any) -> bool:
        return isinstance(item, str) and item in self._items

    def _item(self, kind: str, item: Any) -> bool:
        if not isinstance(item, dict):
            return False
        if item.get("type") == "function_call" and str(item.get("name")) in self._tools:
            _remember(self._items, item.get("id"))
            if kind == "response.output_item.done":
                self._run(item)
            return True
        if item.get("type") == "function_call_output" and item.get("call_id") in self._calls:
            _remember(self._items, item.get("id"))
            return True
        return self._is_hidden(item.get("id"))

    def _run(self, item: JsonObject) -> None:
        call = item.get("call_id")
        if not isinstance(call, str) or call in self._calls or item.get("status", "completed") != "completed":
            return
        _remember(self._calls, call)
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

    def _done(self, response: Any) -> bool:
        """A response is over: leave ours out of it, and see whether the model is to go on."""
        output = response.get("output") if isinstance(response, dict) else None
        if not isinstance(output, list):
            return False
        calls = [i for i in output if isinstance(i, dict) and i.get("type") == "function_call"]
        ours = [i for i in calls if str(i.get("name")) in self._tools]
        if not ours:
            return False
        for item in ours:
            _remember(self._items, item.get("id"))
            self._run(item)  # where it was not told of before
        # a client with calls of its own asks for the next response when it has answered them; who was interrupted has the word
        self._to_ask = len(ours) == len(calls) and response.get("status") == "completed"
        response["output"] = [i for i in output if i not in ours]
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

    def close(self) -> None:
        """The conversation is over."""
        for task in self._running:
            task.cancel()


def _remember(known: dict[str, None], name: Any) -> None:
    if isinstance(name, str):
        known[name] = None
        if len(known) > _MOST:
            del known[next(iter(known))]
