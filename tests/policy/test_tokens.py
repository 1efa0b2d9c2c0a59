"""Tokens that stand for access keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.policy.authenticate import AccessKeys
from switchboard.policy.tokens import PREFIX, Tokens, profile_of

KEYS = Tokens([b"one", b"two"], "shop")


def test_a_token_is_good_until_it_expires() -> None:
    token = KEYS.issue(1, 1000).encode()
    assert (KEYS.check(token, 999.9), KEYS.check(token, 1000)) == (1, None)
    assert profile_of(token) == "shop"


def test_another_process_knows_it_and_another_key_does_not() -> None:
    token = KEYS.issue(0, 1000).encode()
    assert Tokens([b"zero", b"one"], "other").check(token, 0) == 1
    assert Tokens([b"two"], "shop").check(token, 0) is None
    assert Tokens([], "shop").check(token, 0) is None


@pytest.mark.parametrize("change", [(b"shop", b"base"), (b"1000", b"9999"), (b"sbt_", b"sbt_x")])
def test_nothing_in_it_can_be_changed(change: tuple[bytes, bytes]) -> None:
    token = KEYS.issue(0, 1000).encode()
    assert KEYS.check(token, 0) == 0
    assert KEYS.check(token.replace(*change), 0) is None


@given(st.binary(max_size=600))
def test_anything_else_is_none(data: bytes) -> None:
    assert KEYS.check(data, 0) is None
    assert KEYS.check(PREFIX + data, 0) is None
    profile_of(data)


def test_it_opens_what_its_key_opens() -> None:
    keys = AccessKeys(["one", "two"])
    token = keys.token(b"two", 4_000_000_000)
    assert token is not None and keys.token(b"three", 4_000_000_000) is None
    by_token = keys.find(token.encode(), b"")
    assert by_token is not None and by_token == keys.find(b"two", b"")
