"""Functions that the model calls: what it is told of them, what they are given, and what comes back whatever they do."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field

from switchboard.engine.converse import tools
from switchboard.engine.converse.tools import MAX_OUTPUT, ServerTool, ServerTools, load

pytestmark = pytest.mark.anyio

SECRET = "Canary7Kq9z"


class Point(BaseModel):
    x: int
    y: int = 0


def _breaks(value: str) -> str:
    raise KeyError(SECRET)


Odd = Annotated[str, AfterValidator(_breaks)]


def weather(
    city: Annotated[str, Field(description="Where.")],
    day: date | None = None,
    unit: Literal["C", "F"] = "C",
    *,
    at: list[Point] = [],  # noqa: B006
    schema: int = 1,  # names of pydantic's own
    _private: bool = False,
    anything: Any = None,
) -> dict[str, Any]:
    """The weather of a day.

    Today's where none is named."""
    return {"city": city, "day": day, "unit": unit, "at": at, "schema": schema, "private": _private, "any": anything}


def one(function: Callable[..., Any], seconds: float = 5.0) -> ServerTools:
    return ServerTools([ServerTool.of(function, "it")], seconds)


async def run(function: Callable[..., Any], arguments: str = "{}", seconds: float = 5.0) -> str:
    return await one(function, seconds).run("it", arguments)


async def said(function: Callable[..., Any], arguments: str = "{}", seconds: float = 5.0) -> Any:
    return json.loads(await run(function, arguments, seconds))


def test_what_the_model_is_told() -> None:
    (told,) = ServerTools([ServerTool.of(weather, "weather")]).described()
    assert (told["type"], told["name"]) == ("function", "weather")
    assert told["description"] == "The weather of a day.\n\nToday's where none is named."
    schema = told["parameters"]
    assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", ["city"], False)
    properties = schema["properties"]
    assert list(properties) == ["city", "day", "unit", "at", "schema", "_private", "anything"]
    assert properties["city"] == {"type": "string", "description": "Where."}
    assert properties["unit"] == {"type": "string", "enum": ["C", "F"], "default": "C"}
    assert properties["anything"] == {"default": None}
    assert schema["$defs"]["Point"]["properties"]["x"] == {"type": "integer"}
    json.dumps(told)


def test_a_function_without_parameters_and_words() -> None:
    (told,) = one(lambda: 1).described()
    assert told == {
        "type": "function",
        "name": "it",
        "description": "",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
    }


def test_parameters_without_annotations_are_any_json() -> None:
    (told,) = one(lambda a, b=2: None).described()
    assert told["parameters"]["properties"] == {"a": {}, "b": {"default": 2}}
    assert told["parameters"]["required"] == ["a"]


async def test_arguments_are_converted() -> None:
    given = {"city": "Bern", "day": "2026-11-21", "at": [{"x": "3"}], "schema": "7", "_private": True, "anything": [{}]}
    assert await said(weather, json.dumps(given)) == {
        "city": "Bern",
        "day": "2026-11-21",
        "unit": "C",
        "at": [{"x": 3, "y": 0}],
        "schema": 7,
        "private": True,
        "any": [{}],
    }
    day: list[Any] = []
    await run(lambda when: day.append(when), '{"when": [1]}')
    assert day == [[1]]

    def typed(when: date) -> None:
        day.append(when)

    assert await run(typed, '{"when": "2026-11-21"}') == "null"
    assert day[-1] == date(2026, 11, 21)


async def test_the_functions_own_defaults_are_used() -> None:
    mark: list[int] = []  # what checks the arguments would make a copy of it

    def function(a: int = 1, b: Any = 2, /, c: Any = mark, *, d: Any = mark) -> list[bool]:
        return [a == 1, b == 2, c is mark, d is mark]

    assert await said(function, "") == [True, True, True, True]
    assert await said(function, '{"b": 5}') == [True, False, True, True]
    assert await said(function, '{"d": 5, "a": 2}') == [False, True, True, False]


WRONG = {
    "": ["city is missing"],
    "{}": ["city is missing"],
    "[]": ["not a JSON object"],
    "{": ["not a JSON object"],
    '{"city": 5}': ["city is wrong"],
    '{"city": "a", "town": "b"}': ["no argument town"],
    '{"city": "a", "unit": "K", "day": "never"}': ["unit is wrong", "day is wrong"],
    '{"city": "a", "at": [{"x": 1}, {"x": "no"}]}': ["at.1.x is wrong"],
    json.dumps({"city": "a", "n" * 10_000: 1}): ["no argument nnn"],
}


