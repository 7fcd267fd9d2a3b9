"""Statistics hand on codes and numbers; `reports/reasons.py` has the words of a code. A plug-in's reason has words of its own."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

from modbench.reports.reasons import KINDS, WORDS

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
STATS = [
    path
    for files in ("harness/stats/*.py", "plugins/**/statistics.py", "plugins/*/joint_fit.py")
    for path in sorted(ROOT.glob(files))
]
PRODUCT = [
    path
    for top in ("harness", "reports", "src/modbench/commands", "plugins")
    for path in sorted((ROOT / top).rglob("*.py"))
]
# Texts of several words that are no reasons: the name of a curve, and names of what disturbed a sample.
NAMES = {
    *(
        "{} at {}",
        "another process on the GPU",
        "not watched: the GPU's driver did not answer",
        "stolen by other guests",
    ),
}


def made(source: str) -> Iterator[tuple[str | None, set[str | None]]]:
    """The code and the names of each reason that a source makes; a code that is no text is None, `**` is a name None."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Reason":
            code = node.args[0] if node.args else None
            text = code.value if isinstance(code, ast.Constant) and isinstance(code.value, str) else None
            yield text, {each.arg for each in node.keywords}


def named(words: str) -> set[str]:
    """The `{names}` in words."""
    return {field for _, field, _, _ in string.Formatter().parse(words) if field is not None}


def wrong(source: str, *, of_plugin: bool = False) -> list[str]:
    """Reasons of a source without words, or whose names are not those that the words have."""
    return [
        str(code)
        for code, names in made(source)
        if code is None
        or (code not in WORDS and not (of_plugin and " " in code))
        or names != {name.partition(":")[0] for name in named(WORDS.get(code, code))}
    ]


def phrases(source: str) -> list[str]:
    """What a module of statistics may not hold: how a number is written, an f-string, a text of several words.

    Errors and assertions are for who calls it, and may.
    """
    tree = ast.parse(source)
    apart = {
        id(inside)
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise | ast.Assert)
        or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Reason")  # whose words `wrong` reads
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))  # a docstring
        for inside in ast.walk(node)
    }
    found = []
    for node in (each for each in ast.walk(tree) if id(each) not in apart):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [
                f"{node.module}.{each.name}" for each in node.names if "core.units" in f"{node.module}.{each.name}"
            ]
        elif isinstance(node, ast.JoinedStr):
            apart |= {id(inside) for inside in ast.walk(node)}
            found.append("".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values))
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and len(re.findall(r"\w+ ", node.value)) >= 3
        ):
            found.append(node.value)
    return [each for each in found if each not in NAMES]


def test_every_reason_has_words_which_name_what_it_is_given() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in PRODUCT}
    found = {path.name: wrong(source, of_plugin=PLUGINS in path.parents) for path, source in sources.items()}
    assert {name: lacks for name, lacks in found.items() if lacks} == {}
    words = {WORDS.get(str(code), str(code)) for source in sources.values() for code, _ in made(source)}
    assert KINDS.keys() <= {name for each in words for name in named(each)}
    assert {*WORDS.values()} <= words  # there are none of no reason


def test_statistics_phrase_and_format_nothing() -> None:
    assert {path.name: found for path in STATS if (found := phrases(path.read_text(encoding="utf-8")))} == {}


def test_an_offence_is_found() -> None:
    assert wrong('Reason("few_values", n=3), Reason("several_threads")') == []
    assert wrong('Reason("unheard_of"), Reason("few_values"), Reason("few_values", m=3), Reason(code)') == [
        *("unheard_of", "few_values", "few_values", "None")
    ]
    assert wrong('Reason("no {thing} of it", thing=2)', of_plugin=True) == []
    assert wrong('Reason("no thing of it")') == ["no thing of it"]
    assert (
        phrases('"""A docstring of several words."""\nassert x, f"{x} is not"\nraise ValueError(f"{x} is wrong")') == []
    )
    assert phrases("from modbench.harness.core.units import about") == ["modbench.harness.core.units.about"]
    assert phrases("from modbench.harness.core import units") == ["modbench.harness.core.units"]
    assert phrases('Effect(0.1, reason=f"{n} processes")') == ["{} processes"]
    assert phrases('Effect(0.1, reason="too few for an interval")') == ["too few for an interval"]
