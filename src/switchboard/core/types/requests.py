"""Requests, whatever they ask for."""

from __future__ import annotations

from msgspec import Struct

from switchboard.core.errors import Problem

#: Header names in lower case; repeated headers are joined with ", " ("; " for cookies).
Headers = dict[bytes, bytes]
#: Header lines of an answer or a call, as they go over the wire, each ended by CRLF.
Lines = bytes


class RequestHead(Struct, gc=False):
    """A request before its body: what either shell knows when the headers are in.

    `path` is decoded; `query` is raw; `peer` is the address of the other end of the socket; `scheme` is "http" or
    "https" on that socket. What a trusted proxy says about either is decided in `surface.envelope`.
    """

    method: str
    path: str
    query: bytes
    headers: Headers
    peer: str
    scheme: str = "http"


def header(name: bytes, value: bytes) -> Lines:
    """One header line. Raises `ValueError` for a value that would break out of it."""
    if b"\r" in value or b"\n" in value or b"\0" in value:
        raise ValueError("a header's value has no line ends")
    return b"%b: %b\r\n" % (name, value)


def header_pairs(lines: Lines) -> list[tuple[bytes, bytes]]:
    """Header lines as pairs of name and value."""
    pairs = [line.partition(b": ") for line in lines.split(b"\r\n") if line]
    return [(name, value) for name, _, value in pairs]


class SpanIds(Struct, frozen=True, gc=False):
    """Ids of a request that is traced, in hexadecimal: of the trace, of the span above ("": none), of the request's own,
    and of that for the call to a provider."""

    trace: str
    parent: str
    server: str
    client: str


class Envelope(Struct, gc=False):
    """What every request gets, whatever it asks: made from its head by `surface.envelope`, used by both shells.

    `headers` go on the answer, errors included (request id, CORS, …). `peer` is the client's address as far as trusted
    proxies can tell. `trace` is a header line to pass on to the provider, or b"". `problem` is why the request is
    refused before anything else (an unknown host, say). `span` is set where the request is traced.
    """

    request_id: str
    headers: Lines
    peer: str
    trace: Lines = b""
    problem: Problem | None = None
    span: SpanIds | None = None