@pytest.mark.parametrize("arguments", WRONG, ids=range(len(WRONG)))
async def test_wrong_arguments_are_told(arguments: str) -> None:
    answer = await said(weather, arguments)
    assert answer.keys() == {"error"} and len(answer["error"]) <= 2000
    assert all(text in answer["error"] for text in WRONG[arguments])


@settings(max_examples=200, deadline=None)
@given(st.text() | st.dictionaries(st.sampled_from(["city", "day", "at", "x"]), st.text() | st.none()).map(json.dumps))
def test_whatever_the_model_gives_there_is_an_answer(arguments: str) -> None:
    async def function(city: str, day: date | None = None, at: list[Point] | None = None) -> str:
        return "called"

    answer = asyncio.run(run(function, arguments))
    assert answer == "called" or json.loads(answer)["error"]


async def test_a_tool_that_there_is_not() -> None:
    server = one(weather)
    assert "it" in server and "weather" not in server
    assert json.loads(await server.run("weather", "{}")) == {"error": "There is no such tool."}


RESULTS: list[tuple[Any, str]] = [
    ("as it is: ü", "as it is: ü"),
    ("", ""),
    (None, "null"),
    ({"a": [1, 2.5, True], "d": date(2026, 11, 21)}, '{"a":[1,2.5,true],"d":"2026-11-21"}'),
    (Point(x=1), '{"x":1,"y":0}'),
    (float("nan"), "null"),
    ("\ud800", "?"),
]


@pytest.mark.parametrize(("result", "told"), RESULTS)
async def test_results(result: Any, told: str) -> None:
    async def later() -> Any:
        return result

    assert await run(lambda: result) == await run(later) == await run(lambda: later()) == told


@pytest.mark.parametrize("text", ["a" * MAX_OUTPUT, "a" * (MAX_OUTPUT + 1), "ü" * MAX_OUTPUT])
async def test_long_results_are_cut(text: str) -> None:
    answer = await run(lambda: text)
    size = len(text.encode())
    if size <= MAX_OUTPUT:
        assert answer == text
    else:
        assert MAX_OUTPUT - 4 < len(answer.encode()) <= MAX_OUTPUT
        assert answer.startswith(text[:1000]) and answer.endswith(f"\n[cut: {size} bytes are too many]")


class Hostile:
    def __await__(self) -> Iterator[None]:
        raise ValueError(SECRET)


def fails(error: BaseException) -> Callable[[], Any]:
    def function() -> Any:
        raise error

    return function


def _endless() -> Any:
    return (n for n in iter(int, 1))


FAILING = [
    fails(ValueError(SECRET)),
    fails(SystemExit(SECRET)),
    fails(TimeoutError(SECRET)),
    fails(asyncio.CancelledError(SECRET)),
    lambda: Point.model_validate({"x": SECRET}),
    lambda: object(),
    lambda: Hostile(),
    lambda: b"\xff",
    _endless,
]


