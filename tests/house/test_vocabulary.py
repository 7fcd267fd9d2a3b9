"""What a person reads uses the field's words: outputs, help, messages, labels, columns, suites, code blocks of the docs."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from doc_blocks import ALL
from product import FILES
from vocabulary import FLAGS, KEYS, OURS, hits, old_columns

from modbench.cli import app

ROOT = Path(__file__).parents[2]
PRODUCT = [path for path in FILES if path.suffix in {".py", ".j2", ".toml", ".html", ".js", ".json"}]
OUTPUTS = [path for part in ("data", "words") for path in sorted(ROOT.glob(f"**/goldens/*/{part}/*"))]
OPTION = re.compile(r"(?<![\w-])--(?:" + "|".join(FLAGS) + r")(?![\w-])")
KEY = re.compile(r"^\s*(?:\[\[)?(" + "|".join(KEYS) + r")(?:\]\])? ?(?:=|$)", re.MULTILINE)


def help_texts(command: Any, name: str = "modbench") -> Iterator[tuple[str, str]]:
    """The help of a command, and of those below it."""
    yield name, command.get_help(typer.Context(command, info_name=name))
    for inner, each in getattr(command, "commands", {}).items():
        yield from help_texts(each, f"{name} {inner}")


HELP = dict(help_texts(typer.main.get_command(app)))


def texts(source: str) -> Iterator[str]:
    """Texts of a module that may reach a person: those of several words, and the docstrings of what is public.

    A text in parts (an f-string, or parts side by side) is one.
    """
    tree = ast.parse(source)
    inside: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            inside.add(id(body[0].value))
        public = [each for each in getattr(node, "decorator_list", ()) if "public" in ast.unparse(each)]
        if public and isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield ast.get_docstring(node) or ""
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.JoinedStr):
            inside.update(map(id, ast.walk(node)))
            yield "".join(each.value if isinstance(each, ast.Constant) else "{}" for each in node.values)  # type: ignore[misc]  # text
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.value


@pytest.mark.parametrize("name", HELP)
def test_the_help(name: str) -> None:
    assert [*hits(HELP[name])] == []
    assert not OPTION.search(HELP[name])


@pytest.mark.parametrize("path", OUTPUTS, ids=lambda path: f"{path.parents[1].name}-{path.name}")
def test_outputs_of_stored_runs(path: Path) -> None:
    """Those of which the words are not kept are looked through where they are made: tests/goldens/test_goldens.py."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        assert old_columns(next(csv.reader([text.split("\n", 1)[0]]))) == []
    elif path.suffix == ".json":
        found: set[str] = set()
        json.loads(text, object_pairs_hook=lambda pairs: found.update(key for key, _ in pairs))
        assert old_columns(sorted(found)) == []
    else:
        assert [*hits(text)] == []


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_of_the_product(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        assert KEY.findall(text) == []
    told = (
        texts(text)
        if path.suffix == ".py"
        else [re.sub(r"\{[{%#].*?[}%#]\}|<!--.*?-->|//.*", "", text, flags=re.DOTALL)]
    )
    assert [hit for each in told for hit in hits(each)] == []


@pytest.mark.parametrize("block", ALL, ids=lambda block: f"{block.page.name}:{block.line}")
def test_code_blocks_of_the_documentation(block: Any) -> None:
    assert [*hits(block.text)] == []
    assert not OPTION.search(block.text)
    assert block.language != "toml" or KEY.findall(block.text) == []


@pytest.mark.parametrize(
    "said", ["the arm", "a rung", "cannot tell", "2 launches", "told apart", "fresh seeds", "the page says"]
)
def test_a_word_of_ours_is_found(said: str) -> None:
    assert [*hits(f"What is {said} here?")]


@pytest.mark.parametrize(
    "said",
    [
        *(
            "unit and meaning",
            "GPU card",
            "confidence interval",
            "kernel launches",
            "arm64",
            "an equivalence margin",
            "a variant",
        )
    ],
)
def test_words_of_the_field_are_none(said: str) -> None:
    assert not [*hits(f"What is {said} here?")]


def test_each_word_has_one_that_is_said_instead() -> None:
    assert not [*hits(" ".join(OURS.values()))]
