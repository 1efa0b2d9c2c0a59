"""What the envelope of a request is made by."""

from __future__ import annotations

from msgspec import Struct

from switchboard.net.address import Networks


class EnvelopeSettings(Struct, frozen=True):
    """`hosts` are the names answered to (empty: any, unless `loopback`); `origins` the browsers' pages that may ask;
    `own` this server's own origins; `proxies` whose ``x-forwarded-*`` are believed; `https` demands TLS; `traced` is the share of
    requests that begin a trace (one that comes with a trace is traced as that says; 0: none is).
    """

    hosts: frozenset[str] = frozenset()
    loopback: bool = True
    origins: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    proxies: Networks = Networks([])
    https: bool = False
    public_url: str = ""
    traced: float = 0.0