@pytest.mark.parametrize("function", FAILING, ids=range(len(FAILING)))
async def test_what_goes_wrong_is_for_the_log(function: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    async def later() -> Any:
        await asyncio.sleep(0)
        return function()

    for how in (function, later):
        caplog.clear()
        assert await said(how) == {"error": "The tool failed."}
        (record,) = caplog.records
        assert record.levelno == logging.ERROR and record.exc_info is not None and record.exc_info[1] is not None


async def test_validators_that_break_are_no_fault_of_the_model(caplog: pytest.LogCaptureFixture) -> None:
    def function(odd: Odd) -> None:
        """Never called."""

    assert await said(function, '{"odd": "x"}') == {"error": "The tool failed."}
    assert [r.levelno for r in caplog.records] == [logging.ERROR]


async def test_a_slow_function_is_not_waited_for() -> None:
    release, ended = threading.Event(), asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    async def stubborn() -> str:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return "too late"
        return ""

    try:
        for function in (slow, stubborn, lambda: release.wait(30)):
            began = time.monotonic()
            assert await said(function, seconds=0.05) == {"error": "The tool took too long."}
            assert time.monotonic() - began < 5
        assert ended.is_set()
    finally:
        release.set()


async def test_functions_that_hang_keep_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_THREADS", 2)
    monkeypatch.setattr(tools, "_WAITING", 3)
    release, ran = threading.Event(), []

    def hang() -> None:
        ran.append(threading.current_thread())
        release.wait(30)

    async def quick() -> str:
        return "quick"

    server = ServerTools([ServerTool.of(hang, "hang"), ServerTool.of(quick, "quick")], 0.2)
    try:
        answers = [json.loads(a)["error"] for a in await asyncio.gather(*(server.run("hang", "") for _ in range(8)))]
        assert sorted(answers) == ["The tool is busy. Try again later."] * 3 + ["The tool took too long."] * 5
        assert len(ran) == len(set(ran)) == 2
        assert await server.run("quick", "") == "quick"
    finally:
        release.set()
    assert json.loads(await server.run("hang", "")) == {"error": "The tool is busy. Try again later."}


async def test_cancelling_cancels_the_coroutine() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def function() -> None:
        begun.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = asyncio.ensure_future(run(function))
    await asyncio.wait_for(begun.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()


async def test_functions_that_wait_do_not_block_the_loop() -> None:
    here = threading.current_thread()
    where: list[threading.Thread] = []
    await run(lambda: where.append(threading.current_thread()))

    async def inside() -> None:
        where.append(threading.current_thread())

    await run(inside)
    assert where[0] is not here and where[1] is here


# ---- loading

MODULE = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Place:
    name: str

def find(place: Place, *, most: int = 3) -> list[str]:
    "Find it."
    return [place.name] * most

class Home:
    @staticmethod
    async def light(on: bool) -> str:
        return "on" if on else "off"
    @staticmethod
    def find(): ...

NUMBER = 7
def starred(a, *args, **more): ...
def unknown(a: Nowhere): ...
def odd(a: type(lambda: 0)): ...
def yields(): yield 1
async def yields_later(): yield 1
def pr\u00fcfe(): ...
"""


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Path]:
    """A place for modules of one's own."""
    sys.path.insert(0, str(tmp_path))
    known = set(sys.modules)
    (tmp_path / "own_tools").mkdir()
    (tmp_path / "own_tools" / "home.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "own_broken.py").write_text("1/0")
    (tmp_path / "own_needy.py").write_text("import there_is_no_such_thing")
    (tmp_path / "own_leaving.py").write_text("raise SystemExit(3)")
    yield tmp_path
    sys.path.remove(str(tmp_path))
    for name in set(sys.modules) - known:
        del sys.modules[name]


async def test_they_are_loaded_by_name(modules: Path) -> None:
    server = load(["own_tools.home:find", "own_tools.home:Home.light"], 5.0)
    assert [t["name"] for t in server.described()] == ["find", "light"]
    assert server.described()[0]["description"] == "Find it."
    assert await server.run("find", '{"place": {"name": "x"}, "most": 2}') == '["x","x"]'
    assert await server.run("light", '{"on": true}') == "on"


BAD = {
    "": 'expected "package.module:function"',
    "own_tools": 'expected "package.module:function"',
    "own_tools.home:": 'expected "package.module:function"',
    "own_tools.home:find()": 'expected "package.module:function"',
    "no_such_package.tools:find": "install it",
    "own_tools.nowhere:find": "no module 'own_tools.nowhere'",
    "own_broken:f": "ZeroDivisionError",
    "own_leaving:f": "SystemExit",
    "own_needy:f": "needs 'there_is_no_such_thing'",
    "own_tools.home:lost": "there is no 'lost'",
    "own_tools.home:NUMBER": "no function",
    "own_tools.home:starred": r"takes \*args and \*\*more; name each",
    "own_tools.home:unknown": "Nowhere",
    "own_tools.home:odd": "no JSON schema",
    "own_tools.home:yields": "yields",
    "own_tools.home:yields_later": "yields",
    "own_tools.home:pr\u00fcfe": "letters",
}


@pytest.mark.parametrize("entry", BAD)
def test_what_cannot_be_loaded_says_why(modules: Path, entry: str) -> None:
    with pytest.raises(ValueError, match=BAD[entry]) as caught:
        load(["own_tools.home:find", entry])
    assert repr(entry) in str(caught.value)


def test_an_object_that_yields() -> None:
    class Yields:
        def __call__(self) -> Iterator[int]:
            yield 1

    with pytest.raises(ValueError, match="yields"):
        ServerTool.of(Yields(), "it")


def test_two_tools_of_one_name(modules: Path) -> None:
    with pytest.raises(ValueError, match=r"'own_tools.home:Home.find': there is a tool 'find' already"):
        load(["own_tools.home:find", "own_tools.home:Home.find"])
