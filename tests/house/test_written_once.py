"""Numbers with intervals are data until a writer writes them: what the syntax trees of the reports may hold, and where."""

from __future__ import annotations

import ast
import functools
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REPORTS, FRONT = ROOT / "reports", ROOT / "src" / "modbench"
PLUGIN = FRONT / "testing"
# What plug-ins have of the reports.
SECTIONS, PLUGGED = sorted(ROOT.glob("plugins/*/**/section*.py")), sorted(ROOT.glob("plugins/*/**/question*.py"))
OUTSIDE = [*(path for path in sorted(REPORTS.rglob("*.py")) if "markup" not in path.parts), *SECTIONS, *PLUGGED]
# `figures/` writes SVG.
FILES = [path for path in OUTSIDE if "figures" not in path.parts]
QUESTIONS = [*sorted((REPORTS / "questions").rglob("*.py")), *PLUGGED]
ENDS = {"low", "high", "ends", "ci_low", "ci_high"}
BETWEEN = re.compile(r"^(–|-|,? | to |\.\.)$")
# Formats of numbers outside the writers, and why.
FORMATS = {
    "reports/figures/axes.py": {"g"},  # ticks of all figures: figures lie below the writers
    "reports/figures/style.py": {"02d"},  # colours
    "plugins/routing/section.py": {".9g"},  # a cell of a figure's data
    "reports/sections/numbers.py": {".6g"},  # rounded samples, which are data of a script
    "plugins/sweeps/section.py": {".0f"},  # the name of a figure, and so of its file
    "reports/wording.py": {".4g"},  # the name of a variant, which the writers write
}
NUMBER = re.compile(r"[,_]|\.|0\d|[bdeEfFgGnxX%]$")
# Escaping, wrapping and cutting of text.
ESCAPES = {"escape", "quoteattr", "wrap", "fill", "shorten"}
# A word. A text of so many words is a sentence; all tests together may hold so many.
WORD = re.compile(r"""(?:^|(?<=\s))[("]?[A-Za-z]+[.,;:!?)"]*(?=\s|$)""")
WORDS, MOST_SENTENCES = 5, 60


@functools.lru_cache(maxsize=1)
def nodes(source: str) -> tuple[ast.AST, ...]:
    """All nodes of a source's syntax tree; what asks about one source several times in a row parses it once."""
    return tuple(ast.walk(ast.parse(source)))


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
    return [node.lineno for node in nodes(source) if isinstance(node, ast.JoinedStr) and is_interval(node)]


def formats(source: str) -> set[str]:
    """Formats of numbers in f-strings, in `format`, behind `%`, and `round` in an f-string."""
    found = set[str]()
    for node in nodes(source):
        match node:
            case ast.FormattedValue(value=ast.Call(func=ast.Name(id="round"))):
                found.add("round")
            case ast.FormattedValue(format_spec=ast.JoinedStr(values=values)):
                found.add("".join(str(each.value) for each in values if isinstance(each, ast.Constant)))
            case ast.Attribute(value=ast.Constant(value=str(text)), attr="format"):
                found |= {spec for _, _, spec, _ in string.Formatter().parse(text) if spec}
            case ast.Call(func=ast.Name(id="format"), args=[_, ast.Constant(value=spec)]):
                found.add(str(spec))
            case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod()):
                found |= {spec.lstrip("%") for spec in re.findall(r"%[-+ #0]*[\d.]*[deEfgGi]", text)}
    return {spec for spec in found if spec == "round" or NUMBER.search(spec)}


def phrases(source: str) -> list[int]:
    """Lines that import from the module which formats numbers and sentences, or make a text of a value."""
    found = []
    for node in nodes(source):
        match node:
            case ast.ImportFrom(module=module, names=names):
                asked = [f"{module}.{alias.name}" for alias in names]
            case ast.Import(names=names):
                asked = [alias.name for alias in names]
            case ast.Call(func=ast.Name(id="plain") | ast.Attribute(attr="plain")):
                asked = ["number_format"]
            case _:
                continue
        if any("number_format" in each.split(".") for each in asked):
            found.append(node.lineno)
    return found


def plurals(source: str) -> list[int]:
    """Lines of an `s` that is multiplied by whether there are several: a noun stands in the words of a sentence, `{n:seed}`."""
    return [
        node.lineno
        for node in nodes(source)
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Mult)
        and isinstance(node.left, ast.Constant)
        and node.left.value in {"s", "es"}
    ]


def escapes(source: str) -> list[int]:
    """Lines of calls that escape markup, or wrap or cut text."""
    found = []
    for node in nodes(source):
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
        for node in nodes(source)
        if isinstance(node, ast.ClassDef)
        and {
            each.target.id
            for each in node.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        }
        & ENDS
    ]


