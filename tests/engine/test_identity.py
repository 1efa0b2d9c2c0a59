"""Who asks, by the headers alone."""

from __future__ import annotations

import pytest

from switchboard.core.errors import Problem
from switchboard.core.types import Caller, RequestHead
from switchboard.engine.identity import Doors, Identity
from switchboard.policy.authenticate import AccessKeys
from switchboard.policy.failures import Failures

PEER = "203.0.113.5"


def identity(*keys: str, closed: bool = True, failures: int = 1000) -> Identity:
    """What knows the holders of `keys`."""
    return Identity("default", AccessKeys(keys), Doors(Failures(failures)), closed=closed)


def ask(known: Identity, headers: dict[bytes, bytes], peer: str) -> Caller:
    """Who asks, which is known at once."""
    found = known.identify(RequestHead("POST", "/v1/chat/completions", b"", headers, peer), peer)
    assert isinstance(found, Caller)
    return found


def test_without_keys_everybody_is_let_in_by_address() -> None:
    keys = identity(closed=False)
    for headers in ({}, {b"authorization": b"Bearer whatever"}, {b"x-api-key": b"dummy"}):
        caller = ask(keys, headers, PEER)
        assert (caller.id, caller.kind) == (PEER, "open")


def test_any_of_several_keys_opens() -> None:
    keys = identity("one", "two")
    first = ask(keys, {b"authorization": b"Bearer one"}, PEER)
    second = ask(keys, {b"x-api-key": b"two"}, PEER)
    assert first.id != second.id
    assert first.kind == second.kind == "access_key"
    # the same key is the same caller, however and whence it is shown
    assert ask(keys, {b"x-api-key": b"one"}, "198.51.100.1") == first
    assert "one" not in first.id and "two" not in second.id


WRONG: list[dict[bytes, bytes]] = [
    {},
    {b"authorization": b""},
    {b"authorization": b"Bearer"},
    {b"authorization": b"Bearer "},
    {b"authorization": b"Bearer on"},
    {b"authorization": b"Bearer onee"},
    {b"authorization": b"Bearer one two"},
    {b"authorization": b"Bearer one, Bearer one"},
    {b"authorization": b"Basic one"},
    {b"authorization": b"one"},
    {b"authorization": b"Bearer \xff\xfe"},
    {b"x-api-key": b""},
    {b"x-api-key": b"One"},
    {b"cookie": b"one"},
]


@pytest.mark.parametrize("headers", WRONG)
def test_a_wrong_key_is_refused(headers: dict[bytes, bytes]) -> None:
    keys = identity("one", "two")
    ask(keys, {b"authorization": b"Bearer one"}, PEER)
    for _ in range(2):
        with pytest.raises(Problem) as e:
            ask(keys, headers, PEER)
        assert (e.value.code, e.value.status) == ("UNAUTHORIZED", 401)
        assert e.value.headers.lower().startswith(b"www-authenticate: bearer")
        assert "one" not in e.value.message


@pytest.mark.parametrize("other", [b"Basic dXNlcjpwYXNz", b"Digest x", b"", b"Negotiate abc"])
def test_an_authorization_of_another_kind_opens_nothing_later(other: bytes) -> None:
    """A proxy in front may put the same `authorization` on everybody's requests: that one of them had the right
    x-api-key lets in nobody else."""
    keys = identity("one")
    ask(keys, {b"authorization": other, b"x-api-key": b"one"}, PEER)
    for headers in ({b"authorization": other}, {b"authorization": other, b"x-api-key": b"wrong"}):
        with pytest.raises(Problem):
            ask(keys, headers, PEER)


def test_wrong_keys_are_not_remembered() -> None:
    keys = identity("one")
    for n in range(1000):
        with pytest.raises(Problem):
            ask(keys, {b"authorization": b"Bearer %d" % n}, f"192.0.2.{n % 256}")
    assert len(keys.access._admitted) == 0


def test_an_address_that_tries_keys_is_stopped() -> None:
    keys = identity("one", failures=5)
    codes = []
    for n in range(8):
        with pytest.raises(Problem) as e:
            ask(keys, {b"authorization": b"Bearer %d" % n}, PEER)
        codes.append(e.value.code)
    assert codes == ["UNAUTHORIZED"] * 5 + ["RATE_LIMITED"] * 3
    assert int(e.value.retry_after or 0) > 50
    with pytest.raises(Problem):  # also with what would be right now
        ask(keys, {b"authorization": b"Bearer one"}, PEER)
    assert ask(keys, {b"authorization": b"Bearer one"}, "198.51.100.1").kind == "access_key"
    assert ask(keys, {b"authorization": b"Bearer one"}, PEER).kind == "access_key"  # a header that was right before


def test_who_shows_nothing_is_not_counted() -> None:
    keys = identity("one", failures=2)
    for _ in range(10):
        with pytest.raises(Problem) as e:
            ask(keys, {}, PEER)
        assert e.value.code == "UNAUTHORIZED"
