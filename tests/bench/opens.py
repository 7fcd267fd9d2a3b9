"""How long a browser takes to open pages: `python tests/bench/opens.py REPORT.html …`. Times mean nothing on a busy machine."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from playwright.sync_api import sync_playwright
from screens import CHROMIUM_FLAGS

TIMES = """() => {
  const [page] = performance.getEntriesByType("navigation");
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return [page.loadEventEnd, paint ? paint.startTime : NaN, document.querySelectorAll("*").length];
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=CHROMIUM_FLAGS)
        for file in arguments.pages:
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            page = context.new_page()
            page.goto(file.resolve().as_uri())
            load, paint, elements = page.evaluate(TIMES)
            size = file.stat().st_size
            print(
                f"{file}: {size:,} bytes, {elements:,} elements, first paint {paint:.0f} ms, load event {load:.0f} ms"
            )
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
