"""Keys as requests show them."""

from __future__ import annotations

import pytest

from switchboard.policy.authenticate import presented


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
