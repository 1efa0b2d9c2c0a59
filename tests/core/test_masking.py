"""What may be seen of a text that somebody else wrote."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.core.masking import MASK, mask_all, mask_secrets


@pytest.mark.parametrize(
    "secret",
    [
        "sk-abcdefghijklmnopqrstuvwxyz",
        "sk-proj-abc_DEF-123456",
        "sk-ant-api03-abcdef_123456",
        "sk-abcd*********wxyz",
        "sk_live_abcdef123456",
        "SK-ABCDEF123456",
        "ek_abcdef123456",
        "rk-abcdef123456",
        "gsk_abcdef123456",
        "xai-abcdef123456",
        "hf_abcdef123456",
        "sb-abcdef123456",
        "api-key-abcdef123456",
        "api_key_abcdef123456",
        "apikey-abcdef123456",
        "Bearer abcdef123456==",
        "bearer  a.b.c~d+e/f=",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    ],
)
def test_what_looks_like_a_secret_is_taken_out(secret: str) -> None:
    for text in ("{}", "Incorrect API key provided: {} (see the docs).", '{{"key":"{}"}}', "({})\n", "{}, {}"):
        assert mask_secrets(text.format(secret, secret)) == text.format(MASK, MASK)


@pytest.mark.parametrize(
    "text",
    [
        "messages[0].content: this field is required.",
        "The model 'gpt-4o-mini' does not exist.",
        "max_tokens is too large: 100000. This model supports at most 4096.",
        "a desk-organizer and a mask-123456",
        "Bearer of bad news",
        "sk-12",
        "ask-me-anything-please",
        "",
        "ümläut 😀",
    ],
)
def test_plain_words_stay(text: str) -> None:
    assert mask_all(text) == text


@settings(max_examples=200, deadline=None)
@given(
    secret=st.text(min_size=4, max_size=40).filter(lambda s: s not in MASK and "*" not in s),
    before=st.text(),
    after=st.text(),
)
def test_known_secrets_never_show(secret: str, before: str, after: str) -> None:
    assert secret not in mask_secrets(f"{before}{secret}{after}{secret}", [secret])
    assert secret not in mask_all(f"{before}{secret}{after}{secret}", ["", secret])


def test_known_secrets_need_no_special_look() -> None:
    assert mask_secrets("key 0123456789abcdef (0123456789abcdef)", ["0123456789abcdef"]) == f"key {MASK} ({MASK})"
    assert mask_secrets("a+b(c", ["a+b(c"]) == MASK
    assert mask_secrets("abc", [""]) == "abc"


@pytest.mark.parametrize("order", [1, -1])
def test_of_a_secret_that_begins_with_another_nothing_is_left(order: int) -> None:
    """Whichever of the two comes first in the settings."""
    known = ["topsecret", "topsecret-and-more"][::order]
    assert mask_secrets("It is topsecret-and-more!", known) == f"It is {MASK}!"


@pytest.mark.parametrize(
    "host",
    [
        "https://api.openai.com/v1/chat/completions",
        "http://localhost:11434/v1",
        "http://user:pass@10.0.0.7:8080/x?y=z",
        "HTTPS://EXAMPLE.COM",
        "wss://api.openai.com/v1/realtime?model=x",
        "http://[::1]:8080/v1",
        "10.1.2.3",
        "192.168.0.1:8443",
        "api.openai.com",
        "my-resource.openai.azure.com:443",
        "my-resource.cognitiveservices.azure.com/openai",
        "vllm.default.svc.cluster.local:8000",
        "gateway.internal",
        "api.mistral.ai",
        "host.docker.internal:1234",
    ],
)
def test_hosts_are_taken_out(host: str) -> None:
    masked = mask_all(f"Could not reach {host} in time")
    assert masked == "Could not reach [hidden] in time"


@pytest.mark.parametrize(
    "host",
    [
        "api.together.xyz",
        "api.moonshot.cn",
        "llm.example.de",
        "inference.example.eu:8443",
        "llm.corp:8080",
        "localhost:11434",
    ],
)
def test_hosts_under_other_names_are_taken_out_too(host: str) -> None:
    """Providers are everywhere, and so are their names."""
    assert host not in mask_all(f"Could not reach {host} in time")


def test_a_url_ends_where_its_quotes_do() -> None:
    assert mask_all('see "https://a.example/b" (http://c.example)') == 'see "[hidden]" ([hidden])'
    assert mask_all("<https://a.example/b>") == "<[hidden]>"


def test_secrets_within_urls_and_beside_them() -> None:
    masked = mask_all("GET https://api.example.com/?key=topsecret with topsecret and sk-abcdef123456", ["topsecret"])
    assert masked == f"GET [hidden] with {MASK} and {MASK}"


@settings(max_examples=200, deadline=None)
@given(text=st.text(), known=st.lists(st.text(max_size=8), max_size=3))
def test_any_text_can_be_masked(text: str, known: list[str]) -> None:
    assert isinstance(mask_all(text, known), str)
    assert isinstance(mask_secrets(text, known), str)


@pytest.mark.parametrize(
    "piece", ["a.", "a-", "a.-", "ai.", "sk-", "1.", "1.1.1.1.", "eyJaaaaaaaa.", "bearer ", "https://", "a@b."]
)
def test_long_texts_take_no_long_time(piece: str) -> None:
    """The patterns must not be ones that run wild: an error's body may have 64 KB, and much of it may be the client's."""
    text = piece * (8_000 // len(piece))
    start = time.perf_counter()
    mask_all(text)
    assert time.perf_counter() - start < 0.1
