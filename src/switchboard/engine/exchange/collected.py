"""An upstream's answer that is wanted whole: one that does not stream, or an error's body."""

from __future__ import annotations

import re
from typing import Any, Final

from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.events import AnswerBuilder
from switchboard.core.ports import ClientDialect, Context, ProviderDialect, Whole
from switchboard.core.types import Headers, Lines, header

_KIND: Final = re.compile(
    rb"(?:application/json|text/(?:plain|vtt|srt)|application/x-subrip)(?:; ?charset=[a-zA-Z0-9-]+)?"
)
_JSON: Final[Lines] = b"content-type: application/json\r\n"
_ERROR_BODY: Final = 64 * 1024  # bytes of an error that are read; the rest is passed over


class Collected:
    """Gathers the body of an answer with `status` and `headers`; `limit` is in bytes."""

    __slots__ = ("_headers", "_limit", "_pieces", "_size", "_status")

    def __init__(self, status: int, headers: Headers, limit: int) -> None:
        self._status = status
        self._headers = headers
        self._limit = limit if status == 200 else _ERROR_BODY
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        """Some of the body. Raises `UpstreamError` when an answer becomes too large."""
        self._size += len(data)
        if self._size <= self._limit:
            self._pieces.append(data)
        elif self._status == 200:
            raise UpstreamError(Fault.TOO_LARGE, f"an answer of more than {self._limit} bytes")

    @property
    def body(self) -> bytes:
        """What has come."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    @property
    def content_type(self) -> Lines:
        """The header line of its type, where that is one that passes; else JSON's."""
        kind = self._headers.get(b"content-type", b"")
        return header(b"content-type", kind) if kind != b"application/json" and _KIND.fullmatch(kind) else _JSON

    @property
    def _streamed(self) -> bool:
        return self._headers.get(b"content-type", b"").startswith(b"text/event-stream")

    def passes_as(self, client: ClientDialect, provider: ProviderDialect[Any], stream: bool) -> bool:
        """Whether the body can go to the client as it is. Raises `UpstreamError` if it is an error's."""
        if self._status != 200:
            raise provider.error(self._status, self._headers, self.body)
        return client.name == provider.name and not stream and not self._streamed

    def read(self, dialect: ProviderDialect[Any], context: Context) -> Whole:
        """The answer; one that was streamed though nobody asked is put together. Raises `UpstreamError`."""
        if not self._streamed:
            return dialect.answer(self.body)
        decoder = dialect.decoder(context)
        builder = AnswerBuilder()
        builder.add(decoder.feed(self.body))
        builder.add(decoder.eof())
        if builder.error is not None:
            raise builder.error
        return builder.answer()
