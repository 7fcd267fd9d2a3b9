"""What a person reads: the field's words, characters that every font has, and words for every reason that a code names."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import docs_build
import pytest
from doc_blocks import PAGES
from product import FILES, ROOT, SOURCES
from vocabulary import OURS, hits

from modbench.reports.reasons import KINDS, WORDS
from modbench.reports.wording import verdict_words

# Of WGL4, which system fonts have held for thirty years, and △ and ▽; shapes that it lacks are drawn (`Look.outline`).
CHARACTERS = set("×÷±·°µ½¹§¶†‡–—…→≈≠≤≥▲▼△▽●○")
STORED = [path for part in ("data", "words") for path in sorted(ROOT.glob(f"**/goldens/*/{part}/*"))]
TEMPLATES = [path for path in FILES if path.suffix in {".j2", ".toml", ".js", ".css"}]


COMMENTS = re.compile(r"\{#.*?#\}|<!--.*?-->|/\*.*?\*/|//[^\n]*", re.DOTALL)
# What is a name and no word: code and arguments in docstrings; targets of links, and comments, on pages.
NAMES = re.compile(r"`[^`\n]*`|^ *\w+:(?= )", re.MULTILINE)
TARGETS = re.compile(r"(?<=\])\([^)]*\)|<!--.*?-->", re.DOTALL)


def texts(source: str) -> Iterator[str]:
    """Texts of a module that a person may read: those of several words, and docstrings without names."""
    tree = ast.parse(source)
    inside = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield NAMES.sub("_", node.value) if id(node) in inside else node.value


@pytest.mark.slow
def test_the_fields_words_are_used() -> None:
    """In stored outputs, help, messages, docstrings, templates and suites."""
    told = {"help": [docs_build.pages()["reference/cli.md"]]}
    for path in (*STORED, *SOURCES, *TEMPLATES, *sorted((ROOT / "benchmarks").rglob("*.py"))):
        text = path.read_text(encoding="utf-8")
        told[str(path)] = [*texts(text)] if path.suffix == ".py" else [COMMENTS.sub("", text)]
    assert [f"{name}: {hit}" for name, each in told.items() for text in each for hit in hits(text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_documentation_uses_the_fields_words(page: Path) -> None:
    assert [*hits(TARGETS.sub("", page.read_text(encoding="utf-8")))] == []


def test_words_that_the_field_lacks_are_found_and_its_own_are_not() -> None:
    ours = ("the arm", "a rung", "cannot tell", "2 launches", "told apart", "fresh seeds", "the page says")
    assert [said for said in ours if not [*hits(f"What is {said} here?")]] == []
    field = ("unit and meaning", "GPU card", "kernel launches", "arm64", "an equivalence margin", *OURS.values())
    assert [said for said in field if [*hits(f"What is {said} here?")]] == []


def test_the_page_writes_characters_that_every_font_has() -> None:
    """But for what prints to terminals, where a warning has another sign."""
    reports = [path for path in (*SOURCES, *TEMPLATES) if "reports" in path.relative_to(ROOT).parts]
    made = [path for path in reports if {"terminal", "notebook", "text.py"}.isdisjoint(path.parts)]
    for path in (*(path for path in STORED if path.name == "page.txt"), *made):
        assert {each for each in path.read_text(encoding="utf-8") if not each.isascii()} <= CHARACTERS, path


def test_signs_of_verdicts_are_told_apart_without_colour() -> None:
    verdicts = ("better", "worse", "equivalent", "better_open", "worse_open", "inconclusive")
    assert len({verdict_words(verdict).partition(" ")[0] for verdict in verdicts}) == len(verdicts)


def test_every_reason_has_words_which_name_what_it_is_given() -> None:
    """Statistics hand on codes and numbers; a plug-in's reason may be words of its own. Words of no reason go."""
    used = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(text)) if "Reason(" in (text := path.read_text(encoding="utf-8")) else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Reason":
                (code,) = map(ast.unparse, node.args)
                code = code.strip("'\"")
                said = WORDS.get(code, code if "plugins" in path.parts and " " in code else None)
                assert said, f"{path}:{node.lineno}: reports/reasons.py has no words for {code}"
                named = {field.partition(":")[0] for _, field, _, _ in string.Formatter().parse(said) if field}
                assert {word.arg for word in node.keywords} == named, f"{path}:{node.lineno}: {said}"
                used.add(said)
    assert {*WORDS.values()} <= used
    assert KINDS.keys() <= {name for said in used for name in re.findall(r"\{([^}]*)\}", said)}
