"""The examples and the page about Python: everything in them runs, and what it returns shows in a notebook."""

from __future__ import annotations

import ast
import functools
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from present import present

import modbench as mb
from modbench.extend import planted_plan, planted_run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


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


def executed(cells: list[str]) -> list[Any]:
    """Run cells one after the other, as a notebook does; returns the value of the last expression of each."""
    names: dict[str, Any] = {}
    values = []
    for cell in cells:
        tree = ast.parse(cell)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "cell", "exec"), names)  # noqa: S102  # our own file
        if isinstance(last, ast.Expr):
            values.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))  # noqa: S307  # our own file
    return values


def test_the_notebook_runs_and_shows_little(quick: list[dict[str, Any]]) -> None:
    notebook = json.loads((ROOT / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    values = executed(["".join(cell["source"]) for cell in code])
    assert {type(value).__name__ for value in values} >= {"Comparison", "Measurement", "Costs", "Results"}
    for value in values:
        assert len(repr(value)) < 4000
        assert not hasattr(value, "_repr_html_") or len(value._repr_html_()) < 30_000
    assert quick[-1]["effort"] == "smoke"


@pytest.mark.plugin("audit")
@pytest.mark.plugin("recommend")
def test_the_blocks_of_the_page_run(quick: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    executed(blocks)
    said = capsys.readouterr().out
    assert "over dense" in said  # a comparison
    assert "Nothing was measured." in said  # a plan
    assert [given for given in quick if given.get("processes") == 3]


def test_the_page_shows_the_text_that_is_tested_and_names_every_function() -> None:
    golden = Path(__file__).with_name("test_compare_in_memory.py").read_text(encoding="utf-8")
    assert present(re.search(r'^GOLDEN = """\\\n(.*?)"""', golden, re.DOTALL | re.MULTILINE))[1] in PAGE
    named = set(re.findall(r"mb\.(\w+)", PAGE))
    assert {name for name in mb.__all__ if name[0].islower()} <= named <= set(mb.__all__)


def test_the_script_compares_its_modules(quick: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "compare_modules.py"))
    said = capsys.readouterr().out
    assert len(quick) == 2
    assert said.count("skipping") >= 2
    assert "3.99×" in said  # a quarter of the tokens takes the MLP, and all of them the router
    assert "dense (again)" in said
