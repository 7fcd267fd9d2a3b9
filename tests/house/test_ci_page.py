"""The workflows of docs/ci.md and of this project: YAML that GitHub could read, with inputs that the action has."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types
from in_process import succeeded

from modbench.reports.questions.gate.fail_on import CHECKS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
(PRINTED,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
# YAML 1.1 reads `on` as true, GitHub does not.
TEACHES: dict[Any, Any] = yaml.safe_load(PRINTED)
USES: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def gate_of(workflow: dict[Any, Any]) -> dict[str, str]:
    """Inputs of the action."""
    (found,) = (step for step in steps(workflow) if step.get("uses") in {"./", "OWNER/modbench@main"})
    given: dict[str, str] = found["with"]
    return given


def test_the_page_begins_with_a_workflow_of_eight_lines() -> None:
    assert PAGE.index(PRINTED) < 80
    assert PRINTED.count("\n") <= 8
    assert TEACHES[True] == "pull_request"


@pytest.mark.parametrize("workflow", [TEACHES, USES], ids=["page", "project"])
def test_a_workflow_reads_only_and_gives_the_action_inputs_that_it_has(workflow: dict[Any, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert {*gate_of(workflow)} <= {*ACTION["inputs"]}
    for step in steps(workflow):
        assert ("uses" in step) != ("run" in step)
        assert "${{" not in str(step.get("run", "")), "an expression in a script is code of whoever wrote its value"
        assert re.fullmatch(r"actions/[\w-]+@v\d+|\./|OWNER/modbench@main", step.get("uses", "./"))


def test_the_project_runs_the_readmes_command_on_every_python() -> None:
    command = re.findall(r"^python3 -m venv .*/tox$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    jobs = USES["jobs"]
    assert [step["run"] for step in jobs["tests"]["steps"] if "run" in step] == command
    classified = [each.removeprefix("Programming Language :: Python :: ") for each in PROJECT["project"]["classifiers"]]
    versions = [each for each in classified if re.fullmatch(r"3\.\d+", each)]
    assert jobs["tests"]["strategy"]["matrix"]["python-version"] == versions
    assert [step["run"] for step in jobs["site"]["steps"] if "run" in step] == [f"{command[0]} -e docs"]


@pytest.mark.slow
def test_the_gate_of_the_project_has_cases(modbench: Any) -> None:
    given = gate_of(USES)
    suite = given.get("suite", ACTION["inputs"]["suite"]["default"])
    planned = succeeded(modbench("plan", suite, *shlex.split(given["args"]), "--json"))
    assert "mod[c0.125-T128" in planned.stdout


def test_the_page_names_every_check_and_every_input() -> None:
    assert {word for word in CHECKS if f"`{word}" in PAGE} == {*CHECKS}
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| (?:`([^`]+)`)?[^|`]*\|$", PAGE, flags=re.MULTILINE)
    assert dict(rows) == {name: each.get("default", "") for name, each in ACTION["inputs"].items()}
