"""Numbers with intervals are data until a writer writes them: what the syntax trees of the reports may hold, and where."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPORTS = Path(__file__).parents[2] / "reports"
# The JSON of a report has its own classes, which are a contract for programs (`modbench schema report`).
CONTRACT = REPORTS / "formats" / "_schema.py"
# `figures/` writes SVG.
FILES = [path for path in REPORTS.rglob("*.py") if not {"writers", "figures"} & {*path.parts} and path != CONTRACT]
ENDS = {"low", "high", "ends", "ci_low", "ci_high"}
BETWEEN = re.compile(r"^(–|-|,? | to |\.\.)$")
# Escaping, wrapping and cutting of text.
ESCAPES = {"escape", "quoteattr", "wrap", "fill", "shorten"}


def parts(node: ast.JoinedStr) -> Iterator[tuple[ast.expr, ast.expr, ast.expr]]:
    yield from zip(node.values, node.values[1:], node.values[2:], strict=False)


def names(node: ast.AST) -> set[str]:
    """Names and attributes that occur in an expression."""
    found = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return found | {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}


def is_interval(node: ast.JoinedStr) -> bool:
    """Whether a text joins both ends of an interval, or half of one: `[{low}–{high}]`, `±{half}`."""
    for before, between, after in parts(node):
        if isinstance(before, ast.FormattedValue) and isinstance(after, ast.FormattedValue):
            said = between.value if isinstance(between, ast.Constant) else ""
            ends = names(before) | names(after)
            if BETWEEN.match(str(said)) and (ends & ENDS or {"min", "max"} <= ends):
                return True
    texts = [each.value for each in node.values if isinstance(each, ast.Constant)]
    halves = any(str(text).endswith("±") for text in texts[: len(node.values)])
    return halves and any(isinstance(each, ast.FormattedValue) for each in node.values)


def intervals(source: str) -> list[int]:
    """Lines of texts that join the ends of an interval."""
    return [
        node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.JoinedStr) and is_interval(node)
    ]


def escapes(source: str) -> list[int]:
    """Lines of calls that escape markup, or wrap or cut text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            of = (
                node.func.value.id
                if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
                else ""
            )
            if called in ESCAPES and (of in {"html", "textwrap", "markupsafe", "saxutils", "re"} or called == "escape"):
                found.append(node.lineno)
    return found


def holders(source: str) -> list[str]:
    """Classes with a field for an end of an interval."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        and {
            each.target.id
            for each in node.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        }
        & ENDS
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPORTS)))
def test_only_writers_write_intervals_and_escape(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert intervals(source) == []
    assert escapes(source) == []


def test_one_class_of_the_reports_holds_an_interval() -> None:
    found = {name for path in FILES for name in holders(path.read_text(encoding="utf-8"))}
    assert found == {"Estimate"}


def test_an_interval_is_found() -> None:
    assert intervals('f"[{x.low:.2f}–{x.high:.2f}]"') == [1]
    assert intervals('f"{min(made)} to {max(made)}"') == [1]
    assert intervals('f" ±{half:.2f}"') == [1]
    assert intervals('f"{mine}, {name}"') == []
    assert escapes("html.escape(x)") == [1]
    assert escapes("textwrap.fill(x, 80)") == [1]
    assert holders("class Row:\n    ratio: float\n    low: float\n") == ["Row"]
