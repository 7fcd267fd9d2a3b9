"""The example of docs/your-model.md: its page shows what its commands print, of the model that `modbench init` writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import example
import make_demo
import pytest
from doc_blocks import blocks

from modbench.commands.init.starts import TEMPLATE
from modbench.reports import demo

Modbench = Callable[..., CompletedProcess[str]]
FOLDER = Path(__file__).parents[2] / "examples" / "skipping"
MODEL = (FOLDER / "mine.py").read_text(encoding="utf-8")
PAGE = example.PAGE.read_text(encoding="utf-8")
RUNS = [*FOLDER.glob("*.json.xz")]


def test_the_model_is_the_one_that_init_writes_and_the_page_shows_its_end() -> None:
    assert MODEL == TEMPLATE
    (shown,) = [block.text for block in blocks(example.PAGE) if block.language == "python"]
    assert MODEL.endswith(shown)


def test_the_change_that_the_gate_finds_is_named() -> None:
    assert all(f"`{each}`" in PAGE for each in example.CHANGE)
    assert MODEL.count(example.CHANGE[0]) == 1


@pytest.mark.parametrize("packed", RUNS, ids=lambda file: file.name)
def test_a_stored_run_is_of_this_model_and_names_no_host(packed: Path) -> None:
    """`python docs/site/example.py measure` makes the runs anew."""
    name = packed.name.partition(".")[0]
    text = MODEL.replace(*example.CHANGE) if name == example.CHANGED_RUN else MODEL
    files = demo.contents(packed.read_bytes())
    ran = {content["code"].get("mine.py") for content in files.values() if content.get("code")}
    assert ran == {hashlib.sha256(text.encode()).hexdigest()}
    assert f"runs/{name}" in PAGE
    assert not make_demo.PATHS.search(json.dumps(files))
    assert {content["environment"]["host"] for content in files.values() if "job" in content} == {None}


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.plugin("recommend")
@pytest.mark.plugin("paper")
def test_the_page_shows_what_its_commands_print(tmp_path: Path, modbench: Modbench) -> None:
    """`python docs/site/example.py write` writes it."""

    def run(words: list[str], folder: Path) -> str:
        done = modbench(*words[1:], cwd=folder, columns=example.WIDTH)
        assert done.returncode in {0, 1, 5}, done.stderr
        return done.stdout

    example.unpack(tmp_path)
    assert example.written(PAGE, tmp_path, run) == PAGE
    assert example.FIGURE.read_text(encoding="utf-8").endswith(example.source())
