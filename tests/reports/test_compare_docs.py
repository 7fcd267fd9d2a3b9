"""docs/compare.md shows what is printed; tests/docs runs its commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from planted_compare import compared_run

DOC = Path(__file__).parents[2] / "docs" / "compare.md"
TEXT = DOC.read_text(encoding="utf-8")


def test_the_example_of_two_runs_has_the_form_of_what_is_printed(tmp_path: Path, modbench: Any) -> None:
    """Sections, cases and verdicts; digits are another machine's."""
    (tmp_path / "runs").mkdir()
    suite: dict[str, Any] = {"grid": {"seq_len": [64]}, "metrics": ["latency/forward"]}
    for name, commit, slower in (("old", "1111111aaaaa", {}), ("new", "2222222bbbbb", {"mod[c0.125]": 1.1})):
        environment = {"git": {"commit": commit, "dirty": False}}
        compared_run(tmp_path / "runs" / name, suite=suite, slower=slower, environment=environment, seed=len(slower))
    printed = modbench("compare", "runs/old", "runs/new", "--margin", 0.06, cwd=tmp_path).stdout
    shown = TEXT.partition("```text\nB over A: ")[2].partition("```")[0]

    def form(text: str) -> str:
        return re.sub(r"[\d.]+", "0", re.sub(r"\d{4}-\d\d-\d\d", "DATE", " ".join(text.split())))

    assert form(f"B over A: {shown}") == form(printed)


def test_every_verdict_is_explained() -> None:
    from modbench.reports.questions.compare_runs import VERDICTS

    table = TEXT.partition("| verdict |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| ([a-z ]+?)(?: \(|\s*\|)", table, flags=re.MULTILINE)
    assert {*named} == {*VERDICTS} - {"new", "missing"}
