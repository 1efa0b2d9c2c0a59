"""Taking out of a text what nobody may see: keys, tokens, hosts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MASK: Final = "***"
HIDDEN: Final = "[hidden]"

_SECRETS: Final = re.compile(
    r"(?i)\b(?:sk|pk|rk|ek|sb|xai|gsk|hf|key|api[-_]?key)[-_][A-Za-z0-9*_\-]{6,}"  # keys with a known beginning
    r"|\bbearer\s+[A-Za-z0-9._~+/=\-]{6,}"
    r"|\bsbt_[A-Za-z0-9_.\-]{6,}"  # tokens of our own
    r"|\bv1\.[A-Za-z0-9_-]{22}\.\d+\.[A-Za-z0-9_-]{43}"  # the page's cookie
    r"|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]*"  # a JWT
)
_URL: Final = re.compile(r"(?i)\b(?:https?|wss?)://(?:\[[^\]\s]*\])?[^\s\"'<>)\]}]*")
#: What may be a host name or an address, with its port and path. What is decided in `_hide`.
_WORD: Final = re.compile(r"(?<![A-Za-z0-9_.\-])[A-Za-z0-9][A-Za-z0-9.\-]*(?::\d+)?(?:/[^\s\"']*)?")
_ADDRESS: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
#: Last labels of names that are hosts, besides those of two letters, which countries have.
_TOP: Final = frozenset(
    [
        "com",
        "net",
        "org",
        "edu",
        "gov",
        "info",
        "biz",
        "xyz",
        "app",
        "dev",
        "cloud",
        "online",
        "site",
        "tech",
        "store",
        "page",
        "live",
        "space",
        "ninja",
        "global",
        "network",
        "azure",
        "local",
        "localdomain",
        "internal",
        "intranet",
        "corp",
        "lan",
        "home",
        "private",
        "svc",
        "cluster",
        "test",
        "invalid",
        "example",
    ]
)


def spellings(secrets: Iterable[str]) -> tuple[str, ...]:
    """`secrets` as they are and as JSON writes them, the longest first, so that none hides part of another."""
    found = set()
    for s in secrets:
        if s:
            escaped = s.replace("\\", "\\\\").replace('"', '\\"')
            found |= {s, escaped, escaped.replace("/", "\\/")}
    return tuple(sorted(found, key=len, reverse=True))


def mask_secrets(text: str, known: Iterable[str] = ()) -> str:
    """`text` without the secrets in `known` (see `spellings`) and without whatever looks like one."""
    for secret in sorted(known, key=len, reverse=True):
        if secret:
            text = text.replace(secret, MASK)
    return _SECRETS.sub(MASK, text)


def mask_all(text: str, known: Iterable[str] = ()) -> str:
    """`text` without secrets, URLs, host names and addresses: what may be passed on of a provider's words."""
    return _WORD.sub(_hide, _URL.sub(HIDDEN, mask_secrets(text, known)))


def _hide(found: re.Match[str]) -> str:
    word = found[0]
    authority, _, _ = word.partition("/")
    name, _, port = authority.rstrip(".").partition(":")
    top = name.rpartition(".")[2].lower()
    is_host = "." in name and top.isalpha() and (len(top) == 2 or top in _TOP)
    if is_host or _ADDRESS.fullmatch(name) or name.lower() == "localhost":
        return HIDDEN
    # a name without a dot is a host only when a port says so
    return HIDDEN + word[len(authority) :] if port and name[:1].isalpha() else word
