"""Functions of one's own that settings name: ``"package.module:function"``."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final

_IMPORT: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


def function(name: str) -> Callable[..., Any]:
    """The function that `name` says. Raises `ValueError` that says what is wrong with it, and what to do."""
    if _IMPORT.fullmatch(name) is None:
        raise ValueError(f'expected "package.module:function", not {name!r}')
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as e:
        if e.name is not None and (module == e.name or module.startswith(e.name + ".")):
            text = (
                f"there is no module {e.name!r} where Python looks for it; install it, or add its folder to PYTHONPATH"
            )
            raise ValueError(text) from e
        raise ValueError(f"module {module!r} needs {e.name!r}, which is not installed") from e
    except (Exception, SystemExit) as e:  # whatever a module does when it is imported
        raise ValueError(f"module {module!r} cannot be imported ({where(e)})") from e
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ValueError(f"there is no {path!r} in module {module!r}") from None
    if not callable(found):
        raise ValueError(f"{name!r} is no function")
    named: Callable[..., Any] = found
    return named


def where(e: BaseException) -> str:
    """The kind of an exception and where it was raised. Not its text, which may hold what the function was given."""
    trace: TracebackType | None = e.__traceback__
    if trace is None:
        return type(e).__name__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{type(e).__name__} at {PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
