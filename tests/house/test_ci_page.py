"""The workflow of docs/ci.md: YAML that GitHub could read, whose commands are commands of modbench with flags that it has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from string import Template
from typing import Any

import pytest
import typer.main
import yaml  # type: ignore[import-untyped]  # it has no types

from modbench.cli import app
from modbench.reports.questions.gate.fail_on import CHECKS, parse

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")


def workflow() -> dict[Any, Any]:
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    loaded: dict[Any, Any] = yaml.safe_load(text)
    return loaded


def commands(made: dict[Any, Any]) -> list[list[str]]:
    """The words of every modbench command, with variables of the workflow put in."""
    found = []
    for job in made["jobs"].values():
        known = {**made.get("env", {}), **job.get("env", {})}
        for step in job["steps"]:
            for line in str(step.get("run", "")).splitlines():
                words = shlex.split(Template(line).safe_substitute(known))
                if words and Path(words[0]).name == "modbench":
                    found.append(words[1:])
    return found


def test_the_workflow_is_one_that_github_reads() -> None:
    made = workflow()
    assert set(made[True]) == {"push", "pull_request"}  # YAML 1.1 reads `on` as true, GitHub does not
    assert made["permissions"] == {"contents": "read"}
    for job in made["jobs"].values():
        assert {"runs-on", "steps", "timeout-minutes"} <= {*job}
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert "${{" not in str(step.get("run", "")), "an expression in a script is code of whoever wrote its value"
            if "uses" in step:
                assert re.fullmatch(r"actions/[\w/-]+@v\d+", step["uses"])
    keys = [step["with"]["key"] for step in made["jobs"]["any-machine"]["steps"] if "key" in step.get("with", {})]
    assert [key.partition("$")[0] for key in keys] == ["modbench-base-"] * 2


def test_its_commands_are_commands_of_modbench() -> None:
    group = typer.main.get_command(app)
    found = commands(workflow())
    assert [words[0] for words in found] == ["run", "run", "gate", "run", "run", "run", "gate"]
    for name, *words in found:
        command = group.get_command(None, name)  # type: ignore[attr-defined]  # a group
        context = command.make_context(name, list(words))  # what the parser refuses ends the test
        assert not context.args
        if name == "gate":
            parse(context.params["fail_on"])
            assert context.params["style"] == "github"
            assert context.params["words"] == ["runs/new"]
            assert context.params["against"] == "runs/base"


@pytest.mark.slow
@pytest.mark.parametrize("words", [words for words in commands(workflow()) if words[0] == "run"], ids=" ".join)
def test_its_runs_can_be_planned(words: list[str], modbench: Any) -> None:
    asked = [word for word in words[1:] if word != "--strict"]
    at = asked.index("-o")
    planned = modbench("plan", *asked[:at], *asked[at + 2 :])
    assert planned.returncode == 0, planned.stderr


def test_the_page_names_every_check() -> None:
    assert {word for word in CHECKS if f"`{word}" in PAGE} == {*CHECKS}
