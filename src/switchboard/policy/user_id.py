"""Which texts may name a user: those that can be logged, shown and compared without surprises."""

from __future__ import annotations

from typing import Any, Final, TypeGuard

#: Characters that the name of a user may have (OpenID Connect's limit for ``sub``).
LONGEST: Final = 255


def is_user_id(value: Any, longest: int = LONGEST) -> TypeGuard[str]:
    """Whether `value` is a text of 1 to `longest` characters that are all printable, with no blanks around it: no line ends
    or control characters (which forge lines of a log), nothing invisible or of another direction, no lone surrogates."""
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable() and value == value.strip()
