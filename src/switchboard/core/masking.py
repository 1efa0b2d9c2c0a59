"""Taking out of a text what nobody may see: keys, tokens, hosts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MASK: Final = "***"

_SECRETS: Final = re.compile(
    r"(?i)\b(?:sk|pk|rk|ek|sb|xai|gsk|hf|key|api[-_]?key)[-_][A-Za-z0-9*_\-]{6,}"  # keys with a known beginning
    r"|\bbearer\s+[A-Za-z0-9._~+/=\-]{6,}"
    r"|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]*"  # a JWT
)
_HOSTS: Final = re.compile(
    r"(?i)\b(?:https?|wss?)://[^\s\"'<>)\]}]+"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"
    r"|\b(?:[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?\.)+(?:com|net|org|io|ai|dev|local|internal|azure|cloud|co)\b(?::\d+)?(?:/[^\s\"']*)?"
)


def mask_secrets(text: str, known: Iterable[str] = ()) -> str:
    """`text` without the secrets in `known` and without whatever looks like one."""
    for secret in known:
        if secret:
            text = text.replace(secret, MASK)
    return _SECRETS.sub(MASK, text)


def mask_all(text: str, known: Iterable[str] = ()) -> str:
    """`text` without secrets, URLs, host names and addresses: what may be passed on of a provider's words."""
    return _HOSTS.sub("[hidden]", mask_secrets(text, known))
