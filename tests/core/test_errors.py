"""The table of codes, and what the errors made of it say."""

from __future__ import annotations

import re

import pytest

from switchboard.core.errors import CODES, DEFAULT_RETRY_AFTER, Fault, Problem, UpstreamError

TYPES = {"invalid_request_error", "authentication_error", "permission_error", "rate_limit_error", "server_error"}
TYPES |= {"insufficient_quota"}


@pytest.mark.parametrize("code", CODES)
def test_a_row_of_the_table(code: str) -> None:
    row = CODES[code]
    assert re.fullmatch(r"[A-Z]+(_[A-Z]+)*", code)
    assert row.status in {308, 400, 401, 403, 404, 405, 408, 413, 414, 415, 426, 429, 431, 500, 502, 503, 504, 507}
    assert row.type in TYPES
    assert row.meaning[0].isupper() and row.meaning.endswith(".")
    assert (row.type == "server_error") == (row.status >= 500)
    assert (row.type in ("rate_limit_error", "insufficient_quota")) == (row.status == 429)
    assert (row.type == "authentication_error") == (row.status == 401)


@pytest.mark.parametrize("code", CODES)
def test_a_problem_of_each_code(code: str) -> None:
    p = Problem(code)
    assert (p.code, p.status, p.type, p.message) == (code, CODES[code].status, CODES[code].type, CODES[code].meaning)
    assert (p.param, p.detail, p.upstream, p.headers) == (None, "", None, b"")
    assert str(p) == p.message
    # whoever is asked to come back is told when
    assert p.retry_after == (DEFAULT_RETRY_AFTER if p.status in (429, 503) else None)


def test_what_the_documents_promise() -> None:
    """Statuses that clients were written for."""
    promised = {
        "INVALID_JSON": 400,
        "INVALID_REQUEST": 400,
        "NESTING_TOO_DEEP": 400,
        "PROVIDER_REJECTED": 400,
        "UNAUTHORIZED": 401,
        "ORIGIN_NOT_ALLOWED": 403,
        "MODEL_NOT_FOUND": 404,
        "PAYLOAD_TOO_LARGE": 413,
        "UNSUPPORTED_MEDIA_TYPE": 415,
        "RATE_LIMITED": 429,
        "API_KEY_NOT_CONFIGURED": 500,
        "CHAT_ERROR": 500,
        "PROVIDER_UNREACHABLE": 502,
        "PROVIDER_UNAVAILABLE": 503,
        "PROVIDER_TIMEOUT": 504,
    }
    assert {code: CODES[code].status for code in promised} == promised


def test_what_a_problem_is_told_replaces_the_default() -> None:
    p = Problem("RATE_LIMITED", "Slowly.", param="n", detail="for the log", retry_after="7", headers=b"a: b\r\n")
    assert (p.message, p.param, p.detail, p.retry_after, p.headers) == ("Slowly.", "n", "for the log", "7", b"a: b\r\n")
    assert "for the log" not in str(p)


def test_a_problem_needs_a_row_of_the_table() -> None:
    with pytest.raises(KeyError):
        Problem("SOMETHING_ELSE")


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_can_be_told(fault: Fault) -> None:
    assert str(UpstreamError(fault)) == fault
    assert str(UpstreamError(fault, "why")) == f"{fault}: why"
    assert str(UpstreamError(fault, "why", status=418)) == f"{fault} 418: why"


@pytest.mark.parametrize(
    ("fault", "retryable"),
    [
        (Fault.REFUSED, True),
        (Fault.DNS, True),
        (Fault.PROXY, True),
        (Fault.CONNECT_TIMEOUT, True),
        (Fault.TIMEOUT, True),
        (Fault.RESET, True),
        (Fault.CUT, True),
        (Fault.PROTOCOL, True),
        (Fault.FULL, True),
        (Fault.TLS, False),  # the certificate will be no better
        (Fault.TOO_LARGE, False),
    ],
)
def test_faults_worth_another_try(fault: Fault, retryable: bool) -> None:
    assert UpstreamError(fault).retryable is retryable


@pytest.mark.parametrize("fault", [Fault.STATUS, Fault.EVENT])
@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (0, True),  # none was told
        *[(status, False) for status in (400, 401, 403, 404, 413, 422)],
        *[(status, True) for status in (408, 409, 429, 500, 502, 503, 529)],
    ],
)
def test_statuses_worth_another_try(fault: Fault, status: int, retryable: bool) -> None:
    assert UpstreamError(fault, status=status).retryable is retryable
