"""Tables of runs in the documentation: each place has an end, and one command writes the tables of a run there."""

from __future__ import annotations

from pathlib import Path

import docs_tables
import pytest
from doc_blocks import PAGES
from planted_tasks import planted

from modbench.harness.registry import catalogue

END = "<!-- end of table -->\n"
PAGE = f"before\n<!-- table of tasks: {{label}} -->\nold\n{END}<!-- table of other: x -->\n{END}after\n"


def test_each_place_has_an_end_and_a_suite() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found = [place[2] for place in docs_tables.PLACE.finditer(text)]
        assert len(found) == text.count("<!-- table of ") == text.count("<!-- end of table -->"), page
        assert {*found} <= catalogue.entries("suites").keys(), page


def test_a_run_replaces_its_tables_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = planted(tmp_path / "run").path
    monkeypatch.setattr(docs_tables, "DOCS", tmp_path)
    page, start = tmp_path / "page.md", PAGE.format(label="Accuracy on tasks")
    page.write_text(start)
    docs_tables.main(str(folder))
    first = page.read_text()
    head, *rows = [line for line in first.splitlines() if line.startswith("|")]
    assert (head.count("Solved"), len(rows)) == (1, 4)
    assert "old" not in first
    ends = start.split("old")
    assert (first.startswith(ends[0]), first.endswith(ends[1])) == (True, True)
    docs_tables.main(str(folder))
    assert page.read_text() == first
    page.write_text(PAGE.format(label="Accuracy"))
    with pytest.raises(ValueError, match="'Accuracy on tasks'"):
        docs_tables.main(str(folder))
