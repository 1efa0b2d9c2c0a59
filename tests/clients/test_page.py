"""The first page in Chromium: log in, chat, stop, draw; what happens when the session is over."""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, Route, expect

from clients.conftest import ACCESS_KEY, serving
from support.browser import chromium, errors_of

pytestmark = pytest.mark.xdist_group("clients-browser")

#: Slow enough that an answer can be watched, and broken off.
PACE = {"SWITCHBOARD_PROVIDERS__OFFLINE__PACE": "0.05"}
SENTENCE = "one two three four five six seven eight nine ten"
#: What Chromium's console says of an answer with status 401.
REFUSED = "Failed to load resource: the server responded with a status of 401 (Unauthorized)"
SESSION = "switchboard.session"
#: A picture of one pixel, and where another server has one.
DOT = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
ELSEWHERE = "https://images.example.com/dot.png"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that wants `ACCESS_KEY`."""
    with serving(PACE | {"ACCESS_KEY": ACCESS_KEY}, tmp_path_factory.mktemp("locked")) as address:
        yield address


@pytest.fixture(scope="module")
def unlocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that lets everybody in."""
    with serving(PACE, tmp_path_factory.mktemp("unlocked")) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a visitor that was never here."""
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    context.set_default_timeout(10_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def shot(page: Page) -> Callable[[str], None]:
    """Takes a picture of the page, for people, where `SWITCHBOARD_SHOTS` names a folder for them."""

    def take(name: str) -> None:
        if folder := os.environ.get("SWITCHBOARD_SHOTS"):
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    return take


def log_in(page: Page, key: str = ACCESS_KEY) -> None:
    page.get_by_label("Access key").fill(key)
    page.get_by_role("button", name="Log in").click()


def say(page: Page, text: str) -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_label("Message").press("Enter")


def is_logged_in(page: Page) -> None:
    expect(page.locator("#app")).to_be_visible()
    expect(page.locator("#login")).to_be_hidden()


def is_logged_out(page: Page) -> None:
    expect(page.locator("#login")).to_be_visible()
    expect(page.locator("#app")).to_be_hidden()
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()
    expect(page.get_by_label("Access key")).to_be_focused()
    assert page.evaluate(f"localStorage.getItem('{SESSION}')") is None


def test_a_wrong_key_and_the_right_one(page: Page, locked: str, shot: Callable[[str], None]) -> None:
    errors = errors_of(page)
    page.goto(locked)
    is_logged_out(page)
    expect(page.locator("#login .error")).to_have_text("")
    shot("login")
    log_in(page, "not-the-access-key")
    expect(page.get_by_role("alert")).to_have_text("The access key is not valid.")
    shot("wrong-key")
    assert errors == [REFUSED] * 2  # the first is how it finds out that it has to log in
    log_in(page)
    is_logged_in(page)
    expect(page.locator("#login .error")).to_have_text("")
    models = page.get_by_label("Model").locator("option").all_inner_texts()
    assert models[0] == "the default"
    assert {"echo", "endless", "hashed-words", "card", "espeak", "pocketsphinx"} <= set(models)
    assert page.get_by_label("Model").input_value() == ""
    shot("logged-in")
    stored = page.evaluate("JSON.stringify(localStorage)")
    assert ACCESS_KEY not in stored and page.get_by_label("Access key").input_value() == ""
    page.reload()
    is_logged_in(page)
    assert errors == [REFUSED] * 2


def test_an_answer_grows(page: Page, locked: str, shot: Callable[[str], None]) -> None:
    page.goto(locked)
    log_in(page)
    errors = errors_of(page)
    asked: list[Any] = []
    page.on("request", lambda r: asked.append(r.post_data_json) if r.url.endswith("/chat") else None)
    page.evaluate("""() => {
      window.seen = [];
      const watch = () => window.seen.push(document.querySelector(".assistant")?.textContent ?? "");
      new MutationObserver(watch).observe(document.getElementById("conversation"), {subtree: true, childList: true, characterData: true});
    }""")
    say(page, SENTENCE)
    answer = page.locator("#conversation .assistant")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    shot("answering")
    expect(answer).to_have_text([SENTENCE])
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    seen: list[str] = page.evaluate("window.seen")
    assert len(set(seen)) >= 8  # two words may come in one piece
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))
    say(page, "<b>Hello</b>\nthere")
    expect(answer).to_have_text([SENTENCE, "<b>Hello</b> there"])
    expect(page.locator("#conversation .user")).to_have_text([SENTENCE, "<b>Hello</b> there"])
    shot("answered")
    said = [(m["role"], m["content"]) for m in asked[1]["messages"]]
    assert said == [("user", SENTENCE), ("assistant", SENTENCE), ("user", "<b>Hello</b>\nthere")]
    assert errors == []


def test_the_newest_text_stays_in_sight(page: Page, unlocked: str) -> None:
    """And with it the field for the next message."""
    page.goto(unlocked)
    page.get_by_label("Model").select_option("echo")
    text = "\n".join(f"line-{n}" for n in range(50))
    say(page, text)
    answer = page.locator("#conversation .assistant")
    expect(answer).to_contain_text("line-49", timeout=15_000)
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.get_by_label("Message")).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)
    bottom = "(box) => box.lastElementChild.getBoundingClientRect().bottom - box.getBoundingClientRect().bottom"
    assert page.locator("#conversation").evaluate(bottom) < 2


def test_stop(page: Page, locked: str, shot: Callable[[str], None]) -> None:
    page.goto(locked)
    log_in(page)
    errors = errors_of(page)
    page.get_by_label("Model").select_option("endless")
    say(page, "go on")
    answer = page.locator("#conversation .assistant")
    expect(answer).to_contain_text("again again again")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    before = answer.inner_text()
    page.wait_for_timeout(300)
    assert answer.inner_text() == before
    expect(page.locator("#chat .error")).to_have_text("")  # it was wanted
    shot("stopped")
    page.get_by_label("Model").select_option("echo")
    say(page, "still there?")
    expect(answer.last).to_have_text("still there?")
    assert errors == []


def test_one_answer_at_a_time(page: Page, locked: str) -> None:
    """Enter sends nothing while an answer comes in, as the button does not."""
    page.goto(locked)
    log_in(page)
    page.get_by_label("Model").select_option("endless")
    say(page, "go on")
    expect(page.locator("#conversation .assistant")).to_contain_text("again again")
    say(page, "and another")
    page.wait_for_timeout(300)
    expect(page.locator("#conversation .user")).to_have_text(["go on"])
    assert page.get_by_label("Message").input_value() == "and another"
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


@pytest.mark.parametrize(
    ("model", "shown", "text"),
    [
        ("error-429", "Offline is limiting requests; try again later.", None),
        ("error-midstream", "unavailable", "one two three "),
        ("cut-midstream", "Offline's answer was cut off.", "one two three "),
    ],
)
def test_an_error_is_shown(
    page: Page, unlocked: str, model: str, shown: str, text: str | None, shot: Callable[[str], None]
) -> None:
    page.goto(unlocked)
    page.get_by_label("Model").select_option(model)
    say(page, "hello")
    expect(page.locator("#chat .error")).to_contain_text(shown)
    expect(page.locator("#conversation .assistant")).to_have_text([text] if text else [])
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    shot(model)


def test_an_image(page: Page, locked: str, shot: Callable[[str], None]) -> None:
    page.goto(locked)
    log_in(page)
    errors = errors_of(page)
    for n, prompt in enumerate(("a red fox", "a blue fox"), 1):
        page.get_by_label("What to draw").fill(prompt)
        page.get_by_role("button", name="Draw").click()
        picture = page.get_by_role("img", name=prompt)
        expect(picture).to_be_visible()
        expect(page.locator("#pictures img")).to_have_count(n)
        page.wait_for_function("[...document.images].every((i) => i.complete)")
        assert picture.evaluate("(i) => [i.naturalWidth, i.naturalHeight]") == [1024, 1024]
    shot("image")
    assert page.locator("#pictures img").first.get_attribute("alt") == "a blue fox"
    assert errors == []


def test_an_image_that_lies_elsewhere(page: Page, unlocked: str) -> None:
    """As of providers that give an address and nothing else."""
    errors = errors_of(page)
    page.goto(unlocked)
    page.route("**/images/generate", lambda r: r.fulfill(json={"created": 1, "data": [{"url": ELSEWHERE}]}))
    page.route(ELSEWHERE, lambda r: r.fulfill(body=b64decode(DOT.partition(",")[2]), content_type="image/png"))
    page.get_by_label("What to draw").fill("a dot")
    page.get_by_role("button", name="Draw").click()
    picture = page.get_by_role("img", name="a dot")
    expect(picture).to_be_attached()
    page.wait_for_function("[...document.images].every((i) => i.complete)")
    assert errors == []
    assert picture.evaluate("(i) => i.naturalWidth") == 1


@pytest.mark.parametrize("act", ["chat", "draw", "reload"])
def test_a_session_that_is_over(page: Page, locked: str, act: str, shot: Callable[[str], None]) -> None:
    page.goto(locked)
    log_in(page)
    say(page, "hello")
    expect(page.locator("#conversation .assistant")).to_have_text("hello")
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Lax" and page.evaluate("document.cookie") == ""
    page.context.clear_cookies()
    page.context.add_cookies([{"name": cookie["name"], "value": cookie["value"][:-4] + "AAAA", "url": locked}])
    errors = errors_of(page)
    if act == "chat":
        say(page, "hello again")
    elif act == "draw":
        page.get_by_label("What to draw").fill("a fox")
        page.get_by_role("button", name="Draw").click()
    else:
        page.reload()
    is_logged_out(page)
    if act != "reload":
        expect(page.get_by_role("alert")).to_have_text("The session is over: log in again.")
    shot(f"refused-{act}")
    assert errors == [REFUSED]
    log_in(page)
    is_logged_in(page)
    expect(page.locator("#conversation > *")).to_have_count(0)
    say(page, "back")
    expect(page.locator("#conversation .assistant")).to_have_text("back")


def test_log_out(page: Page, locked: str) -> None:
    """Nothing of what was said before is left, not even of an answer that came in at that moment."""
    page.goto(locked)
    log_in(page)
    errors = errors_of(page)
    page.get_by_label("Model").select_option("endless")
    say(page, "a secret")
    expect(page.locator("#conversation .assistant")).to_contain_text("again again")
    page.get_by_role("button", name="Log out").click()
    is_logged_out(page)
    log_in(page)
    is_logged_in(page)
    expect(page.locator("#conversation > *")).to_have_count(0)
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    with page.expect_request("**/chat") as asked:
        say(page, "hello")
    assert json.loads(asked.value.post_data or "{}")["messages"] == [{"role": "user", "content": "hello"}]
    expect(page.locator("#conversation .assistant")).to_have_text("hello")
    assert errors == []


def test_a_picture_that_comes_after_logging_out(page: Page, locked: str) -> None:
    """It is nobody's any more."""
    page.goto(locked)
    log_in(page)
    is_logged_in(page)
    late: list[Route] = []
    page.route("**/images/generate", lambda r: late.append(r))
    page.get_by_label("What to draw").fill("a secret")
    page.get_by_role("button", name="Draw").click()
    expect(page.get_by_role("button", name="Draw")).to_be_disabled()
    page.get_by_role("button", name="Log out").click()
    is_logged_out(page)
    log_in(page)
    is_logged_in(page)
    with suppress(Error):  # the page may have given it up
        late[0].fulfill(json={"created": 1, "data": [{"url": DOT}]})
    page.wait_for_timeout(300)
    expect(page.locator("#pictures img")).to_have_count(0)
    page.unroute("**/images/generate")
    expect(page.get_by_role("button", name="Draw")).to_be_enabled()


