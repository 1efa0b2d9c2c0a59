"""Tickets for conversations by voice: what they look like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.policy import tickets

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,100}", fullmatch=True)


@given(profile=names)
def test_a_client_s_ticket_tells_its_profile(profile: str) -> None:
    value = tickets.make_client(profile)
    assert value.startswith("ek_")
    assert tickets.profile_of(value.encode()) == profile
    assert tickets.is_ticket(value.encode())
    assert tickets.make_client(profile) != value


def test_that_of_the_default_profile_names_none() -> None:
    value = tickets.make_client("default")
    assert len(value) == 3 + 32 and "_" not in value[3:]


def test_a_session_s_ticket() -> None:
    value = tickets.make_session().encode()
    assert tickets.is_ticket(value)
    assert tickets.profile_of(value) == ""
    assert tickets.make_session().encode() != value


@given(value=st.one_of(st.binary(), st.binary().map(lambda b: b"ek_" + b), st.binary().map(lambda b: b"vt_" + b)))
def test_anything_else_is_none(value: bytes) -> None:
    if tickets.is_ticket(value):
        assert value.isascii() and len(value) >= 35
    else:
        assert tickets.profile_of(value) == ""


def test_a_name_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="too long"):
        tickets.make_client("a" * 250)


def test_what_is_stored_depends_on_the_secret() -> None:
    assert tickets.hash_of(b"vt_1", b"a") != tickets.hash_of(b"vt_1", b"b")
    assert tickets.hash_of(b"vt_1", b"a") != tickets.hash_of(b"vt_2", b"a")
    assert len(tickets.hash_of(b"vt_1", b"a")) == 32
