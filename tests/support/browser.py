"""Debian's Chromium, driven through Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """A browser without a window, started with `flags`."""
    found = shutil.which("chromium")
    assert found is not None, "chromium is missing: tools/apt-install chromium"
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=found, args=list(flags))
        yield browser
        browser.close()


def errors_of(page: Page) -> list[str]:
    """A list that comes to hold what goes wrong on `page`: what its console calls an error, and what a script did not catch."""
    errors: list[str] = []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    return errors
