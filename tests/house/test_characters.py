"""The page is read with whatever fonts a reader has: a character that few fonts hold is shown as an empty box."""

from __future__ import annotations

from pathlib import Path

import pytest

from modbench.reports.wording import verdict_words

REPORTS = Path(__file__).parents[2] / "reports"
# Of WGL4, the characters that system fonts have held for thirty years, and △ and ▽; shapes that it lacks are drawn
# (`Look.outline`).
ALLOWED = set("×÷±·°µ½¹§¶†‡–—…→≈≠≤≥▲▼△▽●○")
# They print to terminals, where a warning has another sign.
TERMINAL = {"terminal", "notebook", "text.py"}
FILES = [
    path
    for kind in ("*.py", "*.j2", "*.js", "*.css")
    for path in sorted(REPORTS.rglob(kind))
    if TERMINAL.isdisjoint(path.relative_to(REPORTS).parts)
]


def unusual(text: str) -> set[str]:
    return {character for character in text if not character.isascii()} - ALLOWED


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPORTS)))
def test_the_page_writes_characters_that_every_font_has(path: Path) -> None:
    assert unusual(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    "page", sorted(REPORTS.parent.glob("**/goldens/*/words/page.txt")), ids=lambda path: path.parents[1].name
)
def test_so_do_labels_and_reasons_on_stored_pages(page: Path) -> None:
    assert unusual(page.read_text(encoding="utf-8")) == set()


def test_signs_of_verdicts_are_told_apart_without_colour() -> None:
    verdicts = ("better", "worse", "equivalent", "better_open", "worse_open", "inconclusive")
    signs = {verdict: verdict_words(verdict).partition(" ")[0] for verdict in verdicts}
    assert len(set(signs.values())) == len(verdicts), signs
    assert unusual("".join(signs.values())) == set()
