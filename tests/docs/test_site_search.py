"""The search of the documentation site, opened from the disk in a real Chromium: what a reader types stays, and finds pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import docs_build
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The search box and its results, in the shadow tree that the site puts them into.
BOX = "[...document.querySelectorAll('*')].find((each) => each.shadowRoot)?.shadowRoot"
STATE = f"""() => ({{
  typed: {BOX}.querySelector("input").value,
  found: [...{BOX}.querySelectorAll("a[href]")].map((each) => each.textContent.toLowerCase()),
}})"""
PAGES = {"index.md": "# Start\n\nLast of all.\n", "formats.md": "# Formats\n\n## Papers\n\nTables for LaTeX.\n"}
ANSWERED = f"""(word) => {{
  const {{ typed, found }} = ({STATE})();
  return typed !== word || (found.length > 0 && found.every((each) => each.includes(word)));
}}"""


def test_a_word_can_be_typed_into_the_search_of_the_site_on_disk(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs_build, "pages", lambda: PAGES)
    assert docs_build.main(tmp_path / "docs") == 0
    complaints: list[str] = []
    page = browser.new_context(offline=True).new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((tmp_path / "docs" / "site" / "index.html").as_uri())
    page.locator(".md-search__button").first.click()
    page.wait_for_function(f"{BOX}?.activeElement?.tagName === 'INPUT'")
    for end in range(1, len("latex") + 1):
        page.keyboard.type("latex"[end - 1])
        page.wait_for_function(ANSWERED, arg="latex"[:end])
        assert page.evaluate(STATE)["typed"] == "latex"[:end]
    assert complaints == []
    page.locator("a[href*='formats.html?h=latex']").first.click()
    page.wait_for_url("**/formats.html*")
    page.context.close()
