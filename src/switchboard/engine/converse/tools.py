"""Tools that run on the server: functions of one's own that the model calls in a conversation, ``"package.module:function"``.

What the model is told of one is made of the function itself: its name, its docstring, and its parameters with their annotations, which
also check and convert the arguments that the model gives. A function may be ``async``. One that is not runs in one of few threads, so
that it may wait for a database.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_json

from switchboard.policy.functions import function
from switchboard.policy.threads import Full, Threads

MAX_OUTPUT: Final = 1 << 16  # bytes of UTF-8

_THREADS: Final = 8
_WAITING: Final = 64
_MOST_FAULTS: Final = 5  # that the model is told of at once
_LONGEST_FAULT: Final = 2000  # characters
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what the Realtime interface takes
_log: Final = logging.getLogger("switchboard.tools")


class ServerTool(Struct, frozen=True):
    """One tool: what the model is told of it (`parameters` is a JSON schema), the `function`, and what checks its `arguments`,
    whose fields are those of `names`, in this order; the first `positional` are passed without their names."""

    name: str
    description: str
    parameters: dict[str, Any]
    function: Callable[..., Any]
    arguments: type[BaseModel]
    names: tuple[str, ...]
    positional: int = 0

    @classmethod
    def of(cls, function: Callable[..., Any], name: str) -> ServerTool:
        """The tool that `function` is. Raises `ValueError` that says what of it cannot be told to a model."""
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"a tool cannot be called {name!r}: give it a name of at most 64 letters, digits and _")
        if _is_any(function, inspect.isgeneratorfunction) or _is_any(function, inspect.isasyncgenfunction):
            raise ValueError("it yields; have it return its result")
        try:
            parameters = list(inspect.signature(function, eval_str=True).parameters.values())
        except Exception as e:  # annotations are evaluated
            raise ValueError(f"its parameters cannot be read ({_what(e)}); import what its annotations name") from e
        starred = [str(p) for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if starred:
            raise ValueError(f"it takes {' and '.join(starred)}; name each parameter, a model has to be told of them")
        try:
            model = _model(parameters)
            schema = _schema(model)
        except Exception as e:  # what pydantic says of a type that it does not know, in many ways
            raise ValueError(
                f"its parameters have no JSON schema ({_what(e)}); annotate them with types that JSON can hold"
            ) from e
        return cls(
            name,
            inspect.getdoc(function) or "",
            schema,
            function,
            model,
            tuple(p.name for p in parameters),
            sum(p.kind is p.POSITIONAL_ONLY for p in parameters),
        )

    def read(self, arguments: str) -> tuple[list[Any], dict[str, Any]]:
        """The arguments that a model gave as JSON, as the function takes them. Raises `ValidationError`."""
        given = self.arguments.model_validate_json(arguments if arguments.strip() else "{}")
        fields = [f"p{n}" for n in range(len(self.names))]
        args = [getattr(given, f) for f in fields[: self.positional]]
        # what was not given is left to the function, which may tell its own default from a copy
        named = zip(self.names[self.positional :], fields[self.positional :], strict=True)
        return args, {n: getattr(given, f) for n, f in named if f in given.model_fields_set}


class ServerTools:
    """The tools of a conversation. A call takes at most `seconds`.

    Functions that are not ``async`` run in few threads of their own; one that hangs keeps its thread until it returns (but not the process,
    when that ends). An ``async`` one is cancelled, and has to let itself be.
    """

    def __init__(self, tools: Sequence[ServerTool], seconds: float = 10.0) -> None:
        self._tools = {t.name: t for t in tools}
        self._seconds = seconds
        self._threads = Threads(_THREADS, _WAITING, "tool")

    def described(self) -> list[dict[str, Any]]:
        """The tools as a session's ``tools`` has them."""
        return [
            {"type": "function", "name": t.name, "description": t.description, "parameters": t.parameters}
            for t in self._tools.values()
        ]

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    async def run(self, name: str, arguments: str) -> str:
        """Call the tool `name` with `arguments`, a JSON object as text, as the model gave it. Gives what the model is told: a text as it is,
        everything else as JSON, at most `MAX_OUTPUT` bytes. Where something goes wrong that is ``{"error": …}``, which holds nothing of what the
        function raised; the log has that. Raises nothing but the cancellation of whoever waits for it."""
        tool = self._tools.get(name)
        if tool is None:
            return _error("There is no such tool.")
        try:
            args, values = tool.read(arguments)
        except ValidationError as e:
            return _error(_faults(e))
        except Exception as e:  # somebody's validators
            return self._failed(name, e)
        try:
            async with asyncio.timeout(self._seconds) as limit:
                said = await self._said(tool, args, values)
            if limit.expired():  # it swallowed its cancellation
                raise TimeoutError
            return _text(said)
        except Full:
            _log.warning("the tool %s was not called: too many calls wait for a thread", name)
            return _error("The tool is busy. Try again later.")
        except TimeoutError as e:
            if limit.expired():
                _log.warning("the tool %s did not answer within %g s", name, self._seconds)
                return _error("The tool took too long.")
            return self._failed(name, e)
        except asyncio.CancelledError as e:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return self._failed(name, e)  # something inside was cancelled, and nobody cancelled us
        except (Exception, SystemExit) as e:  # whatever somebody's function raises
            return self._failed(name, e)

    async def _said(self, tool: ServerTool, args: list[Any], values: dict[str, Any]) -> Any:
        """What the function gives."""
        if _is_any(tool.function, inspect.iscoroutinefunction):
            said = tool.function(*args, **values)
        else:
            said = await self._threads.run(lambda: tool.function(*args, **values))
        return await said if inspect.isawaitable(said) else said

    def _failed(self, name: str, e: BaseException) -> str:
        _log.error("the tool %s failed", name, exc_info=e)
        return _error("The tool failed.")


