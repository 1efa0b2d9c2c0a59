"""Who asks, by the headers alone."""

from __future__ import annotations

import pytest

from switchboard.core.errors import Problem
from switchboard.policy.authenticate import AccessKeys, presented

PEER = "203.0.113.5"


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({b"authorization": b"Bearer k"}, b"k"),
        ({b"authorization": b"bearer   k "}, b"k"),
        ({b"x-api-key": b" k "}, b"k"),
        ({b"authorization": b"Basic k"}, b""),
        ({b"authorization": b"Bearer"}, b""),
        ({b"authorization": b"Basic x", b"x-api-key": b"k"}, b"k"),
        ({b"cookie": b"k"}, b""),
        ({}, b""),
    ],
)
def test_the_key_that_a_request_shows(headers: dict[bytes, bytes], key: bytes) -> None:
    assert presented(headers) == key


def test_without_keys_everybody_is_let_in_by_address() -> None:
    keys = AccessKeys([])
    assert not keys
    for headers in ({}, {b"authorization": b"Bearer whatever"}, {b"x-api-key": b"dummy"}):
        caller = keys.identify(headers, PEER)
        assert (caller.id, caller.kind) == (PEER, "open")


def test_any_of_several_keys_opens() -> None:
    keys = AccessKeys(["one", "two"])
    assert keys
    first = keys.identify({b"authorization": b"Bearer one"}, PEER)
    second = keys.identify({b"x-api-key": b"two"}, PEER)
    assert first.id != second.id
    assert first.kind == second.kind == "access_key"
    # the same key is the same caller, however and whence it is shown
    assert keys.identify({b"x-api-key": b"one"}, "198.51.100.1") == first
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
    keys = AccessKeys(["one", "two"])
    keys.identify({b"authorization": b"Bearer one"}, PEER)
    for _ in range(2):
        with pytest.raises(Problem) as e:
            keys.identify(headers, PEER)
        assert (e.value.code, e.value.status) == ("UNAUTHORIZED", 401)
        assert e.value.headers.lower().startswith(b"www-authenticate: bearer")
        assert "one" not in e.value.message


@pytest.mark.parametrize("other", [b"Basic dXNlcjpwYXNz", b"Digest x", b"", b"Negotiate abc"])
def test_an_authorization_of_another_kind_opens_nothing_later(other: bytes) -> None:
    """A proxy in front may put the same `authorization` on everybody's requests: that one of them had the right
    x-api-key lets in nobody else."""
    keys = AccessKeys(["one"])
    keys.identify({b"authorization": other, b"x-api-key": b"one"}, PEER)
    for headers in ({b"authorization": other}, {b"authorization": other, b"x-api-key": b"wrong"}):
        with pytest.raises(Problem):
            keys.identify(headers, PEER)


def test_wrong_keys_are_not_remembered() -> None:
    keys = AccessKeys(["one"])
    for n in range(1000):
        with pytest.raises(Problem):
            keys.identify({b"authorization": b"Bearer %d" % n}, PEER)
    assert len(keys._admitted) == 0
