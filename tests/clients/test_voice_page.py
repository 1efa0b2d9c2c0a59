"""A page in Chromium as document B has its clients: a plain ``WebSocket``, a microphone, the beta's events; over a service that speaks
GA, and one that speaks the beta."""

from __future__ import annotations

import base64
import json
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit

import jwt
import pytest
from playwright.sync_api import Browser, expect
from websockets import InvalidStatus, Origin
from websockets.sync.client import connect

from clients.conftest import HERE, Line, before, posted, serving
from clients.pages import Found, pages
from support.beta_server import Beta
from support.browser import chromium, errors_of
from support.realtime_sound import RATE, described, silence, tone

pytestmark = pytest.mark.xdist_group("clients-node")

ISSUER, SECRET = "https://issuer.example/", "a-shared-secret-of-thirty-two-bytes"


def _find(path: str) -> Found:
    return ("text/html", (HERE / "voice.html").read_bytes()) if urlsplit(path).path == "/" else None


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Where the page is served."""
    with pages(_find) as origin:
        yield origin


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """With a microphone that hears a tone for a second, once, and nobody asked about it."""
    microphone: Path = tmp_path_factory.mktemp("microphone") / "tone.wav"
    with wave.open(str(microphone), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(silence(300) + tone(440, 1000) + silence(3000))
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with chromium(*flags, f"--use-file-for-fake-audio-capture={microphone}%noloop") as browser:
        yield browser


@pytest.fixture(scope="module", params=["ga", "beta"])
def line(request: pytest.FixtureRequest) -> Line:
    """A service of either shape."""
    found: Line = request.getfixturevalue(f"line_to_{request.param}")
    return found


@pytest.fixture(scope="module")
def relay(line: Line, origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A server before it that the page may ask."""
    allowed = {"SWITCHBOARD_CORS__ORIGINS": origin}
    with serving(before(line.own, line.kind) | allowed, tmp_path_factory.mktemp("voice")) as address:
        yield line._replace(address=address)


@pytest.fixture(scope="module")
def members(line: Line, origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """One that wants to know who asks."""
    issuer = {"issuer": ISSUER, "audience": "app", "secret": SECRET}
    settings = {"SWITCHBOARD_CORS__ORIGINS": origin, "SWITCHBOARD_AUTH__JWT": json.dumps([issuer])}
    with serving(before(line.own, line.kind) | settings, tmp_path_factory.mktemp("members")) as address:
        yield line._replace(address=address)


def talked(browser: Browser, origin: str, **asked: str) -> dict[str, Any]:
    """What the page saw of a conversation, which it has come to the end of without an error."""
    page = browser.new_page()
    errors = errors_of(page)
    page.goto(f"{origin}/?{urlencode(asked)}")
    page.get_by_role("button").click()
    expect(page).to_have_title("Over", timeout=15_000)
    seen: dict[str, Any] = page.evaluate("seen")
    page.close()
    assert (errors, seen["errors"]) == ([], [])
    return seen


def check(seen: dict[str, Any], line: Line) -> None:
    """It was heard and answered, in the beta's words."""
    assert (seen["heard"], seen["said"], seen["status"]) == (
        "a tone of 440 Hz",
        "You said: a tone of 440 Hz.",
        "completed",
    )
    assert described(b"".join(map(base64.b64decode, seen["sound"]))) == "a tone of 220 Hz"
    assert set(seen["kinds"]) <= Beta.SERVER.keys(), seen["kinds"]
    assert seen["session"]["input_audio_format"] == "pcm16" and seen["session"]["voice"] == "alloy"
    assert seen["session"]["instructions"].startswith("You are a helpful AI coach.")
    assert seen["sent"] >= 48 * 1200 and seen["binary"] == 0
    assert seen["closed"][0] == 1000
    sound = [base64.b64decode(e["audio"]) for e in line.own.heard if e["type"] == "input_audio_buffer.append"]
    assert 4800 in map(len, sound)  # what the page sends as one message comes as one event


def test_it_is_heard_and_answered(browser: Browser, origin: str, relay: Line) -> None:
    url = relay.address.replace("http", "ws") + f"/api/realtime?model={relay.model}"
    check(talked(browser, origin, url=url), relay)


def test_a_user_connects_first(browser: Browser, origin: str, members: Line) -> None:
    """As document B has it, of a user who shows a token: the page opens the ``wsUrl`` that it is given as it stands, which is good for once; then
    the session is ended."""
    at = time.time()
    claims = {"iss": ISSUER, "aud": "app", "sub": "test-user", "iat": at, "exp": at + 600}
    token = jwt.encode(claims, SECRET, "HS256")
    seen = talked(browser, origin, connect=f"{members.address}/api/voice/connect", session="s-1", token=token)
    check(seen, members)
    assert seen["connected"].keys() == {"wsUrl", "sessionId", "expiresAt"}
    assert seen["connected"]["sessionId"] == "s-1"
    with pytest.raises(InvalidStatus, match="401"), connect(seen["connected"]["wsUrl"], origin=Origin(origin)):
        pass
    with pytest.raises(HTTPError, match="401"):
        posted(f"{members.address}/api/voice/sessions/s-1/end")
    ended = posted(f"{members.address}/api/voice/sessions/s-1/end", authorization=f"Bearer {token}")
    assert ended == {"success": True}


def test_a_page_of_another_origin_may_not(browser: Browser, origin: str, relay: Line) -> None:
    page = browser.new_page()
    heads = len(relay.own.heads)
    url = relay.address.replace("http", "ws") + "/api/realtime"
    page.goto(f"{origin.replace('localhost', '127.0.0.1')}/?url={quote(url, safe='')}")
    page.get_by_role("button").click()
    expect(page).to_have_title("Over", timeout=10_000)
    seen = page.evaluate("seen")
    assert (seen["closed"][0], seen["kinds"], len(relay.own.heads)) == (1006, [], heads)
    page.close()
