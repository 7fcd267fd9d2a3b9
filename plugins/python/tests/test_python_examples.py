"""The page about Python: its blocks run, and it shows the text that is tested."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest

import modbench as mb
from modbench.extend import planted_plan, planted_run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "plugins" / "python" / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Make two rounds in this process of what is compared; plan runs and return a finished one; returns what they were given."""
    asked = list[dict[str, Any]]()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))  # a plan without peaks records no operators
    planted_run(tmp_path, planted_plan("draft", processes=4, rounds=2, metrics=["flops/forward", "latency/forward"]))

    def run(suite: str, **given: Any) -> mb.Results:
        asked.append(given)
        assert mb.plan(suite, **given).plan.cases
        return mb.load(tmp_path / "run")

    def compare(*given: Any, **named: Any) -> mb.Comparison:
        asked.append(named)
        if named.get("processes", 1) > 1:
            found = compared(*given, rounds=2)
            rows = [row.__class__(**{**vars(row), "labels": ()}) for row in found.rows]
            return found.__class__(**{**vars(found), "rows": tuple(rows)})
        return compared(*given, **named, rounds=2)

    compared = mb.compare
    monkeypatch.setattr(mb, "run", run)
    monkeypatch.setattr(mb, "compare", compare)
    monkeypatch.setattr(mb, "measure", functools.partial(mb.measure, rounds=2))
    return asked


@pytest.mark.plugin("audit")
@pytest.mark.plugin("recommend")
def test_the_blocks_of_the_page_run(quick: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec("\n".join(blocks), {})  # noqa: S102  # our own page
    said = capsys.readouterr().out
    assert "over dense" in said  # a comparison
    assert "Nothing was measured." in said  # a plan
    assert [given for given in quick if given.get("processes") == 3]