def test_a_server_that_is_busy_does_not_log_out(page: Page, locked: str) -> None:
    """Only a 401 does."""
    page.goto(locked)
    log_in(page)
    is_logged_in(page)

    def busy(route: Route) -> None:
        body = json.dumps({"error": {"message": "Too many requests.", "code": "RATE_LIMITED"}, "request_id": "r"})
        route.fulfill(status=429, body=body, content_type="application/json")

    page.route("**/models", busy)
    page.reload()
    expect(page.get_by_text("Too many requests.")).to_be_visible()
    page.unroute("**/models")
    page.reload()
    is_logged_in(page)


def test_without_an_access_key_nobody_is_asked(page: Page, unlocked: str, shot: Callable[[str], None]) -> None:
    errors = errors_of(page)
    page.goto(unlocked)
    is_logged_in(page)
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()
    shot("unlocked")
    say(page, "hello")
    expect(page.locator("#conversation .assistant")).to_have_text("hello")
    assert errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_telephone(browser: Browser, unlocked: str, scheme: Any) -> None:
    """Nothing is wider than the screen."""
    with browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(unlocked)
        say(page, "averylongwordwithoutanyblank" * 8)
        expect(page.locator("#conversation .assistant")).to_be_visible()
        width = page.evaluate("document.documentElement.scrollWidth")
        if folder := os.environ.get("SWITCHBOARD_SHOTS"):
            page.screenshot(path=Path(folder) / f"telephone-{scheme}.png", full_page=True)
        assert width == 360
