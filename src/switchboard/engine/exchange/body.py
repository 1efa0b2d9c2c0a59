"""The body of a request as it comes in: held in memory, or, where it brings files, put into a temporary one."""

from __future__ import annotations

from typing import Final, Protocol

from switchboard.core.errors import Problem
from switchboard.core.types import Form, Headers
from switchboard.wire.multipart import FileReader, FormReader, boundary_of

_TOO_LARGE: Final = "The body is larger than {} bytes."


class Body(Protocol):
    """What a body is collected in."""

    def add(self, data: bytes) -> None:
        """Some of it. Raises `Problem`."""

    @property
    def begun(self) -> Form | None:
        """As much of a form as is needed to ask a provider, if that is there; the rest grows while it is sent on."""

    def whole(self) -> bytes | Form:
        """All of it has come. Raises `Problem`."""

    def close(self) -> None:
        """It is needed no more."""


class InMemory:
    """A body of at most `limit` bytes."""

    __slots__ = ("_data", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data: bytes | bytearray = b""

    def add(self, data: bytes) -> None:
        """See `Body`."""
        if not self._data:
            self._data = data
        else:
            if isinstance(self._data, bytes):
                self._data = bytearray(self._data)
            self._data += data
        if len(self._data) > self._limit:
            raise Problem("PAYLOAD_TOO_LARGE", _TOO_LARGE.format(self._limit))

    @property
    def begun(self) -> None:
        """See `Body`."""
        return None

    def whole(self) -> bytes:
        """See `Body`."""
        data, self._data = bytes(self._data), b""
        return data

    def close(self) -> None:
        """See `Body`."""
        self._data = b""


class Files:
    """A form with files, or a body that is a file itself, of at most `limit` bytes in all."""

    __slots__ = ("_limit", "_reader", "_size")

    def __init__(self, headers: Headers, limit: int) -> None:
        kind = headers.get(b"content-type", b"")
        boundary = boundary_of(kind)
        self._reader = FormReader(boundary) if boundary is not None else FileReader(kind)
        self._limit = limit
        self._size = 0

    def add(self, data: bytes) -> None:
        """See `Body`."""
        self._size += len(data)
        if self._size > self._limit:
            raise Problem("PAYLOAD_TOO_LARGE", _TOO_LARGE.format(self._limit))
        self._reader.feed(data)

    @property
    def begun(self) -> Form | None:
        """See `Body`."""
        return self._reader.begun

    def whole(self) -> Form:
        """See `Body`."""
        return self._reader.end()

    def close(self) -> None:
        """See `Body`."""
        self._reader.close()
