"""The sink that an Exchange gives to a transport."""

from __future__ import annotations

from typing import Protocol

from switchboard.core.errors import UpstreamError
from switchboard.core.types import Headers


class Upstreamed(Protocol):
    """What an attempt tells."""

    def upstream_head(self, status: int, headers: Headers) -> None:
        """The upstream answers."""

    def upstream_data(self, data: bytes) -> None:
        """Some of its answer."""

    def upstream_end(self) -> None:
        """Its answer is whole, as HTTP sees it."""

    def upstream_error(self, error: UpstreamError) -> None:
        """The call failed."""


class Attempt:
    """One call to one target: the sink that its transport pushes into. Deaf once it is `detach`ed."""

    __slots__ = ("_exchange", "on_data")

    def __init__(self, exchange: Upstreamed) -> None:
        self._exchange: Upstreamed | None = exchange
        self.on_data = exchange.upstream_data  # called for every piece: nothing stands in between

    def detach(self) -> None:
        """Nobody listens any more."""
        self._exchange = None
        self.on_data = _ignore

    def on_head(self, status: int, headers: Headers) -> None:
        if self._exchange is not None:
            self._exchange.upstream_head(status, headers)

    def on_end(self) -> None:
        exchange = self._exchange
        self.detach()
        if exchange is not None:
            exchange.upstream_end()

    def on_error(self, error: UpstreamError) -> None:
        exchange = self._exchange
        self.detach()
        if exchange is not None:
            exchange.upstream_error(error)


def _ignore(data: bytes) -> None:
    """What comes after the end."""
