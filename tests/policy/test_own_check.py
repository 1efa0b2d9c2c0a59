"""A function of one's own that says who may call."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.core.types import RequestHead
from switchboard.policy.own_check import Asked, Denied, Identity, OwnCheck, Unavailable, _verdict, load

pytestmark = pytest.mark.anyio

ASKED = Asked("POST", "/api/chat", {"authorization": "Bearer Canary7Kq9z"}, "192.0.2.1")
MODULE = """
class Checks:
    @staticmethod
    def all(asked):
        return True

def check(asked):
    return asked.peer

NUMBER = 7
"""


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Path]:
    """A place for modules of one's own."""
    sys.path.insert(0, str(tmp_path))
    known = set(sys.modules)
    yield tmp_path
    sys.path.remove(str(tmp_path))
    for name in set(sys.modules) - known:
        del sys.modules[name]


async def ask(function: Callable[[Asked], Any], **more: Any) -> Identity | Denied | Unavailable:
    """What comes of `function`, called directly and by way of a coroutine."""

    async def later(asked: Asked) -> Any:
        await asyncio.sleep(0)
        return function(asked)

    found = []
    for f in (function, later):
        check = OwnCheck(f, **more)
        found.append(await check.ask(ASKED))
        check.close()
    assert type(found[0]) is type(found[1])
    if not isinstance(found[0], Denied):
        assert found[0] == found[1]
    return found[0]


async def test_it_is_loaded_by_name(modules: Path) -> None:
    (modules / "own_rules").mkdir()
    (modules / "own_rules" / "checks.py").write_text(MODULE)
    for name, user in [("own_rules.checks:check", "192.0.2.1"), ("own_rules.checks:Checks.all", "own")]:
        check = OwnCheck(load(name))
        assert await check.ask(ASKED) == Identity(user=user)
        check.close()


