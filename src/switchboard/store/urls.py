"""Where a database is: a URL, and texts about it that do not give its password away."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from switchboard.core.masking import MASK

_SQLITE: Final = "sqlite:///"
_SECRET_PART: Final = re.compile(r"(?i)[?&](?:password|sslpassword)=([^&#]*)")


def is_postgres(url: str) -> bool:
    """Whether `url` names a PostgreSQL database."""
    return url.startswith(("postgresql://", "postgres://"))


def sqlite_path(url: str) -> Path:
    """The file that a ``sqlite:///`` URL names: ``sqlite:///a.db`` is relative, ``sqlite:////srv/a.db`` absolute. Raises
    ValueError where it is no such URL, or names no file."""
    path = url.removeprefix(_SQLITE)
    if path == url or not path or path == ":memory:" or "\0" in path:
        raise ValueError("a database's URL is sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME")
    return Path(path)


def masked(text: str, url: str) -> str:
    """`text` without anything that could be of the password in `url`, also where `url` is not well formed."""
    secrets = _SECRET_PART.findall(url)
    authority = re.split(r"[?#]", url.partition("://")[2], maxsplit=1)[0]
    user, colon, rest = authority.rpartition("@")[0].partition(":")
    if colon:
        # of a password with characters that should have been written as %XX, a part is taken for the host
        secrets += [rest, *re.split(r"[:@/]", rest)]
    del user
    for secret in sorted({s for each in secrets for s in (each, unquote(each)) if s}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