def load(names: Sequence[str], seconds: float = 10.0) -> ServerTools:
    """The tools that `names` say, each ``"package.module:function"``; the function's own name is the tool's. Raises `ValueError` that names
    the entry and says what to do."""
    tools: dict[str, ServerTool] = {}
    for entry in names:
        try:
            found = function(entry)
        except ValueError as e:
            raise ValueError(f"{entry!r}: {e}") from e
        name = re.split("[.:]", entry)[-1]
        if name in tools:
            raise ValueError(f"{entry!r}: there is a tool {name!r} already; give one of the two functions another name")
        try:
            tools[name] = ServerTool.of(found, name)
        except ValueError as e:
            raise ValueError(f"{entry!r}: {e}") from e
    return ServerTools(list(tools.values()), seconds)


class _Schema(GenerateJsonSchema):
    """Says nothing that the model does not need: a field's title is its name once more."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _model(parameters: list[inspect.Parameter]) -> type[BaseModel]:
    """What checks arguments for `parameters`. Its fields have names that are always free; the parameters' own are their aliases."""
    fields: dict[str, Any] = {}
    for n, p in enumerate(parameters):
        kind = Any if p.annotation is p.empty else p.annotation
        default: FieldInfo = Field(alias=p.name) if p.default is p.empty else Field(p.default, alias=p.name)
        fields[f"p{n}"] = (kind, default)
    return create_model("Arguments", __config__=ConfigDict(extra="forbid"), **fields)


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a default that JSON cannot hold is not told
        schema = model.model_json_schema(by_alias=True, schema_generator=_Schema)
    schema.pop("title", None)
    return {"type": "object", "properties": {}} | schema


def _is_any(function: Callable[..., Any], what: Callable[[Any], bool]) -> bool:
    """Whether a function, or how an object is called, is of this kind."""
    return what(function) or what(getattr(function, "__call__", None))  # noqa: B004


def _what(e: BaseException) -> str:
    """An exception in one short line."""
    first = str(e).strip().partition("\n")[0][:200]
    return f"{type(e).__name__}: {first}" if first else type(e).__name__


def _faults(e: ValidationError) -> str:
    """What is wrong with the arguments, for the model that gave them."""
    faults = []
    for fault in e.errors(include_url=False, include_context=False, include_input=False)[:_MOST_FAULTS]:
        where = ".".join(map(str, fault["loc"]))
        if fault["type"] == "missing":
            faults.append(f"The argument {where} is missing.")
        elif fault["type"] == "extra_forbidden":
            faults.append(f"There is no argument {where}.")
        elif where:
            faults.append(f"The argument {where} is wrong: {fault['msg']}.")
        else:
            faults.append(f"The arguments are not a JSON object: {fault['msg']}.")
    return " ".join(faults)[:_LONGEST_FAULT]


def _error(message: str) -> str:
    return json.dumps({"error": message}, ensure_ascii=False)


def _text(said: Any) -> str:
    """What a function gave as the model is told it. Raises where it can be no JSON."""
    if inspect.isgenerator(said):  # it may never end
        raise TypeError("a generator is no result")
    data = said.encode("utf-8", "replace") if isinstance(said, str) else to_json(said, inf_nan_mode="null")
    if len(data) > MAX_OUTPUT:
        note = f"\n[cut: {len(data)} bytes are too many]".encode()
        data = data[: MAX_OUTPUT - len(note)].decode("utf-8", "ignore").encode() + note
    return data.decode()
