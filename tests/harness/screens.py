"""Render a report to six PNGs (375, 1280, 1920 px; light and dark): `python tests/harness/screens.py RUN/report.html OUT`.

Open and check each of them after every change to the page.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

WIDTHS = (375, 1280, 1920)
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def shoot(browser: Browser, page_file: Path, out: Path) -> list[Path]:
    """One full-page PNG per width and theme; returns their paths."""
    made = []
    for scheme in ("light", "dark"):
        for width in WIDTHS:
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page = context.new_page()
            page.goto(page_file.resolve().as_uri())
            made.append(out / f"report-{width}-{scheme}.png")
            page.screenshot(path=made[-1], full_page=True)
            context.close()
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=CHROMIUM_FLAGS)
        for path in shoot(browser, arguments.page, arguments.out):
            print(path)
        browser.close()


if __name__ == "__main__":
    main()