def sentences(source: str) -> list[int]:
    """Lines of assertions, and of errors expected by their text, that hold a text of several words."""
    found = []
    for node in nodes(source):
        match node:
            case ast.Assert(test=asked):
                held = [asked]
            case ast.Call(keywords=keywords):
                held = [each.value for each in keywords if each.arg == "match"]
            case _:
                continue
        texts = (each.value for root in held for each in ast.walk(root) if isinstance(each, ast.Constant))
        if any(isinstance(text, str) and len(WORD.findall(text)) >= WORDS for text in texts):
            found.append(node.lineno)
    return found


@pytest.mark.slow
def test_few_tests_hold_sentences() -> None:
    """So that a sentence can be bettered in one place."""
    files = [path for path in (ROOT / "tests").rglob("*.py") if "bench" not in path.parts]
    files += ROOT.glob("plugins/*/tests/**/*.py")
    assert sum(len(sentences(path.read_text(encoding="utf-8"))) for path in files) <= MOST_SENTENCES


def test_only_writers_format_numbers() -> None:
    found = {str(path.relative_to(ROOT)): formats(path.read_text(encoding="utf-8")) for path in OUTSIDE}
    assert {name: specs for name, specs in found.items() if specs} == {
        name: specs for name, specs in FORMATS.items() if (ROOT / name).exists()
    }
    assert not any(formats(path.read_text(encoding="utf-8")) for path in PLUGIN.glob("*.py"))


def test_questions_leave_words_to_the_writers() -> None:
    found = {path.relative_to(ROOT).as_posix(): phrases(path.read_text(encoding="utf-8")) for path in QUESTIONS}
    assert len(found) > 20
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_all_else_writes_shares_as_writers_do() -> None:
    found = {
        str(path.relative_to(ROOT)): specs
        for folder in (FRONT / "commands", FRONT / "python", ROOT / "harness")
        for path in sorted(folder.rglob("*.py"))
        if (specs := {spec for spec in formats(path.read_text(encoding="utf-8")) if spec.endswith("%")})
    }
    assert found == {"harness/core/units.py": {".1%"}}  # a cell of a table


@pytest.mark.slow
def test_only_writers_write_intervals_and_escape() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in FILES}
    found = {
        (path, lines.__name__): seen
        for path, source in sources.items()
        for lines in (intervals, escapes, plurals)
        if (seen := lines(source))
    }
    assert found == {}
    commands = {path.name: path.read_text(encoding="utf-8") for path in sorted(FRONT.rglob("*.py"))}
    assert not any(map(intervals, commands.values()))
    assert not any(re.search(r"html import escape\b|html\.escape\b", source) for source in commands.values())


def test_one_class_of_the_reports_holds_an_interval() -> None:
    found = {name for path in FILES for name in holders(path.read_text(encoding="utf-8"))}
    assert found == {"Estimate"}


def test_a_format_of_a_number_is_found() -> None:
    assert formats('f"{share:.1%} {n:,} {x:.{digits}f}"') == {".1%", ",", ".f"}
    assert formats('"{:.2f}".format(x)') == {".2f"}
    assert formats('format(x, ".3g")') == {".3g"}
    assert formats('"%.2f of %d" % (x, n)') == {".2f", "d"}
    assert formats('f"{round(x, 2)}"') == {"round"}
    assert formats('f"{name:<{width}} {n} {text!r:>10}"') == set()


def test_a_text_made_of_a_value_is_found() -> None:
    assert phrases("from modbench.reports.markup.number_format import percent") == [1]
    assert phrases("from modbench.reports.markup import number_format, text") == [1]
    assert phrases("import modbench.reports.markup.number_format as write") == [1]
    assert phrases("found = {}\nfound['reason'] = plain(said)") == [2]
    assert phrases("from modbench.reports.markup.data import rows\nprice.plain.alone") == []


def test_an_interval_is_found() -> None:
    assert intervals('f"[{x.low:.2f}–{x.high:.2f}]"') == [1]
    assert intervals('f"{min(made)} to {max(made)}"') == [1]
    assert intervals('f" ±{half:.2f}"') == [1]
    assert intervals('f"{mine}, {name}"') == []
    assert plurals("f\"{n} seed{'s' * (n != 1)}\"") == [1]
    assert escapes("html.escape(x)") == [1]
    assert escapes("textwrap.fill(x, 80)") == [1]
    assert sentences("assert 'not one of the five words' in x") == [1]
    assert sentences("with raises(X, match='a b, c: d e'): pass") == [1]
    assert sentences("assert x == 'four words, no more'\nx = 'not one of the five words'") == []
    assert holders("class Row:\n    ratio: float\n    low: float\n") == ["Row"]
