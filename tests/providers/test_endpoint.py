"""Base URLs: what they mean, and what is wrong with them."""

from __future__ import annotations

import pytest

from switchboard.providers.base import endpoint


@pytest.mark.parametrize(
    ("url", "origin", "path", "host"),
    [
        ("https://api.openai.com/v1", ("https", "api.openai.com", 443), "/v1", "api.openai.com"),
        ("http://localhost:11434/v1/", ("http", "localhost", 11434), "/v1", "localhost:11434"),
        ("http://[::1]:8000", ("http", "::1", 8000), "", "[::1]:8000"),
        ("https://gateway.example:443/a/b", ("https", "gateway.example", 443), "/a/b", "gateway.example"),
    ],
)
def test_endpoint(url: str, origin: tuple[str, str, int], path: str, host: str) -> None:
    e = endpoint(url)
    assert (e.origin, e.path, e.host) == (origin, path, host)


@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com/v1",
        "ftp://x/v1",
        "https:///v1",
        "https://user:secret@x/v1",
        "https://x/v1?key=1",
        "https://x/v1#top",
        "https://x/v 1",
        "https://x/v1\r\nhost: evil",
        "http://x:99999/v1",
    ],
)
def test_a_bad_base_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as e:
        endpoint(url)
    assert "secret" not in str(e.value)
