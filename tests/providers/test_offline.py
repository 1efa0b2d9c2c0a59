"""The offline provider: each of its models does what its table says, over both shells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.client import chat
from support.gateway import gateway, until
from switchboard.core.clock import now
from switchboard.providers.offline.models import MODELS, words

pytestmark = pytest.mark.anyio


@given(st.text())
def test_words_joined_are_the_text(text: str) -> None:
    assert "".join(words(text)) == text


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("error-401", 502, "provider_auth"),
        ("error-429", 429, "provider_rate_limited"),
        ("error-500", 503, "provider_unavailable"),
        ("error-529", 503, "provider_unavailable"),
        ("error-first-event", 503, "provider_unavailable"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_errors(shell: str, model: str, status: int, code: str, stream: bool) -> None:
    async with gateway(shell) as g:
        a = await g.ask("/v1/chat/completions", chat(model=model, stream=stream))
        assert (a.status, a.json["error"]["code"]) == (status, code)


@pytest.mark.parametrize("model", ["cut-midstream", "garbage", "error-midstream"])
async def test_broken_streams(shell: str, model: str) -> None:
    async with gateway(shell) as g:
        a = await g.ask("/api/chat?format=simple", chat(model=model))
        assert "".join(e["content"] for e in a.events) == "one two three "
        assert "error" in a.events[-1]
        assert not a.whole
        text = await g.ask("/api/chat?format=text", chat(model=model))
        assert (text.text, text.whole) == ("one two three ", False)


async def test_slow_and_paced() -> None:
    async with gateway("splice", providers={"offline": {"pace": 0.05}}) as g:
        start = now()
        await g.ask("/api/chat", chat("a b c d e"))
        assert now() - start > 0.19
        start = now()
        a = await g.ask("/api/chat", chat("a", model="slow"))
        assert (a.status, now() - start > 1.9) == (200, True)


async def test_endless_ends_when_its_client_leaves(shell: str) -> None:
    from support.client import request

    async with gateway(shell) as g:
        c = await g.connect()
        await c.send(request("/api/chat", chat(model="endless")))
        await c.head()
        assert await c.chunk()
        c.close()
        await until(lambda: not g.app.registry.open)
        assert (await g.record()).outcome == "client_left"


async def test_endless_is_cut_at_the_longest_time(shell: str) -> None:
    async with gateway(shell, timeouts={"total": 0.5}) as g:
        a = await g.ask("/api/chat?format=simple", chat(model="endless"))
        assert a.events[-1]["error"]["code"] == "PROVIDER_TIMEOUT"
        assert (await g.record()).outcome == "timeout"


async def test_silent_times_out(shell: str) -> None:
    async with gateway(shell, timeouts={"first_event": 0.3}) as g:
        a = await g.ask("/api/chat", chat(model="silent"))
        assert a.status == 504


async def test_every_model_is_listed() -> None:
    async with gateway() as g:
        listed = [m["id"] for m in (await g.ask("/v1/models")).json["data"]]
        assert listed == [*MODELS, "hashed-words", "card", "espeak", "pocketsphinx"]
