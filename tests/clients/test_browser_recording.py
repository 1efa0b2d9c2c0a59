"""A page in Chromium that records its microphone (`MediaRecorder`, WebM with Opus) and sends what it has to ``/api/transcribe``."""

from __future__ import annotations

import json
import threading
import wave
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from bench.voice import words
from playwright.sync_api import Browser, Page

from clients.conftest import serving
from support.browser import chromium, errors_of

pytestmark = pytest.mark.xdist_group("clients-browser")

SENTENCE = "The children are playing in the garden behind the house."
SECONDS = 4.2

PAGE = """<!doctype html><title>Recorder</title><script>
async function record(seconds) {
  const stream = await navigator.mediaDevices.getUserMedia({audio: true});
  const recorder = new MediaRecorder(stream, {mimeType: "audio/webm;codecs=opus"});
  const pieces = [];
  recorder.ondataavailable = (e) => pieces.push(e.data);
  const stopped = new Promise((resolve) => { recorder.onstop = resolve; });
  recorder.start(250);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  recorder.stop();
  await stopped;
  for (const track of stream.getTracks()) track.stop();
  window.recording = new Blob(pieces, {type: recorder.mimeType});
  return [window.recording.type, window.recording.size];
}
async function send(url, how) {
  let body = window.recording;
  if (how === "form") {
    body = new FormData();
    body.append("file", window.recording, "recording.webm");
    body.append("language", "en");
  }
  const answer = await fetch(url, {method: "POST", body});
  return [answer.status, await answer.json()];
}
</script>"""


class _Pages(BaseHTTPRequestHandler):
    """The page that records."""

    def do_GET(self) -> None:
        body = PAGE.encode()
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is written."""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Where the page is served."""
    pages = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    yield f"http://localhost:{pages.server_address[1]}"
    pages.shutdown()
    pages.server_close()


@pytest.fixture(scope="module")
def listener(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that the page may ask."""
    with serving({"SWITCHBOARD_CORS__ORIGINS": origin}, tmp_path_factory.mktemp("listener")) as address:
        yield address


@pytest.fixture(scope="module")
def microphone(listener: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is said into the microphone: `SENTENCE`, a quarter of a second of silence before it and a second behind."""
    body = json.dumps({"text": SENTENCE, "format": "pcm"}).encode()
    with urlopen(Request(f"{listener}/api/tts", body, {"content-type": "application/json"}), timeout=20) as answer:
        sound = answer.read()
    path = tmp_path_factory.mktemp("microphone") / "said.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(bytes(12_000) + sound + bytes(48_000))
    return path


@pytest.fixture(scope="module")
def browser(microphone: Path) -> Iterator[Browser]:
    """With that microphone, which nobody is asked about."""
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with chromium(*flags, f"--use-file-for-fake-audio-capture={microphone}") as browser:
        yield browser


@pytest.fixture(scope="module")
def recorded(browser: Browser, origin: str) -> Iterator[Page]:
    """The page, once it has recorded."""
    page = browser.new_page()
    page.goto(origin)
    kind, size = page.evaluate(f"record({SECONDS})")
    assert kind.replace(" ", "") == "audio/webm;codecs=opus"
    assert size > 10_000
    yield page
    page.close()


@pytest.mark.parametrize("how", ["form", "bare"])
def test_a_recording_is_written_down(recorded: Page, listener: str, how: str) -> None:
    errors = errors_of(recorded)
    status, answer = recorded.evaluate(f"send('{listener}/api/transcribe', '{how}')")
    assert (status, answer["language"]) == (200, "english"), answer
    assert answer["duration"] == pytest.approx(SECONDS, abs=0.5)
    said = set(words(SENTENCE))
    assert len(said & set(words(answer["text"]))) >= len(said) / 2, answer["text"]
    assert errors == []


def test_a_page_of_another_origin_may_not(browser: Browser, origin: str, listener: str) -> None:
    page = browser.new_page()
    page.goto(origin.replace("localhost", "127.0.0.1"))
    told = page.evaluate(
        "(url) => { window.recording = new Blob(['x'], {type: 'audio/webm'}); return send(url, 'bare').catch((e) => e.name); }",
        f"{listener}/api/transcribe",
    )
    assert told == "TypeError"
    page.close()
