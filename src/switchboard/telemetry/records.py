"""One record a request: what the log line and the metrics are made of."""

from __future__ import annotations

from msgspec import Struct, field

from switchboard.core.types import SpanIds, Usage


class Record(Struct, gc=False):
    """A request that is over. Times are in seconds (`at` since the epoch); `first_byte` is None where none was sent.

    `usage` says what was used; `cost` is in US dollars, None where the price is not known. `attempts` is how often a provider was asked, `called` when last, in seconds from the beginning. `user` is what people call the caller, or the user that it acts for.
    """

    at: float
    request_id: str
    method: str
    path: str
    status: int
    outcome: str
    duration: float
    first_byte: float | None = None
    profile: str = ""
    caller: str = ""
    dialect: str = ""
    provider: str = ""
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    streamed: bool = False
    error: str = ""
    detail: str = ""
    attempts: int = 0
    called: float = 0.0
    span: SpanIds | None = None
    cost: float | None = None
    user: str = ""

    @property
    def tokens_in(self) -> int:
        """Tokens of the request."""
        return self.usage.input

    @property
    def tokens_out(self) -> int:
        """Tokens of the answer."""
        return self.usage.output

    @property
    def tokens_estimated(self) -> bool:
        """Whether nobody counted, and the figures are guessed from the length of the text."""
        return self.usage.estimated
