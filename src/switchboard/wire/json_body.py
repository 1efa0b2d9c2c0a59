"""JSON as it comes from outside: checked in full before anybody believes it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from switchboard.core.errors import Problem

MAX_NESTING: Final = 64

_decode: Final = msgspec.json.Decoder().decode


def load_json(body: bytes, max_nesting: int = MAX_NESTING) -> Any:
    """`body` as Python values. Raises `Problem` (400) that says what is wrong and at which byte.

    One full decode checks what passing raw members on would let by: invalid UTF-8, lone surrogates, NaN, numbers out of
    range, endless nesting.
    """
    try:
        value = _decode(body)
    except RecursionError:
        raise Problem("NESTING_TOO_DEEP", f"The body is nested more than {max_nesting} levels deep.") from None
    except UnicodeDecodeError:
        raise Problem("INVALID_JSON", "The body is not valid JSON: it holds bytes that are not UTF-8.") from None
    except msgspec.ValidationError:
        raise Problem("INVALID_JSON", "The body is not valid JSON: it holds a number out of range.") from None
    except msgspec.DecodeError as e:
        why = str(e).removeprefix("JSON is malformed: ")
        if not body.strip():
            raise Problem("INVALID_JSON", "The body is empty; a JSON object is expected.") from None
        raise Problem("INVALID_JSON", f"The body is not valid JSON: {why}.") from None
    # no deeper than there are brackets: most bodies need no walk
    if body.count(b"[") + body.count(b"{") > max_nesting and _deeper_than(value, max_nesting):
        raise Problem("NESTING_TOO_DEEP", f"The body is nested more than {max_nesting} levels deep.")
    return value


def _deeper_than(value: Any, limit: int) -> bool:
    level: list[Any] = [value]
    for _ in range(limit):
        below: list[Any] = []
        for v in level:
            children = v.values() if isinstance(v, dict) else v if isinstance(v, list) else ()
            below += [c for c in children if isinstance(c, dict | list)]
        if not below:
            return False
        level = below
    return True
