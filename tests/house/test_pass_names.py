"""A pass is one file: nothing but that file, the metrics that it makes, suites and tests names it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from product import SOURCES

from modbench.harness.registry import catalogue

ROOT = Path(__file__).parents[2]
PASSES = frozenset(catalogue.entries("passes"))
MAY_NAME = (
    "harness/measure/passes/",
    "harness/measure/metrics/",
    "suites/",
    "plugins/",
    "src/modbench/planted_runs.py",
)
# Words that are a pass's name and something else.
OTHER_MEANINGS = {
    "src/modbench/api.py": {"train"},  # a command
    "src/modbench/keywords.py": {"compile", "audit"},  # flags
    "src/modbench/commands/doctor/checkup.py": {"fit"},  # what a machine is
    "src/modbench/commands/plan/forecast.py": {"time", "memory"},  # heads of a table
    "harness/core/units.py": {"count"},  # a unit
    "harness/planning/overrides.py": {"train"},  # a table of a suite file
    "harness/stats/verdicts.py": {"time", "count"},  # kinds of numbers
    "reports/questions/summary.py": {"memory", "energy"},  # what was asked
    "reports/tables/two_runs.py": {"time"},  # a kind of numbers
    "reports/tables/axes.py": {"compile"},  # a field of a place
}
READ = [path for path in SOURCES if not str(path.relative_to(ROOT)).startswith(MAY_NAME)]


def strings(node: ast.AST) -> set[str]:
    """Constants that are names of passes: the node itself, or what a set, tuple, list or dict literal holds."""
    inside: list[ast.expr | None] = [node] if isinstance(node, ast.expr) else []
    if isinstance(node, ast.Set | ast.Tuple | ast.List):
        inside = [*node.elts]
    if isinstance(node, ast.Dict):
        inside = [*node.keys]
    return {each.value for each in inside if isinstance(each, ast.Constant) and each.value in PASSES}


def of_another_kind(node: ast.expr) -> bool:
    """Whether a side of a comparison is a workload or a job of measure: `train` and `count` are such words too."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in {"workload", "job"}


def named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Comparisons with a pass's name, tables of two or more, calls that are given one, and names of jobs that begin with one."""
    for node in ast.walk(tree):
        found: set[str] = set()
        if isinstance(node, ast.Compare) and not any(of_another_kind(side) for side in (node.left, *node.comparators)):
            found = set().union(*(strings(side) for side in (node.left, *node.comparators)))
        if isinstance(node, ast.Set | ast.Tuple | ast.List | ast.Dict) and len(strings(node)) > 1:
            found = strings(node)
        if isinstance(node, ast.keyword) and node.arg in {"made_in", "measured_by"}:
            found = strings(node.value)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in {"job", "load", "pass_of"}:
            found = set().union(*(strings(argument) for argument in node.args))
        if isinstance(node, ast.JoinedStr):
            head = node.values[0]
            word = str(head.value).partition("-") if isinstance(head, ast.Constant) else ("", "", "")
            found = {word[0]} & PASSES if word[1] else set()
        # Only what is given a pass's name is written out: to write all out takes seconds.
        if isinstance(node, ast.Call) and (given := set().union(*(strings(argument) for argument in node.args))):
            found = given if "pass" in ast.unparse(node.func).lower() else found
        if isinstance(node, ast.Subscript) and (given := strings(node.slice)):
            found = given if "pass" in ast.unparse(node.value).lower() else found
        yield from ((getattr(node, "lineno", 0), word) for word in found)


@pytest.mark.slow
def test_no_pass_is_named_elsewhere() -> None:
    # To read the syntax trees of all files takes many seconds: only of those with a text that is a pass's name, or begins so.
    text = re.compile(rf"[\"']({'|'.join(PASSES)})[\"'-]")
    sources = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in READ}
    found = {
        (name, line, word)
        for name, source in sources.items()
        if text.search(source)
        for line, word in named(ast.parse(source))
    }
    # The passes of a plug-in may be absent.
    assert {each[0] for each in found} >= {name for name, words in OTHER_MEANINGS.items() if words <= PASSES}
    assert {each for each in found if each[2] not in OTHER_MEANINGS.get(each[0], set())} == set()


@pytest.mark.parametrize(
    "code",
    [
        'if metric.measured_by == "time": pass',
        'if job.made_in in {"train", "rates"}: pass',
        'TABLE = {"time": "wall_s", "memory": "value"}',
        'Job(made_in="count")',
        'Metric(measured_by="count")',
        'passes["memory"]',
        'passes.get("memory")',
        'maker.job(name, comparison, "count", 1.0)',
        'catalogue.load("passes", "train")',
        'f"train-{case.family}"',
    ],
)
def test_a_pass_that_is_named_is_found(code: str) -> None:
    assert list(named(ast.parse(code)))
