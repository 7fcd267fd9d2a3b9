"""The browser in which pages are opened."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium for all tests that open a page; one worker runs them (`TOGETHER` in tests/conftest.py)."""
    import chromium  # skips where there is none

    with chromium.launched() as made:
        yield made


@pytest.fixture
def opened(browser: Browser) -> Callable[..., Any]:
    """Open a file as a page that logs nothing and requests nothing but itself."""
    import chromium

    return functools.partial(chromium.opened, browser)