BAD_NAMES = {
    "": "expected",
    "own_rules": "expected",
    "own_rules:": "expected",
    ":check": "expected",
    "own_rules:check()": "expected",
    "own rules:check": "expected",
    "../own:check": "expected",
    "own_nowhere:check": "no module 'own_nowhere'",
    "own_nowhere.deeper:check": "no module 'own_nowhere'",
    "own_good.deeper:check": "no module 'own_good.deeper'",
    "own_good:nothing": "no 'nothing' in module",
    "own_good:Checks.nothing": "no 'Checks.nothing' in module",
    "own_good:NUMBER": "no function",
    "own_needs:check": "needs 'own_missing', which is not installed",
    "own_broken:check": r"cannot be imported \(SyntaxError",
    "own_raises:check": r"cannot be imported \(RuntimeError at own_raises.py:2\)",
    "own_exits:check": r"cannot be imported \(SystemExit at own_exits.py:1\)",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_wrong_says_how(name: str, modules: Path) -> None:
    (modules / "own_good.py").write_text(MODULE)
    (modules / "own_needs.py").write_text("import own_missing")
    (modules / "own_broken.py").write_text("def check(:")
    (modules / "own_raises.py").write_text("\nraise RuntimeError('Canary7Kq9z')")
    (modules / "own_exits.py").write_text("raise SystemExit(1)")
    with pytest.raises(ValueError, match=BAD_NAMES[name]) as e:
        load(name)
    assert str(e.value).startswith("auth.validate: ") and "Canary7Kq9z" not in str(e.value)


def test_what_it_sees_of_a_request() -> None:
    head = RequestHead("GET", "/v1/models", b"key=1", {b"x-name": "Zoë".encode("latin-1")}, "10.0.0.1")
    asked = Asked.of(head, "192.0.2.1")
    assert asked == Asked("GET", "/v1/models", {"x-name": "Zoë"}, "192.0.2.1")
    asked.headers["x-name"] = "admin"
    asked.headers["authorization"] = "Bearer x"
    assert head.headers == {b"x-name": b"Zo\xeb"}
    with pytest.raises(AttributeError):
        asked.peer = "127.0.0.1"  # type: ignore[misc]
    assert "Canary7Kq9z" not in repr(ASKED)


MEANINGS: dict[str, tuple[Any, Identity | Denied]] = {
    "None": (None, Denied("the function refused")),
    "False": (False, Denied("the function refused")),
    "True": (True, Identity(user="own")),
    "text": ("alice", Identity(user="alice")),
    "dict": ({"user": "alice"}, Identity(user="alice")),
    "dict of all": (
        {"user": "a", "profile": "shop", "models": ["gpt-4o", "m"], "surfaces": ("chat",), "act_as": True},
        Identity(
            user="a", profile="shop", models=frozenset({"gpt-4o", "m"}), surfaces=frozenset({"chat"}), act_as=True
        ),
    ),
    "dict with nothing": ({"user": "a", "profile": None, "models": None}, Identity(user="a")),
    "object": (SimpleNamespace(user="a", models={"m"}, email="x"), Identity(user="a", models=frozenset({"m"}))),
    "Identity": (Identity(user="a", profile="p"), Identity(user="a", profile="p")),
}


@pytest.mark.parametrize("name", MEANINGS)
async def test_what_its_answers_mean(name: str) -> None:
    said, meaning = MEANINGS[name]
    assert await ask(lambda _: said) == meaning


class Trap:
    """Raises when it is looked at."""

    @property
    def user(self) -> str:
        """A name that is none."""
        raise RuntimeError("Canary7Kq9z")


NONSENSE: dict[str, Any] = {
    "a number": 1,
    "zero": 0,
    "a list": ["alice"],
    "bytes": b"alice",
    "a function": lambda: True,
    "an empty text": "",
    "a line end": "alice\nadmin",
    "a long text": "a" * 256,
    "an empty dict": {},
    "no user": {"profile": "shop"},
    "a user that is none": {"user": 7},
    "user True": {"user": True},
    "user None": {"user": None},
    "a misspelled member": {"user": "a", "model": ["m"]},
    "a member that is no text": {"user": "a", 7: 7},
    "a profile that is none": {"user": "a", "profile": "../x"},
    "a profile that is a number": {"user": "a", "profile": 7},
    "no model": {"user": "a", "models": []},
    "a text of models": {"user": "a", "models": "gpt-4o"},
    "models that are none": {"user": "a", "models": [7]},
    "too many models": {"user": "a", "models": ["m"] * 1001},
    "surfaces that are none": {"user": "a", "surfaces": {"chat": True}},
    "act_as that is none": {"user": "a", "act_as": "yes"},
    "an object without a user": SimpleNamespace(name="a"),
    "an object that raises": Trap(),
    "an Identity that names no model": Identity(user="a", models=frozenset()),
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_an_answer_that_is_none_is_a_refusal(name: str) -> None:
    found = await ask(lambda _: NONSENSE[name])
    assert isinstance(found, Denied) and found.reason != "the function refused"
    assert "Canary7Kq9z" not in found.reason


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(st.sampled_from(["user", "profile", "models", "surfaces", "act_as", "x"]), x, max_size=4)
        ),
        max_leaves=8,
    )
)
def test_any_answer_has_a_meaning(said: Any) -> None:
    verdict = _verdict(said)
    assert isinstance(verdict, Identity | Denied | str)
    if isinstance(verdict, Identity):
        assert verdict.user and verdict.user.isprintable()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Canary7Kq9z"),
        KeyError("Canary7Kq9z"),
        TimeoutError(),
        SystemExit(3),
        StopIteration(),
        RecursionError(),
        asyncio.CancelledError(),
        MemoryError(),
        type("Own", (Exception,), {})(),
    ],
)
async def test_what_it_raises_is_a_refusal(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def check(_: Asked) -> None:
        raise error

    with caplog.at_level(logging.WARNING):
        found = await ask(check)
    assert isinstance(found, Denied)
    told = [r.getMessage() for r in caplog.records if r.name == "switchboard.auth"]
    assert len(told) == 2 and all("the function failed" in text for text in told)
    # what no future or coroutine lets through, Python or we make another error
    name = type(error).__name__ if isinstance(error, Exception) and not isinstance(error, StopIteration) else "Error"
    assert all(name in text or type(error).__name__ in text for text in told)
    assert "Canary7Kq9z" not in caplog.text + str(found)
    assert "auth.validate" in caplog.text


async def test_one_that_takes_too_long_is_not_available() -> None:
    release = threading.Event()
    hung = OwnCheck(lambda _: release.wait(5), timeout=0.05)
    began = time.monotonic()
    assert isinstance(await hung.ask(ASKED), Unavailable)
    assert time.monotonic() - began < 2
    release.set()
    hung.close()

    async def sleeps(_: Asked) -> bool:
        await asyncio.sleep(30)
        return True

    async def swallows(_: Asked) -> bool:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        return True

    for function in (sleeps, swallows):
        assert isinstance(await OwnCheck(function, timeout=0.05).ask(ASKED), Unavailable)
    assert len(asyncio.all_tasks()) <= 2  # nothing of it runs on


async def test_functions_that_hang_do_not_pile_up() -> None:
    release = threading.Event()
    check = OwnCheck(lambda _: release.wait(5), timeout=0.1, threads=2, waiting=3)
    before = threading.active_count()
    found = await asyncio.gather(*[check.ask(ASKED) for _ in range(20)])
    assert all(isinstance(x, Unavailable) for x in found)
    assert sum(x == Unavailable("too many requests wait for it") for x in found) == 15
    assert threading.active_count() - before <= 2
    release.set()
    for _ in range(200):  # it answers again as soon as they return
        last = await check.ask(ASKED)
        if isinstance(last, Identity):
            break
        await asyncio.sleep(0.01)
    assert last == Identity(user="own")
    check.close()


async def test_at_most_as_many_run_as_there_are_threads() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def check(_: Asked) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1
        return threading.current_thread().name

    own = OwnCheck(check, threads=3)
    found = await asyncio.gather(*[own.ask(ASKED) for _ in range(30)])
    assert len({x.user for x in found if isinstance(x, Identity)}) == most == 3  # threads serve again
    own.close()
    assert await own.ask(ASKED) == Unavailable("too many requests wait for it")


async def test_the_loop_goes_on_meanwhile() -> None:
    own = OwnCheck(lambda _: time.sleep(0.2) or True)  # type: ignore[func-returns-value]
    task = asyncio.create_task(own.ask(ASKED))
    began = time.monotonic()
    await asyncio.sleep(0.01)
    assert time.monotonic() - began < 0.15
    assert await task == Identity(user="own")
    own.close()


async def test_whoever_waits_may_be_cancelled() -> None:
    release, ended = threading.Event(), asyncio.Event()

    async def sleeps(_: Asked) -> bool:
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()
        return True

    for own in (OwnCheck(lambda _: release.wait(5)), OwnCheck(sleeps)):
        task = asyncio.create_task(own.ask(ASKED))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        own.close()
    assert ended.is_set()
    release.set()


async def test_callables_of_every_kind() -> None:
    class Sync:
        def __call__(self, asked: Asked) -> str:
            return threading.current_thread().name

    class Async:
        async def __call__(self, asked: Asked) -> str:
            return threading.current_thread().name

    async def later(_: Asked) -> str:
        return threading.current_thread().name

    main = threading.current_thread().name
    kinds: list[tuple[Callable[[Asked], Any], bool]] = [(Sync(), False), (Async(), True), (later, True)]
    for function, here in [*kinds, (lambda a: later(a), True)]:
        own = OwnCheck(function)
        found = await own.ask(ASKED)
        assert isinstance(found, Identity) and (found.user == main) == here
        own.close()
    # one that takes no argument is refused, and says so
    assert isinstance(await OwnCheck(later.__get__(ASKED)).ask(ASKED), Denied)
