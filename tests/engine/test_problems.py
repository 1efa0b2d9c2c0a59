"""What a client is told when a provider failed: the whole table."""

from __future__ import annotations

from typing import Any, cast

import pytest

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import Provider
from switchboard.engine.problems import problem_for

SAID = "sk-Canary7Kq9z at https://internal.example/v1"


class Named:
    name = "up"
    title = "The Provider"
    capabilities = Capabilities()


PROVIDER = cast("Provider", Named())

FAULTS = {
    Fault.REFUSED: ("PROVIDER_UNREACHABLE", 502),
    Fault.DNS: ("PROVIDER_UNREACHABLE", 502),
    Fault.TLS: ("PROVIDER_UNREACHABLE", 502),
    Fault.PROXY: ("PROVIDER_UNREACHABLE", 502),
    Fault.RESET: ("PROVIDER_UNREACHABLE", 502),
    Fault.CONNECT_TIMEOUT: ("PROVIDER_TIMEOUT", 504),
    Fault.TIMEOUT: ("PROVIDER_TIMEOUT", 504),
    Fault.CUT: ("PROVIDER_CUT", 502),
    Fault.PROTOCOL: ("PROVIDER_PROTOCOL", 502),
    Fault.TOO_LARGE: ("PROVIDER_PROTOCOL", 502),
    Fault.FULL: ("OVERLOADED", 503),
    Fault.STATUS: ("PROVIDER_UNAVAILABLE", 503),
    Fault.EVENT: ("PROVIDER_UNAVAILABLE", 503),
}


@pytest.mark.parametrize("fault", Fault)
def test_every_fault(fault: Fault) -> None:
    error = UpstreamError(fault, SAID)
    p = problem_for(error, PROVIDER)
    assert (p.code, p.status) == FAULTS[fault]
    assert "Canary" not in p.message and "internal" not in p.message
    assert p.upstream is None
    # the log has all of it
    assert p.detail == f"up: {error}" and SAID in p.detail
    assert (p.retry_after == "5") == (p.status == 503)


STATUSES = {
    400: ("PROVIDER_REJECTED", 400),
    404: ("PROVIDER_REJECTED", 400),
    413: ("PROVIDER_REJECTED", 400),
    422: ("PROVIDER_REJECTED", 400),
    401: ("PROVIDER_AUTH", 502),
    403: ("PROVIDER_AUTH", 502),
    429: ("PROVIDER_RATE_LIMITED", 429),
    408: ("PROVIDER_TIMEOUT", 504),
    409: ("PROVIDER_UNAVAILABLE", 503),
    500: ("PROVIDER_UNAVAILABLE", 503),
    502: ("PROVIDER_UNAVAILABLE", 503),
    503: ("PROVIDER_UNAVAILABLE", 503),
    504: ("PROVIDER_UNAVAILABLE", 503),
    529: ("PROVIDER_UNAVAILABLE", 503),
    301: ("PROVIDER_PROTOCOL", 502),
    204: ("PROVIDER_PROTOCOL", 502),
    418: ("PROVIDER_PROTOCOL", 502),
}


@pytest.mark.parametrize("status", STATUSES)
def test_every_status(status: int) -> None:
    error = UpstreamError(Fault.STATUS, SAID, status=status)
    p = problem_for(error, PROVIDER)
    assert (p.code, p.status) == STATUSES[status]
    assert "Canary" not in p.message and "internal" not in p.message
    assert p.message.startswith("The Provider")
    # only what the provider says of the request itself may be passed on, by the surface that does so
    assert (p.upstream is error) == (p.code == "PROVIDER_REJECTED")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ({"type": "invalid_request_error"}, "PROVIDER_REJECTED"),
        ({"type": "not_found_error"}, "PROVIDER_REJECTED"),
        ({"type": "authentication_error"}, "PROVIDER_AUTH"),
        ({"code": "invalid_api_key"}, "PROVIDER_AUTH"),
        ({"type": "permission_error"}, "PROVIDER_AUTH"),
        ({"type": "rate_limit_error"}, "PROVIDER_RATE_LIMITED"),
        ({"code": "rate_limit_exceeded"}, "PROVIDER_RATE_LIMITED"),
        ({"type": "insufficient_quota", "code": "insufficient_quota"}, "PROVIDER_RATE_LIMITED"),
        ({"type": "overloaded_error"}, "PROVIDER_UNAVAILABLE"),
        ({"type": "server_error"}, "PROVIDER_UNAVAILABLE"),
        ({"type": "something new", "code": "unheard_of"}, "PROVIDER_UNAVAILABLE"),
        ({}, "PROVIDER_UNAVAILABLE"),
    ],
)
def test_errors_as_events_go_by_their_words(words: dict[str, Any], code: str) -> None:
    assert problem_for(UpstreamError(Fault.EVENT, SAID, **words), PROVIDER).code == code


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (None, "5"),
        ("7", "7"),
        ("1.2", "2"),
        ("0", "1"),
        ("86400", "86400"),
        ("86401", "5"),
        ("-1", "5"),
        ("nan", "5"),
        ("inf", "5"),
        ("soon", "5"),
        ("", "5"),
        ("7\r\nx: y", "5"),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "5"),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_the_provider_s_where_it_is_plausible(status: int, header: str | None, told: str) -> None:
    error = UpstreamError(Fault.STATUS, SAID, status=status, retry_after=header)
    assert problem_for(error, PROVIDER).retry_after == told
