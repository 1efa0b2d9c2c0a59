"""The examples of docs/operation.md, section "Realtime" and what follows, as they stand there; and how conversations are closed."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
import websockets
import yaml

from support.gateway import until
from support.process import ROOT
from support.talkers import Cut, before_realtime, talking

pytestmark = pytest.mark.anyio

PAGE = (ROOT / "docs" / "operation.md").read_text()
SECTION = PAGE[PAGE.index("## Realtime\n") :]
KEY = "the-access-key-of-the-test-0123456789"
TEXT = {"type": "realtime", "output_modalities": ["text"]}


def block(language: str) -> str:
    """The first code of the section in a language."""
    found = re.search(rf"```{language}\n(.*?)```", SECTION, re.S)
    assert found is not None
    return found[1]


async def test_the_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = block("python")
    name = code.split()[1]
    (tmp_path / name).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    settings: dict[str, Any] = yaml.safe_load(block("yaml"))
    async with before_realtime(**settings) as (g, server), talking(g) as client:
        await client.say("session.update", session=TEXT)
        await client.hear("session.updated")
        (tool,) = server.heard[0]["session"]["tools"]
        assert (tool["name"], tool["description"]) == (
            "order_status",
            "Where an order is. Ask for its number first.",
        )
        assert tool["parameters"]["required"] == ["order"]
        await client.text('use order_status {"order": 17}')
        await client.answer()
        said = await client.answer()
        assert '"order":"17"' in said and '"arrives":"2027-01-31"' in said
        await client.text('use order_status {"order": "many"}')
        await client.answer()
        assert "The argument order is wrong" in await client.answer()
        assert "function_call" not in json.dumps(client.heard)


async def test_the_client_secret(tmp_path: Path) -> None:
    line = block("sh")
    words = shlex.split(line[: line.index("\n#")].replace("\\\n", " ").replace("$KEY", KEY))
    path = next(w for w in words if w.startswith("http://")).removeprefix("http://127.0.0.1:8000")
    body = json.loads(words[words.index("-d") + 1])
    async with before_realtime(data=tmp_path, auth={"access_key": [KEY]}) as (g, server):
        made = json.loads((await g.ask(path, body, {"authorization": f"Bearer {KEY}"})).body)
        assert made["value"].startswith("ek_") and 55 < made["expires_at"] - time.time() <= 61
        for _ in range(2):  # it is good for any number of conversations
            head = {"authorization": f"Bearer {made['value']}"}
            async with talking(g, "/v1/realtime", additional_headers=head) as client:
                updated = await client.hear("session.updated")
                assert updated["session"]["audio"]["output"]["voice"] == "cedar"
        assert server.heads[-1].path.endswith("?model=gpt-realtime-2.1")


async def closed(**settings: Any) -> tuple[int, str, str]:
    """How a conversation in which nobody says anything is closed: the code, and the type and code of the last event."""
    async with before_realtime(realtime=settings) as (g, _), talking(g) as client:
        with pytest.raises(websockets.ConnectionClosed) as e:
            await client.hear("nothing")
        assert e.value.rcvd is not None
        return e.value.rcvd.code, client.heard[-1]["type"], client.heard[-1].get("error", {}).get("code", "")


def told(code: int) -> str:
    """What the page's table says of the closes with a code."""
    return " ".join(re.findall(rf"^\| {code} (.*)$", SECTION, re.M))


async def test_closes_after_a_silence_and_after_the_longest_time() -> None:
    assert await closed(idle_seconds=0.3) == (1000, "error", "request_timeout")
    assert "`idle_seconds` | `error` event, `request_timeout`" in told(1000)
    assert await closed(max_seconds=0.3) == (1008, "error", "request_timeout")
    assert "`max_seconds` are over | `error` event, `request_timeout`" in told(1008)


async def test_closes_where_the_provider_does_not_take_the_session() -> None:
    assert await closed(voice="nobody") == (1011, "error", "provider_rejected")
    assert "`provider_rejected`" in told(1011)


@pytest.mark.parametrize(("theirs", "ours"), [(4001, 4001), (1012, 1013), (1006, 1014)])
async def test_closes_as_the_provider_did(theirs: int, ours: int) -> None:
    async with before_realtime(realtime={"renew": False}) as (g, _), talking(g) as client:
        if theirs == 1006:
            Cut.sockets[0].transport.abort()
        else:
            await Cut.sockets[0].close(theirs, "why")
        with pytest.raises(websockets.ConnectionClosed) as e:
            await client.hear("nothing")
        assert e.value.rcvd is not None and e.value.rcvd.code == ours
        assert ours == 4001 or "provider" in told(ours)


async def test_closes_where_the_server_stops() -> None:
    async with before_realtime() as (g, _), talking(g) as client:
        g.app.registry.stop_all()
        with pytest.raises(websockets.ConnectionClosed) as e:
            await client.hear("nothing")
        assert e.value.rcvd is not None and e.value.rcvd.code == 1012 and "this server stops" in told(1012)


async def test_what_is_logged() -> None:
    async with before_realtime() as (g, _):
        async with talking(g, "/v1/realtime?model=gpt-realtime-2.1&heartbeat=60") as client:
            await client.say("session.update", session=TEXT)
            await client.text("bread")
            await client.answer()
            named = client.ws.response
            assert named is not None
            request_id = named.headers["x-request-id"]
        await until(lambda: len(g.records) == 2)
        lines = [json.loads(x) for x in (await g.log()).splitlines() if request_id in x]
        assert [(x["status"], x["outcome"], x["path"]) for x in lines] == [
            (200, "complete", "/v1/realtime"),
            (101, "complete", "/v1/realtime"),
        ]
        assert lines[0]["tokens_out"] and not lines[1].get("tokens_out") and "heartbeat" not in json.dumps(lines)
        text = (await g.ask("/metrics")).text
        known = set(re.findall(r"^switchboard_realtime(_\w+?)(?:_bucket|_count|_sum)?(?:\{.*)? ", text, re.M))
        paragraph = re.search(r"\*\*Metrics\*\*: `switchboard_realtime_open`.*?\n\n", SECTION, re.S)
        assert paragraph is not None
        named_there = set(re.findall(r"`(?:switchboard_realtime)?(_\w+)`", paragraph[0]))
        assert known <= named_there and named_there - known <= {"_untranslated_total"}
