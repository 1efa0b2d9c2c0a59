"""``POST /v1/realtime/client_secrets``, also by the official SDK."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI

from support.callers import api_key, bearer
from support.client import Answer
from support.gateway import Gateway, gateway
from switchboard.core.errors import Problem
from switchboard.surface import realtime_secrets

pytestmark = pytest.mark.anyio

KEY: dict[str, Any] = {"auth": {"access_key": "key-number-one-1"}}
ONE = {"authorization": "Bearer key-number-one-1"}
PATH = "/v1/realtime/client_secrets"


def error(a: Answer) -> tuple[int, str, str | None]:
    """Status, code and param of an error, which has OpenAI's shape."""
    assert set(a.json["error"]) == {"message", "type", "param", "code"}
    return a.status, a.json["error"]["code"], a.json["error"]["param"]


async def redeem(g: Gateway, value: str, profile: str = "default") -> Any:
    return await g.kept.voice.redeem(value.encode(), profile)


async def test_by_the_official_sdk(tmp_path: Path) -> None:
    async with gateway(data=tmp_path, **KEY) as g:
        base = f"http://127.0.0.1:{g.port}/v1"
        async with AsyncOpenAI(base_url=base, api_key="key-number-one-1", max_retries=0) as client:
            made = await client.realtime.client_secrets.create(
                expires_after={"anchor": "created_at", "seconds": 60},
                session={"type": "realtime", "model": "gpt-realtime", "audio": {"output": {"voice": "marin"}}},
            )
            assert abs(made.expires_at - time.time() - 60) < 5
            assert made.session.type == "realtime" and made.session.object == "realtime.session"
            assert made.session.id.startswith("sess_") and made.session.model == "gpt-realtime"
            assert made.session.audio is not None and made.session.audio.output is not None
            assert made.session.audio.output.voice == "marin"
            for _ in range(2):
                ticket = await redeem(g, made.value)
                assert ticket.caller.kind == "access_key" and ticket.session is None
                assert ticket.fields == {
                    "type": "realtime",
                    "model": "gpt-realtime",
                    "audio": {"output": {"voice": "marin"}},
                }
            plain = await client.realtime.client_secrets.create()
            assert abs(plain.expires_at - time.time() - 600) < 5
            assert plain.session.type == "realtime" and plain.session.model
            scribe = await client.realtime.client_secrets.create(session={"type": "transcription"})
            assert scribe.session.type == "transcription"
            with pytest.raises(openai.BadRequestError) as e:
                await client.realtime.client_secrets.create(expires_after={"seconds": 9})
            assert e.value.param == "expires_after.seconds"
        async with AsyncOpenAI(base_url=base, api_key=made.value, max_retries=0) as client:
            with pytest.raises(openai.APIStatusError) as refused:
                await client.realtime.client_secrets.create()
            assert refused.value.status_code in (401, 403)


async def test_a_secret_gives_no_other_one(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path) as g:  # where nobody is asked
        value = (await g.ask(PATH, {})).json["value"]
        for headers in (bearer(value), {"x-api-key": value}):
            assert error(await g.ask(PATH, {}, headers))[:2] == (403, "forbidden")


async def test_a_profile_is_told_by_its_secrets(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, **KEY, profiles={"my_shop": {}}) as g:
        value = (await g.ask(f"/p/my_shop{PATH}", {}, ONE)).json["value"]
        assert value.startswith("ek_my_shop_")
        assert await redeem(g, value) is None
        assert await redeem(g, value, "my_shop") is not None


async def test_who_may(shell: str, tmp_path: Path) -> None:
    async with gateway(shell, data=tmp_path, auth={"api_keys": True}) as g:
        assert error(await g.ask(PATH, {}))[:2] == (401, "unauthorized")
        text = bearer((await api_key(g, "text", surfaces=["openai_v1"])).text)
        assert error(await g.ask(PATH, {}, text))[:2] == (403, "forbidden")
        few = bearer((await api_key(g, "few", requests_per_minute=2, models=["gpt-realtime"])).text)
        named = {"session": {"type": "realtime", "model": "gpt-realtime"}}
        good = await g.ask(PATH, named, few)
        assert good.status == 200 and good.headers["x-ratelimit-remaining-requests"] == "1"
        other = {"session": {"type": "realtime", "model": "gpt-realtime-mini"}}
        assert error(await g.ask(PATH, other, few))[:2] == (403, "forbidden")
        often = await g.ask(PATH, named, few)
        assert error(often)[:2] == (429, "rate_limited") and "retry-after" in often.headers


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", (400, "invalid_json", None)),
        (b"[]", (400, "invalid_request", None)),
        (b"[" * 5000, (400, "nesting_too_deep", None)),
        (b'{"session": {"a": ' + b"[" * 70 + b"]" * 70 + b"}}", (400, "nesting_too_deep", None)),
        ({"expires_after": {"seconds": 9}}, (400, "invalid_request", "expires_after.seconds")),
        ({"expires_after": {"seconds": 7201}}, (400, "invalid_request", "expires_after.seconds")),
        ({"expires_after": {"seconds": "60"}}, (400, "invalid_request", "expires_after.seconds")),
        ({"expires_after": {"anchor": "now", "seconds": 60}}, (400, "invalid_request", "expires_after.anchor")),
        ({"session": "realtime"}, (400, "invalid_request", "session")),
        ({"session": {"type": "other"}}, (400, "invalid_request", "session.type")),
        ({"session": {"type": ["realtime"]}}, (400, "invalid_request", "session.type")),
        ({"session": {"model": "a b"}}, (400, "invalid_model", "session.model")),
        ({"session": {"model": None}}, (400, "invalid_model", "session.model")),
        ({"session": {"instructions": "x" * 65_536}}, (413, "payload_too_large", None)),
    ],
)
async def test_what_cannot_be(body: Any, told: tuple[int, str, str | None], tmp_path: Path) -> None:
    async with gateway(data=tmp_path, **KEY) as g:
        assert error(await g.ask(PATH, body, ONE)) == told


async def test_another_type_of_body(tmp_path: Path) -> None:
    async with gateway(data=tmp_path, **KEY) as g:
        a = await g.ask(PATH, b"session=realtime", ONE | {"content-type": "application/x-www-form-urlencoded"})
        assert error(a)[:2] == (415, "unsupported_media_type")


async def test_nothing_and_null_are_the_defaults(tmp_path: Path) -> None:
    async with gateway(data=tmp_path, **KEY) as g:
        every: list[Any] = [b"", {"session": None, "expires_after": None}, {"expires_after": {}}]
        for body in every:
            a = await g.ask(PATH, body, ONE)
            assert a.status == 200 and abs(a.json["expires_at"] - time.time() - 600) < 5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
bodies = st.one_of(
    st.binary(),
    st.dictionaries(st.sampled_from(["session", "expires_after", "x"]), json_values).map(
        lambda v: json.dumps(v).encode()
    ),
)


@settings(max_examples=300, deadline=None)
@given(body=bodies)
def test_any_body_is_read_or_refused(body: bytes) -> None:
    try:
        _, seconds = realtime_secrets._read(body)
    except Problem as p:
        status, seconds = p.status, 10
    else:
        status = 400
    assert status in (400, 413) and 10 <= seconds <= 7200
