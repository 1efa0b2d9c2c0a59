"""The access-key service: a token for the key, and what it opens."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from support.gateway import gateway

pytestmark = pytest.mark.anyio

KEY = "the-access-key-1"
SETTINGS: dict[str, Any] = {"auth": {"access_key": KEY}, "chat": {"provider": "offline"}}


async def test_a_key_gives_a_token_and_the_token_opens(shell: str) -> None:
    async with gateway(shell, **SETTINGS) as g:
        a = await g.ask("/auth", {"access_key": KEY})
        assert (a.status, a.json["success"], a.json["token_type"]) == (200, True, "bearer")
        assert a.json["expires_at"].endswith("Z") and KEY not in a.text
        bearer = {"authorization": f"Bearer {a.json['token']}"}
        body = {"messages": [{"role": "user", "content": "Hello there"}]}
        said = await g.ask("/chat", body, bearer)
        assert said.json["choices"][0]["message"]["content"] == "Hello there"
        assert (
            await g.ask("/chat", body, {"authorization": f"Bearer {KEY}"})
        ).status == 200  # the key itself does, too
        listed = await g.ask("/models", None, bearer)
        assert "echo" in [m["id"] for m in listed.json["data"]]


async def test_without_a_token_everything_is_closed(shell: str) -> None:
    async with gateway(shell, **SETTINGS) as g:
        for path in ("/chat", "/completion", "/images/generate", "/embeddings"):
            for headers in ({}, {"authorization": "Bearer sbt_default.9999999999.0.0"}):
                a = await g.ask(path, {"prompt": "x", "input": "x"}, headers)
                assert (a.status, a.json["error"]["code"]) == (401, "UNAUTHORIZED")
                assert a.headers["www-authenticate"].startswith("Bearer")
        assert (await g.ask("/models")).status == 401
        assert (await g.ask("/")).status == 200 and (await g.ask("/page/app.js")).status == 200


async def test_a_wrong_key_and_too_many_of_them(shell: str) -> None:
    async with gateway(shell, **SETTINGS) as g:
        for _ in range(10):
            a = await g.ask("/auth", {"access_key": "wrong"})
            assert (a.status, a.json["error"]["code"]) == (401, "UNAUTHORIZED")
        a = await g.ask("/auth", {"access_key": KEY})
        assert (a.status, a.headers["retry-after"]) == (429, "60")


@pytest.mark.parametrize("body", [{}, {"access_key": 5}, {"access_key": None}, [], {"access_key": "x" * 5000}])
async def test_a_key_that_is_none(shell: str, body: Any) -> None:
    async with gateway(shell, **SETTINGS) as g:
        a = await g.ask("/auth", body)
        assert (a.status, a.json["error"]["code"]) == (400, "INVALID_REQUEST")
        assert "xxx" not in a.text


async def test_a_reload_with_another_key_voids_the_tokens(shell: str) -> None:
    async with gateway(shell, **SETTINGS) as g:
        token = (await g.ask("/auth", {"access_key": KEY})).json["token"]
        bearer = {"authorization": f"Bearer {token}"}
        assert (await g.ask("/models", None, bearer)).status == 200
        settings = g.app.runtime.settings.model_copy(
            update={"auth": type(g.app.runtime.settings.auth)(access_key=["another-key-22"])}
        )
        g.app.reload(settings)
        assert (await g.ask("/models", None, bearer)).status == 401


async def test_the_token_of_a_profile_s_key_chooses_the_profile(shell: str) -> None:
    profiles = {"shop": {"access_key": "shop-key-12345", "system_prompt": "Be a shop."}}
    async with gateway(shell, **SETTINGS, profiles=profiles) as g:
        token = (await g.ask("/auth", {"access_key": "shop-key-12345"})).json["token"]
        await g.ask("/chat", {"prompt": "hi"}, {"authorization": f"Bearer {token}"})
        record = await g.record(2)
        assert (record.path, record.profile, record.status) == ("/chat", "shop", 200)


async def test_chat_takes_a_prompt_and_streams_when_asked(shell: str) -> None:
    async with gateway(shell) as g:
        assert (await g.ask("/chat", {"prompt": "one two"})).json["object"] == "chat.completion"
        a = await g.ask("/chat", {"prompt": "one two", "stream": True, "model": "no-such-model"})
        assert [e["choices"][0]["delta"].get("content") for e in a.events[:2]] == ["one ", "two"]
        assert a.headers["x-switchboard-model"] == "echo"


async def test_completion_and_embeddings(shell: str) -> None:
    async with gateway(shell) as g:
        a = await g.ask("/completion", {"prompt": "Say it", "max_tokens": 5})
        assert (a.json["object"], a.json["choices"][0]["text"]) == ("text_completion", "Say it")
        a = await g.ask(
            "/embeddings", {"input": ["a cat sat", "the cat sits", "stock market"], "model": "text-embedding-3-small"}
        )
        first, second, third = [x["embedding"] for x in a.json["data"]]
        assert _near(first, second) > _near(first, third) + 0.1


def _near(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/chat", {"prompt": "  "}, "prompt"),
        ("/chat", {}, "messages"),
        ("/chat", {"messages": "x"}, "messages"),
        ("/completion", {}, "prompt"),
        ("/completion", {"prompt": ""}, "prompt"),
        ("/images/generate", {"prompt": ""}, "prompt"),
        ("/images/generate", {"prompt": "x", "n": 11}, "n"),
        ("/embeddings", {"input": []}, "input"),
        ("/embeddings", {"input": ["", "x"]}, "input[0]"),
    ],
)
async def test_what_is_wrong_is_told_by_field(shell: str, path: str, body: dict[str, Any], field: str) -> None:
    async with gateway(shell) as g:
        error = (await g.ask(path, body)).json["error"]
        assert error["code"] == "INVALID_REQUEST"
        assert error["details"][0]["field"] == field and error["details"][0]["reason"]


async def test_images_have_addresses(shell: str) -> None:
    from switchboard.net.script import Again, Request, Script, ScriptServer, answer

    png = base64.b64encode(b"\x89PNG\r\n\x1a\n0000").decode()
    script: Script = [Request(), answer(b'{"created":1,"data":[{"b64_json":"%b"}]}' % png.encode()), Again()]
    async with ScriptServer(script) as up:
        rows = {"up": {"type": "openai", "base_url": up.base_url, "api_key": "sk-1"}}
        async with gateway(shell, providers=rows, chat={"provider": "up"}) as g:
            asked = {
                "prompt": "a cat",
                "model": "dall-e-3",
                "style": "vivid",
                "quality": "hd",
                "response_format": "url",
            }
            a = await g.ask("/images/generate", asked)
            assert a.json["data"][0] == {"b64_json": png, "url": f"data:image/png;base64,{png}"}
            assert a.headers["x-switchboard-dropped"] == "style"
            sent = up.connections[0].requests[0]
            assert b'"quality":"high"' in sent and b"response_format" not in sent
            assert b'"model":"gpt-image-2.5-sunburst"' in sent
