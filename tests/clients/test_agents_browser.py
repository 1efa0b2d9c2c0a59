"""npm's ``@openai/agents-realtime`` in Chromium, as its package bundles it for pages: it converses over a WebSocket, where its key, a
secret that the server gave it, and its version are subprotocols."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page

from clients.conftest import HERE, OPENAI_KEY, TALKATIVE, Line, before, posted, serving
from clients.pages import Found, pages
from support.browser import chromium, errors_of
from support.process import NODE_MODULES

pytestmark = pytest.mark.xdist_group("clients-node")

BUNDLE = NODE_MODULES / "@openai" / "agents-realtime" / "dist" / "bundle"
TALK = """async (how) => {
  const sdk = await import("/bundle/openai-realtime-agents.mjs");
  const { talk } = await import("/talk.mjs");
  return talk(sdk, how);
}"""


def _find(path: str) -> Found:
    if path == "/":
        return "text/html", b"<!doctype html><title>Agent</title><link rel=icon href=data:,>"
    if path == "/talk.mjs":
        return "text/javascript", (HERE / "talk.mjs").read_bytes()
    file = BUNDLE / path.removeprefix("/bundle/")
    return ("text/javascript", file.read_bytes()) if file.parent == BUNDLE and file.is_file() else None


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Where the page is served."""
    with pages(_find) as origin:
        yield origin


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, origin: str) -> Iterator[Page]:
    page = browser.new_page()
    page.goto(origin)
    yield page
    page.close()


@pytest.fixture(scope="module", params=["ga", "beta"])
def relay(request: pytest.FixtureRequest, origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A server that the page may ask, before a service of either shape."""
    line: Line = request.getfixturevalue(f"line_to_{request.param}")
    allowed = {"SWITCHBOARD_CORS__ORIGINS": origin}
    with serving(before(line.own, line.kind) | allowed, tmp_path_factory.mktemp("relay")) as address:
        yield line._replace(address=address)


@pytest.fixture(scope="module")
def relay_to_aimock(mock: str, origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """The same before ``@copilotkit/aimock``, which has no sound."""
    environment = TALKATIVE | {"OPENAI_API_KEY": OPENAI_KEY, "OPENAI_BASE_URL": f"{mock}/v1"}
    folder = tmp_path_factory.mktemp("relay")
    with serving(environment | {"SWITCHBOARD_CORS__ORIGINS": origin}, folder) as address:
        yield Line("aimock", address, "", folder, "gpt-realtime-2.1", None)


def talked(page: Page, relay: Line, *turns: str | int, **config: Any) -> dict[str, Any]:
    """What came of a conversation."""
    url = relay.address.replace("http", "ws") + f"/v1/realtime?model={relay.model}"
    secret = posted(f"{relay.address}/v1/realtime/client_secrets", {"session": {"type": "realtime"}})["value"]
    how = {"url": url, "apiKey": secret, "model": relay.model, "turns": list(turns), "config": config}
    found: dict[str, Any] = page.evaluate(TALK, how)
    return found


def test_texts_a_tool_and_sound(page: Page, relay: Line) -> None:
    errors = errors_of(page)
    seen = talked(page, relay, "hello", 'use get_weather {"city":"Oslo"}', 440)
    said = [i["text"] for i in seen["history"] if i["role"] == "assistant"]
    question = 'use get_weather {"city":"Oslo"}'
    heard = f"You said: a tone of 440 Hz. Before: hello; {question}."
    assert said == ["You said: hello.", "The tool said: 7 degrees.", heard]
    assert [i["text"] for i in seen["history"] if i["role"] == "user"] == ["hello", question, "a tone of 440 Hz"]
    assert (seen["tools"], seen["errors"], errors) == (["Oslo"], [], [])
    assert seen["audio"] == 4800 * len(" ".join(said).split())  # 100 ms a word


def test_texts_and_a_tool_before_a_service_of_others(page: Page, relay_to_aimock: Line) -> None:
    errors = errors_of(page)
    seen = talked(page, relay_to_aimock, "hello", "weather", outputModalities=["text"])
    said = [i["text"] for i in seen["history"] if i["role"] == "assistant" and i["status"] == "completed"]
    assert said == ["Hello! How can I help you today?", "It is 7 degrees in Oslo."]
    assert (seen["tools"], seen["errors"], errors) == (["Oslo"], [], [])


def test_a_page_of_another_origin_may_not(browser: Browser, origin: str, relay: Line) -> None:
    page = browser.new_page()
    page.goto(origin.replace("localhost", "127.0.0.1"))
    heads = len(relay.own.heads)
    with pytest.raises(Error):
        talked(page, relay, "hello")
    assert len(relay.own.heads) == heads
    page.close()
