"""The offline provider: each of its models does what its table says, over both shells."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

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


@pytest.mark.parametrize(("partial", "n"), [(None, 1), (0, 1), (1, 2), (3, 1)])
async def test_images_that_are_not_finished(shell: str, partial: int | None, n: int) -> None:
    about: dict[str, Any] = {"model": "card", "prompt": "a red fox", "size": "512x256", "stream": True, "n": n}
    if partial is not None:
        about["partial_images"] = partial
    async with gateway(shell) as g:
        a = await g.ask("/v1/images/generations", about)
        assert a.status == 200 and a.headers["content-type"] == "text/event-stream" and a.whole
        assert "x-switchboard-dropped" not in a.headers
        told = [(e["type"].removeprefix("image_generation."), e.get("partial_image_index")) for e in a.events]
        assert told == [*[("partial_image", i) for i in range(partial or 0)], ("completed", None)] * n
        assert len({e["b64_json"] for e in a.events}) == len(a.events)
        assert (await g.record()).usage.images == n
        # each is nearer to what it becomes
        drawn = [np.asarray(Image.open(BytesIO(b64decode(e["b64_json"]))), dtype=float) for e in a.events]
        assert {d.shape for d in drawn} == {(256, 512, 3)}
        if n == 1:
            far = [float(np.abs(d - drawn[-1]).mean()) for d in drawn]
            assert far == sorted(far, reverse=True)
        whole = await g.ask("/v1/images/generations", about | {"stream": False, "n": 1})
        assert whole.json["data"][0]["b64_json"] in [e["b64_json"] for e in a.events]
        assert (whole.headers.get("x-switchboard-dropped") == "partial_images") == (partial is not None)
        refused = await g.ask("/v1/images/generations", {**about, "partial_images": 1, "size": "9x9"})
        assert (refused.status, refused.json["error"]["param"]) == (400, "size")


async def test_every_model_is_listed() -> None:
    async with gateway() as g:
        listed = [m["id"] for m in (await g.ask("/v1/models")).json["data"]]
        assert listed == [*MODELS, "hashed-words", "card", "espeak", "pocketsphinx"]
