"""Every `modbench compare RUN …` line of docs/compare.md does what it says, on planted runs with the folders that it names."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from planted_compare import compared_run

DOC = Path(__file__).parents[2] / "docs" / "compare.md"
TEXT = DOC.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^modbench (compare runs/.*)$", TEXT, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs that the page names: at the lengths of `quick`, and one arm slower in the new one."""
    here = tmp_path_factory.mktemp("documented")
    (here / "runs").mkdir()
    quick = {"grid": {"seq_len": [128, 512]}}
    compared_run(here / "runs" / "quick", suite=quick)
    small: dict[str, Any] = {"grid": {"seq_len": [64]}, "metrics": ["latency/forward"]}
    for name, commit, slower in (("old", "1111111aaaaa", {}), ("new", "2222222bbbbb", {"mod[c0.125]": 1.1})):
        environment = {"git": {"commit": commit, "dirty": False}}
        compared_run(here / "runs" / name, suite=small, slower=slower, environment=environment, seed=len(slower))
    return here


def test_there_are_commands() -> None:
    assert len(COMMANDS) == 4


@pytest.mark.parametrize("command", COMMANDS)
def test_documented_commands_run(command: str, folder: Path, modbench: Any) -> None:
    done = modbench(*shlex.split(command), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_example_of_two_runs_has_the_form_of_what_is_printed(folder: Path, modbench: Any) -> None:
    """Sections, cases and verdicts; digits are another machine's."""
    printed = modbench("compare", "runs/old", "runs/new", cwd=folder).stdout.splitlines()
    shown = TEXT.partition("A  runs/old")[2].partition("```")[0].splitlines()[1:]

    def form(line: str) -> str:
        return re.sub(r"[\d.]+", "0", re.sub(r"\d{4}-\d\d-\d\d", "DATE", line))

    assert {form(line) for line in shown} <= {form(line) for line in printed}


def test_every_verdict_is_explained() -> None:
    from modbench.reports.questions.compare_runs import VERDICTS

    table = TEXT.partition("| verdict |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| ([a-z ]+?)(?: \(|\s*\|)", table, flags=re.MULTILINE)
    assert {*named} == {*VERDICTS} - {"new", "missing"}
