"""Conversations that the server holds: what was said before is put before a question, and question and answer are kept."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakSet

from switchboard.core.events import Answer, AnswerBuilder
from switchboard.core.types import Caller, Generate, Lines
from switchboard.engine.journal import Journals, Key
from switchboard.engine.storage import problem_of
from switchboard.policy.conversation import merged, title_of
from switchboard.policy.profile import Profile
from switchboard.store import StoreError
from switchboard.store.conversations import Conversations as Repository
from switchboard.store.conversations import Held

_log: Final = logging.getLogger("switchboard.conversations")
_PATIENCE: Final = 2.0  # seconds that a client may wait for its conversation to be kept


class Keeping:
    """Turns that are under way or being written, and how many could not be; it outlives a reload."""

    def __init__(self) -> None:
        self.turns: WeakSet[Turn] = WeakSet()  # each is its exchange's, and gone with it
        self.tasks: set[asyncio.Task[None]] = set()
        self.lost = 0

    def forget(self, key: Key) -> bool:
        """The conversation is deleted: what is under way in it is not kept. Whether anything was."""
        found = [t for t in self.turns if t.key == key and not t.forgotten]
        for turn in found:
            turn.forgotten = True
        return bool(found)

    async def close(self) -> None:
        """Wait until all are written, for a moment."""
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=_PATIENCE)


class Turn:
    """One question in a conversation, which was `held` before (None: it was not there): `answer` gathers what is said, `told` are
    header lines for the client."""

    __slots__ = ("__weakref__", "afresh", "answer", "cut", "forgotten", "held", "key", "new", "told", "user")

    def __init__(self, key: Key, user: str, held: Held | None, new: list[dict[str, Any]], *, afresh: bool) -> None:
        self.key = key
        self.user = user
        self.held = held
        self.new = new
        self.afresh = afresh
        self.answer = AnswerBuilder()
        self.cut = False  # the answer ended early
        self.forgotten = False  # the conversation was deleted meanwhile
        self.told: Lines = b"x-switchboard-conversation: %b\r\n" % key[2].encode()


class Conversations:
    """Holds conversations in `repository`, and the answers in them that go on without their client in `journals`. `trusting`: who is not known may name conversations as they like, because nobody
    is asked who they are here. `keeping` holds what is being written."""

    def __init__(self, repository: Repository, journals: Journals, keeping: Keeping, *, trusting: bool) -> None:
        self.repository = repository
        self._trusting = trusting
        self.journals = journals
        self._keeping = keeping

    def owner(self, caller: Caller, user: str) -> str:
        """Whose conversations `caller` asks for, where the call names `user`."""
        return owner_of(caller, user, trusting=self._trusting)

    async def begin(self, op: Generate, caller: Caller, profile: Profile) -> Turn:
        """Put what was said before into `op`. Raises `Problem` (503)."""
        owner, name = self.owner(caller, op.user), op.conversation or _new_name()
        asked, at, lost = op.messages, time.time(), False
        try:
            held = await self.repository.load(profile.name, owner, name)
        except StoreError as e:
            if not op.whole:
                raise problem_of(e) from None
            held, lost = None, True  # the client has all of it itself
        if held is None and caller.kind == "open" and not self._trusting and not _ours(name):
            name = _new_name()
        before = [] if held is None else held.messages
        stale = held is not None and at - held.updated / 1000 > profile.conversation_timeout
        messages, new, replaced = merged([] if stale else before, asked, whole=op.whole)
        if messages != asked:
            op.replace_messages(messages)
        user = op.user if owner.endswith(f"/{op.user}") else caller.user
        turn = Turn((profile.name, owner, name), user, held, new, afresh=stale or replaced or lost)
        self._keeping.turns.add(turn)
        return turn

    def keep(self, turn: Turn, tell: Callable[[], None]) -> None:
        """Keep question and answer of `turn`, then `tell`."""
        task = asyncio.get_running_loop().create_task(self._keep(turn, tell))
        self._keeping.tasks.add(task)
        task.add_done_callback(self._keeping.tasks.discard)

    def broke_off(self, turn: Turn) -> None:
        """The answer ended early: keep what there is of it, if anything was said."""
        choice = turn.answer.answer().choices[0]
        if choice.text or choice.refusal:
            turn.cut = True
            self.keep(turn, lambda: None)

    async def _keep(self, turn: Turn, tell: Callable[[], None]) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._write(turn)
        except (StoreError, TimeoutError) as e:
            self._keeping.lost += 1
            _log.error("conversation %s could not be kept: %s", turn.key[2], e or "it took too long")
        finally:
            tell()

    async def _write(self, turn: Turn) -> None:
        if turn.forgotten:
            return
        answer = turn.answer.answer()
        if turn.cut and not answer.choices[0].finish:
            # a call without its end, or a result, is what providers refuse a conversation for
            answer.choices[0].tool_calls = []
        await self._add(turn, [*turn.new, assistant_message(answer)])
        if turn.forgotten:  # while it was being written
            await self.repository.delete(*turn.key)

    async def _add(self, turn: Turn, said: list[dict[str, Any]]) -> None:
        """Put `said` behind what is held, or in its place. A conversation that was there and is not any more was deleted, and
        stays so."""
        add, replace = self.repository.append, self.repository.replace
        at, title, held = int(time.time() * 1000), title_of(said), turn.held
        number = None if held is None else held.number
        if turn.afresh:
            await replace(*turn.key, said, at, title, turn.user, number=number)
            return
        count = 0 if held is None else held.count
        while not await add(*turn.key, count, said, at, title, turn.user, number=number):
            held = await self.repository.load(*turn.key)  # somebody has asked in between: this comes behind that
            if turn.held is not None and (held is None or held.number != number):
                return
            count = 0 if held is None else held.count
            number = None if held is None else held.number


def owner_of(caller: Caller, user: str, *, trusting: bool) -> str:
    """Whose things `caller` asks for, where the call names `user`. Only who acts for others is believed; and everybody, where nobody
    is asked who they are."""
    if caller.kind == "open":
        return f"open/{user}" if trusting and user else "open"
    return f"{caller.id}/{user}" if caller.act_as and user else caller.id


def assistant_message(answer: Answer) -> dict[str, Any]:
    """The first choice of an answer as a message of the conversation."""
    choice = answer.choices[0]
    message: dict[str, Any] = {"role": "assistant", "content": choice.text or choice.refusal or None}
    if choice.tool_calls:
        message["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in choice.tool_calls
        ]
    elif message["content"] is None:
        message["content"] = ""
    return message


def _new_name() -> str:
    """A name that nobody guesses: 192 bits."""
    return "conv_" + secrets.token_urlsafe(24)


def _ours(name: str) -> bool:
    return name.startswith("conv_") and len(name) >= 32
