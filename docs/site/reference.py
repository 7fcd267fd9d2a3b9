"""Writes all documentation that is made from the code: docs/reference/*.md, and the columns in docs/csv-and-figures.md.

    python docs/site/reference.py

A test compares each with what the code makes: after a change to commands, suites, columns or docstrings run this again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import docs_api
import docs_columns
import docs_examples
import docs_reference

FOLDER = Path(__file__).resolve().parents[1] / "reference"
MADE: dict[Path, Callable[[], str]] = {
    FOLDER / "cli.md": docs_reference.cli_page,
    FOLDER / "suites.md": docs_reference.suites_page,
    FOLDER / "columns.md": docs_columns.columns_page,
    FOLDER / "catalogue.md": docs_reference.catalogue_page,
    FOLDER / "parts.md": docs_reference.parts_page,
    FOLDER / "api.md": docs_api.api_page,
    FOLDER / "examples.md": docs_examples.examples_page,
    docs_columns.MAIN_PAGE: docs_columns.main_page,
}


def text(path: Path) -> str:
    """Return the content of a page."""
    first = "<!-- Made by docs/site/reference.py: do not edit. -->\n" if path.parent == FOLDER else ""
    return f"{first}{MADE[path]().rstrip()}\n"


if __name__ == "__main__":
    for page in MADE:
        page.parent.mkdir(exist_ok=True)
        page.write_text(text(page), encoding="utf-8")
