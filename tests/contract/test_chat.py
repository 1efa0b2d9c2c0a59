"""Every way of asking for a chat over every provider: the same conversations, the same answers, the same errors. A new
provider is a row of `contract.providers`, a new format a row of `contract.formats`."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from contract.formats import FORMATS, Format
from contract.providers import PROVIDERS, Upstream, serving
from contract.wires import CALLS, PNG
from support.client import Answer
from support.gateway import Gateway

pytestmark = pytest.mark.anyio

STREAMED = (True, False)
PAIRS = pytest.mark.parametrize(("name", "provider"), list(product(FORMATS, PROVIDERS)))


def with_(*members: str) -> pytest.MarkDecorator:
    """Pairs of a provider and a format that has `members`."""
    formats = [n for n, f in FORMATS.items() if all(getattr(f, m) is not None for m in members)]
    return pytest.mark.parametrize(("name", "provider"), list(product(formats, PROVIDERS)))


async def ask(
    f: Format, up: Upstream, g: Gateway, scene: str, streamed: bool, text: str = "Hello there", **more: Any
) -> Answer:
    """Have the provider play `scene`, and ask for it with `text` (`more` are further members of the body)."""
    body = f.body(text) | up.set(scene, streamed) | {"stream": streamed} | more
    return await g.ask(f.path, body)


@PAIRS
async def test_text(shell: str, name: str, provider: str) -> None:
    f = FORMATS[name]
    async with serving(provider, shell) as (up, g):
        for n, streamed in enumerate(STREAMED, 1):
            a = await ask(f, up, g, "text", streamed)
            assert (a.status, a.whole) == (200, True), a.text
            assert f.text(a, streamed) == "Hello there"
            heard = up.heard()
            if heard is not None:
                assert (heard.model, heard.text, heard.streamed) == ("m1", "Hello there", streamed)
            r = await g.record(n)
            assert (r.outcome, r.status, r.streamed) == ("complete", 200, streamed)
            assert (r.tokens_in, r.tokens_out, r.tokens_estimated) == (3 if heard else 2, 2, False)


@with_("tools")
async def test_several_tools_at_once(name: str, provider: str) -> None:
    f = FORMATS[name]
    assert f.calls is not None
    async with serving(provider) as (up, g):
        for streamed in STREAMED:
            a = await ask(f, up, g, "tools", streamed, '{"at": 1}', tools=f.tools)
            assert (a.status, a.whole) == (200, True), a.text
            heard = up.heard()
            if heard is None:  # it calls all that there are, with what was said
                assert f.calls(a, streamed) == [("look", {"at": 1}), ("find", {"at": 1})]
            else:
                assert heard.tools == ["look", "find"]
                assert f.calls(a, streamed) == [(tool, arguments) for _, tool, arguments in CALLS]
            if f.stop is not None:
                assert f.stop(a, streamed) == "tool_calls"


@with_("image")
async def test_images_are_sent_on(name: str, provider: str) -> None:
    f = FORMATS[name]
    assert f.image is not None
    async with serving(provider) as (up, g):
        for streamed in STREAMED:
            body = f.image("Hello there") | up.set("text", streamed) | {"stream": streamed}
            a = await g.ask(f.path, body)
            assert (a.status, f.text(a, streamed)) == (200, "Hello there"), a.text
            assert "x-switchboard-dropped" not in a.headers
            heard = up.heard()
            if heard is not None:
                assert (heard.text, heard.images) == ("Hello there", [f"data:image/png;base64,{PNG}"])


@PAIRS
async def test_why_it_ended_and_what_it_cost(name: str, provider: str) -> None:
    f = FORMATS[name]
    reasons = {"text": "stop", "length": "length", "filter": "content_filter"}
    async with serving(provider) as (up, g):
        for streamed, scene in product(STREAMED, [s for s in reasons if up.plays(s)]):
            a = await ask(f, up, g, scene, streamed)
            assert (a.status, a.whole, f.text(a, streamed)) == (200, True, "Hello there"), scene
            if f.stop is not None:
                assert f.stop(a, streamed) == reasons[scene], scene
            if f.usage is not None:
                assert f.usage(a, streamed) == (2 if up.heard() is None else 3, 2), scene


# ---- failures


REFUSALS = {
    "401": (502, "did not accept this server's credentials."),
    "429": (429, "is limiting requests; try again later."),
    "500": (503, "is unavailable; try again later."),
    "529": (503, "is unavailable; try again later."),
    "first_event": (503, "is unavailable; try again later."),
}
#: How the same failures look on ``/v1/messages``.
TYPES = {429: "rate_limit_error", 502: "api_error", 503: "overloaded_error"}


def told(text: str, whole: str) -> bool:
    return text == f"Offline {whole}" or text == f"Offline's {whole}"


@PAIRS
async def test_a_failure_before_anything_was_said_has_a_status(name: str, provider: str) -> None:
    f = FORMATS[name]
    async with serving(provider) as (up, g):
        for n, (streamed, scene) in enumerate(product(STREAMED, REFUSALS), 1):
            a = await ask(f, up, g, scene, streamed)
            status, message = REFUSALS[scene]
            assert (a.status, a.whole) == (status, True), (scene, streamed, a.text)
            assert told(f.problem(a), message), (scene, streamed, a.text)
            assert "secret" not in a.text
            assert a.headers["content-type"] == "application/json"
            assert a.headers.get("retry-after") == {429: "7", 503: "5"}.get(status), scene
            if name == "anthropic":
                assert (a.json["type"], a.json["error"]["type"]) == ("error", TYPES[status])
            assert up.provider.wire is None or up.calls == 1
            assert (await g.record(n)).outcome == "upstream_error"


@PAIRS
async def test_an_answer_that_is_none(name: str, provider: str) -> None:
    """Asked for whole, and cut off or not of this wire."""
    f = FORMATS[name]
    async with serving(provider) as (up, g):
        for scene, message in (("garbage", "answer could not be understood."), ("cut", "answer was cut off.")):
            if up.plays(scene):
                a = await ask(f, up, g, scene, False)
                assert (a.status, a.whole) == (502, True), (scene, a.text)
                assert told(f.problem(a), message), a.text


BREAKS = {
    "midstream": "is unavailable; try again later.",
    "cut": "answer was cut off.",
    "garbled": "answer could not be understood.",
}


@PAIRS
async def test_a_failure_in_the_middle(name: str, provider: str) -> None:
    """What was said stands, an error event follows it where the format has one, and the cut is to be seen."""
    f = FORMATS[name]
    async with serving(provider) as (up, g):
        for n, scene in enumerate(BREAKS, 1):
            a = await ask(f, up, g, scene, True)
            assert (a.status, a.whole) == (200, False), scene
            said = f.text(a, True)
            assert said == ("one two three " if provider == "offline" else "Hello "), scene
            assert "secret" not in a.text
            if f.broken is not None:
                assert told(f.broken(a), BREAKS[scene]), (scene, a.text)
            assert (await g.record(n)).outcome == "upstream_cut"
