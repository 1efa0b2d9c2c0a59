"""npm's ``deep-chat`` in Chromium, with nothing but ``connect.url`` (and ``stream``)."""

from __future__ import annotations

import html
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Response, expect, sync_playwright

from clients.conftest import ANTHROPIC_KEY, OPENAI_KEY, Upstream, serving
from support.process import NODE_MODULES

pytestmark = pytest.mark.xdist_group("clients-browser")

BUNDLE = NODE_MODULES / "deep-chat" / "dist" / "deepChat.bundle.js"
HELLO = "Hello! How can I help you today?"


class _Pages(BaseHTTPRequestHandler):
    """A page with the component, its attributes as the query names them; and the component."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/deepChat.bundle.js":
            self._answer("text/javascript", BUNDLE.read_bytes())
            return
        attributes = " ".join(f"{k}='{html.escape(v[0])}'" for k, v in parse_qs(url.query).items())
        script = '<script type="module" src="/deepChat.bundle.js"></script>'
        page = f"<!doctype html><title>Chat</title>{script}<deep-chat {attributes}></deep-chat>"
        self._answer("text/html", page.encode())

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is written."""


@pytest.fixture(scope="module")
def pages() -> Iterator[int]:
    """The port that the pages are served on."""
    pages = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    yield pages.server_address[1]
    pages.shutdown()
    pages.server_close()


@pytest.fixture(scope="module", params=["openai", "anthropic"])
def over(
    request: pytest.FixtureRequest, mock: str, pages: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upstream]:
    """A server over either upstream that allows the pages of ``localhost``."""
    environment = {"SWITCHBOARD_CORS__ORIGINS": f"http://localhost:{pages}"}
    if request.param == "openai":
        environment |= {"OPENAI_API_KEY": OPENAI_KEY, "OPENAI_BASE_URL": f"{mock}/v1"}
    else:
        environment |= {"ANTHROPIC_API_KEY": ANTHROPIC_KEY, "ANTHROPIC_BASE_URL": mock}
    with serving(environment, tmp_path_factory.mktemp("page")) as address:
        yield Upstream(request.param, address, "")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    found = shutil.which("chromium")
    assert found is not None, "chromium is missing: tools/apt-install chromium"
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(10_000)
    page = context.new_page()
    yield page
    context.close()


def visit(page: Page, origin: str, over: Upstream, *, stream: bool, **attributes: Any) -> list[Response]:
    """Open a page with the component; gives a list that the server's answers to it come into."""
    connect: dict[str, Any] = {"url": f"{over.address}/api/chat"}
    if stream:
        connect["stream"] = True
    wanted = {"connect": connect} | attributes
    answers: list[Response] = []
    page.on("response", lambda r: answers.append(r) if r.url == connect["url"] else None)
    page.goto(f"{origin}/?" + "&".join(f"{k}={quote(json.dumps(v))}" for k, v in wanted.items()))
    return answers


def say(page: Page, text: str) -> None:
    page.locator("#text-input").fill(text)
    page.locator("#text-input").press("Enter")


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation(page: Page, pages: int, over: Upstream, stream: bool) -> None:
    answers = visit(page, f"http://localhost:{pages}", over, stream=stream)
    say(page, "hello")
    said = page.locator(".ai-message-text")
    expect(said).to_have_text([HELLO])
    assert [a.status for a in answers if a.request.method == "POST"] == [200]
    kind = answers[-1].headers["content-type"]
    assert kind == ("text/event-stream" if stream else "application/json")
    say(page, "think")
    expect(said).to_have_text([HELLO, "Forty-two."])
    expect(page.locator(".user-message-text")).to_have_text(["hello", "think"])
    expect(page.locator(".error-message-text")).to_have_count(0)


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_is_shown(page: Page, pages: int, over: Upstream, stream: bool) -> None:
    shown = {"errorMessages": {"displayServiceErrorMessages": True}}
    visit(page, f"http://localhost:{pages}", over, stream=stream, **shown)
    say(page, "limited")
    title = {"openai": "OpenAI", "anthropic": "Anthropic"}[over.kind]
    expect(page.locator(".error-message-text")).to_have_text([f"{title} is limiting requests; try again later."])


def test_a_cut_stream_is_shown_as_an_error(page: Page, pages: int, over: Upstream) -> None:
    shown = {"errorMessages": {"displayServiceErrorMessages": True}}
    visit(page, f"http://localhost:{pages}", over, stream=True, **shown)
    say(page, "cut")
    expect(page.locator(".error-message-text")).to_contain_text(["answer was cut off."])
    assert page.locator(".ai-message-text").first.inner_text().startswith("Th")


def test_a_page_that_is_not_allowed(page: Page, pages: int, over: Upstream) -> None:
    answers = visit(page, f"http://127.0.0.1:{pages}", over, stream=False)
    say(page, "hello")
    expect(page.locator(".error-message-text")).to_have_text(["Error, please try again."])
    expect(page.get_by_text(HELLO)).to_have_count(0)
    assert [a for a in answers if a.request.method == "POST"] == []  # the preflight's answer kept the browser from it
