"""A real Chromium for tests of the page: none on this machine skips them, but in CI they must run."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from screens import CHROMIUM_FLAGS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None and os.environ.get("CI"):
    pytest.fail("no Chromium in CI: the browser tests must run there", pytrace=False)
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine: install it to run the browser tests", allow_module_level=True)

from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402  # only where there is a browser


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Browser, file: Path, width: int = 1280, height: int = 800, **context: Any) -> Iterator[Page]:
    """A page that logs nothing to the console and requests nothing but itself, or the test fails."""
    made = browser.new_context(viewport={"width": width, "height": height}, offline=True, **context)
    page, address = made.new_page(), file.resolve().as_uri()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url.partition("#")[0]))
    page.goto(address)
    yield page
    assert complaints == []
    assert {url for url in requests if not url.startswith(("data:", "blob:"))} <= {"about:blank", address}
    made.close()
