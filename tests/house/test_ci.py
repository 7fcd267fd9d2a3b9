"""Workflows, of docs/ci.md and of this project, hooks and `tox.ini`: GitHub could read them, and they agree."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types
from in_process import succeeded

from modbench.reports.questions.gate.fail_on import CHECKS
from modbench.version import __version__

ROOT = Path(__file__).parents[2]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


PAGE = text("docs/ci.md")
(PRINTED,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
# YAML 1.1 reads `on` as true, GitHub does not.
TEACHES: dict[Any, Any] = yaml.safe_load(PRINTED)
USES: dict[Any, Any] = yaml.safe_load(text(".github/workflows/ci.yml"))
ACTION: dict[str, Any] = yaml.safe_load(text("action.yml"))
PROJECT = tomllib.loads(text("pyproject.toml"))["project"]
PYTHONS = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), flags=re.MULTILINE)


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def gate_of(workflow: dict[Any, Any]) -> dict[str, str]:
    """Inputs of the action."""
    (found,) = (step for step in steps(workflow) if step.get("uses") in {"./", "OWNER/modbench@main"})
    given: dict[str, str] = found["with"]
    return given


@pytest.mark.parametrize("workflow", [TEACHES, USES], ids=["page", "project"])
def test_a_workflow_reads_only_and_gives_the_action_inputs_that_it_has(workflow: dict[Any, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert {*gate_of(workflow)} <= {*ACTION["inputs"]}
    for step in steps(workflow):
        assert ("uses" in step) != ("run" in step)
        assert "${{" not in str(step.get("run", "")), "an expression in a script is code of whoever wrote its value"
        assert re.fullmatch(r"actions/[\w-]+@v\d+|\./|OWNER/modbench@main", step.get("uses", "./"))


def test_the_project_runs_the_readmes_command_on_every_python() -> None:
    (command,) = re.findall(r"^python3 -m venv .*/tox$", text("README.md"), re.MULTILINE)
    assert command in text(".ci/run")
    jobs = USES["jobs"]
    assert [step["run"] for step in jobs["tests"]["steps"] if "run" in step] == [command]
    assert jobs["tests"]["strategy"]["matrix"]["python-version"] == PYTHONS
    assert [step["run"] for step in jobs["site"]["steps"] if "run" in step] == [f"{command} -e docs"]


def test_a_release_is_built_by_tox_and_published_without_a_secret() -> None:
    """What builds cannot publish, what publishes runs nothing of ours, and a tag of another version ends the first."""
    workflow: dict[Any, Any] = yaml.safe_load(text(".github/workflows/publish.yml"))
    build, publish = (workflow["jobs"][name] for name in ("build", "publish"))
    assert (workflow[True], workflow["permissions"]) == ({"release": {"types": ["published"]}}, {"contents": "read"})
    assert (publish["needs"], publish["permissions"]) == ("build", {"id-token": "write"})
    uses = [step.get("uses", "").partition("@")[0] for step in publish["steps"]]
    assert uses == ["actions/download-artifact", "pypa/gh-action-pypi-publish"]
    check, dist = (step["run"] for step in build["steps"] if "run" in step)
    assert dist.endswith("/tox -e dist")
    for version, ends in ((__version__, 0), (f"{__version__}0", 1)):
        tag = os.environ | {"GITHUB_REF_NAME": f"v{version}"}
        assert subprocess.run(["/bin/bash", "-e", "-c", check], cwd=ROOT, env=tag, check=False).returncode == ends


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


def test_every_supported_python_and_the_oldest_torch_are_tested_before_a_release() -> None:
    """What pyproject.toml promises and what `tox -e proof` runs are the same; a Python that is missing is no reason to skip."""
    (oldest,) = [need.partition(">=")[2] for need in PROJECT["dependencies"] if need.startswith("torch>=")]
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    short, torch = [f"py{version.replace('.', '')}" for version in PYTHONS], f"torch{oldest.replace('.', '')}"
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    wanted = [f"proof-{short[0]}", *short[1:], f"{short[0]}-{torch}"]
    assert f"run -e {','.join(wanted)} --" in tox["testenv:proof"]["commands"]
    assert f"testenv:proof-{{{','.join(short)}}}" in tox
    assert f"{torch}: torch == {oldest}.*" in tox["testenv"]["deps"]
    assert tox["tox"]["skip_missing_interpreters"] == "false"
