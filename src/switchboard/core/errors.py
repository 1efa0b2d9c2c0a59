"""What can go wrong, by name.

Two families:

- `Problem`: what a *client* is told. It carries a code from the table `CODES` (documented in ``docs/errors.md``), a
  message that is safe to show, and what only the log may see (`detail`).
- `UpstreamError`: what a *provider* or the way to it did. It never reaches a client as it is; `engine.generate`
  turns it into a `Problem`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct


class Code(Struct, frozen=True):
    """One row of the table of error codes.

    `status` is the HTTP status; `type` is what OpenAI's error shape calls the kind; `meaning` is the default message.
    """

    status: int
    type: str
    meaning: str


CODES: Final[dict[str, Code]] = {
    "INVALID_JSON": Code(400, "invalid_request_error", "The body is not valid JSON."),
    "INVALID_REQUEST": Code(400, "invalid_request_error", "The request is not valid."),
    "INVALID_MODEL": Code(400, "invalid_request_error", "The model's name is not valid."),
    "NESTING_TOO_DEEP": Code(400, "invalid_request_error", "The body is nested too deeply."),
    "BAD_REQUEST": Code(400, "invalid_request_error", "The HTTP request is malformed."),
    "UNKNOWN_HOST": Code(400, "invalid_request_error", "This server does not answer for that host name."),
    "FIELD_NOT_SUPPORTED": Code(400, "invalid_request_error", "The model takes no such field."),
    "PROVIDER_REJECTED": Code(400, "invalid_request_error", "The AI provider did not accept the request."),
    "UNAUTHORIZED": Code(401, "authentication_error", "A valid access key is needed."),
    "FORBIDDEN": Code(403, "permission_error", "This is not allowed for this caller."),
    "ORIGIN_NOT_ALLOWED": Code(403, "permission_error", "This origin is not allowed."),
    "NOT_FOUND": Code(404, "invalid_request_error", "There is nothing here."),
    "MODEL_NOT_FOUND": Code(404, "invalid_request_error", "There is no such model."),
    "CONVERSATION_NOT_FOUND": Code(404, "invalid_request_error", "There is no such conversation."),
    "METHOD_NOT_ALLOWED": Code(405, "invalid_request_error", "This method is not allowed here."),
    "REQUEST_TIMEOUT": Code(408, "invalid_request_error", "The request came too slowly."),
    "PAYLOAD_TOO_LARGE": Code(413, "invalid_request_error", "The body is too large."),
    "URI_TOO_LONG": Code(414, "invalid_request_error", "The URL is too long."),
    "UNSUPPORTED_MEDIA_TYPE": Code(415, "invalid_request_error", "The body's content type is not one read here."),
    "RATE_LIMITED": Code(429, "rate_limit_error", "Too many requests."),
    "BUDGET_EXHAUSTED": Code(429, "insufficient_quota", "The budget is used up."),
    "PROVIDER_RATE_LIMITED": Code(429, "rate_limit_error", "The AI provider is limiting requests."),
    "UPGRADE_REQUIRED": Code(426, "invalid_request_error", "This path speaks WebSocket (version 13)."),
    "HEADERS_TOO_LARGE": Code(431, "invalid_request_error", "The request's headers are too large."),
    "API_KEY_NOT_CONFIGURED": Code(500, "server_error", "The AI provider's API key is not configured."),
    "HTTPS_REQUIRED": Code(308, "invalid_request_error", "This server answers over HTTPS only."),
    "INTERNAL_ERROR": Code(500, "server_error", "Something went wrong here."),
    "CHAT_ERROR": Code(500, "server_error", "The chat could not be answered."),
    "PROVIDER_UNREACHABLE": Code(502, "server_error", "The AI provider could not be reached."),
    "PROVIDER_AUTH": Code(502, "server_error", "The AI provider did not accept this server's credentials."),
    "PROVIDER_PROTOCOL": Code(502, "server_error", "The AI provider's answer could not be understood."),
    "PROVIDER_CUT": Code(502, "server_error", "The AI provider's answer was cut off."),
    "PROVIDER_UNAVAILABLE": Code(503, "server_error", "The AI provider is unavailable."),
    "STORE_UNAVAILABLE": Code(503, "server_error", "The server's database is not available at the moment."),
    "IDENTITY_UNAVAILABLE": Code(503, "server_error", "Who calls cannot be checked at the moment."),
    "OVERLOADED": Code(503, "server_error", "The server has no room for more at the moment."),
    "SERVER_RESTARTING": Code(503, "server_error", "The server is restarting."),
    "PROVIDER_TIMEOUT": Code(504, "server_error", "The AI provider did not answer in time."),
    "STORE_FULL": Code(507, "server_error", "The server has no room to store this."),
}

#: Seconds that a 429 or 503 asks a client to wait where nobody named a time.
DEFAULT_RETRY_AFTER: Final = "5"


class Problem(Exception):  # noqa: N818  a problem is told to a client; not every one is an error of ours
    """An answer that is an error, as a client may see it.

    `code` is a key of `CODES`. `message` is shown; `param` names the field at fault; `detail` goes to the log only.
    `retry_after` is in seconds, as text. `upstream` is set where a provider's own 4xx is passed on: its `status`,
    `type` and `code` replace ours on ``/v1``. `headers` are lines added to the answer.
    """

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        param: str | None = None,
        detail: str = "",
        retry_after: str | None = None,
        upstream: UpstreamError | None = None,
        headers: bytes = b"",
    ) -> None:
        row = CODES[code]
        self.code = code
        self.status = row.status
        self.type = row.type
        self.message = message or row.meaning
        self.param = param
        self.detail = detail
        self.upstream = upstream
        self.headers = headers
        self.retry_after = retry_after or (DEFAULT_RETRY_AFTER if row.status in (429, 503) else None)
        super().__init__(self.message)


class Fault(StrEnum):
    """How a provider, or the way to it, failed."""

    REFUSED = "refused"  # nobody listens, or the network is unreachable
    DNS = "dns"
    TLS = "tls"
    PROXY = "proxy"
    CONNECT_TIMEOUT = "connect_timeout"
    TIMEOUT = "timeout"  # connected, but no (first, next, last) byte in time
    RESET = "reset"  # the connection broke before an answer began
    CUT = "cut"  # the answer ended before it was complete
    PROTOCOL = "protocol"  # not HTTP, not JSON, not the dialect
    TOO_LARGE = "too_large"  # an event or an answer over the limit
    FULL = "full"  # no free connection to the provider
    STATUS = "status"  # an answer with an error status
    EVENT = "event"  # an error as an event of a stream


#: What providers call the kinds of error that come as an event of a stream, in place of a status.
_STATUS_OF: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class UpstreamError(Exception):
    """A failed call to a provider.

    `status` (0 where there was none and none is known for the words), `type`, `param` and `code` are the provider's own words, `message` too; none of
    them is safe to show. `retry_after` is the provider's header, in seconds. `retryable` says whether the same call
    may do better later or elsewhere.
    """

    def __init__(
        self,
        fault: Fault,
        message: str = "",
        *,
        status: int = 0,
        type: str | None = None,  # noqa: A002  the field's name on the wire
        param: str | None = None,
        code: str | None = None,
        retry_after: str | None = None,
    ) -> None:
        self.fault = fault
        if not status and fault is Fault.EVENT:
            status = next((_STATUS_OF[n] for n in (type, code) if n in _STATUS_OF), 0)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code
        self.retry_after = retry_after
        super().__init__(message)

    @property
    def retryable(self) -> bool:
        """Whether trying again, or trying another target, makes sense."""
        if self.fault in (Fault.STATUS, Fault.EVENT):
            return self.status in (0, 408, 409, 429) or self.status >= 500
        return self.fault not in (Fault.TLS, Fault.TOO_LARGE)

    def __str__(self) -> str:
        status = f" {self.status}" if self.status else ""
        return f"{self.fault}{status}: {self.message}" if self.message else f"{self.fault}{status}"
