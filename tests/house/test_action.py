"""`action.yml` without GitHub: its shell steps in order, in a repository made here, with stand-ins for Python and modbench."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
GIT = ("git", "-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "init.defaultBranch=main")
# Notes its words; `run` keeps the model of the folder where it runs; `ab` and `gate` end with what the variables say.
MODBENCH = """#!/bin/sh
echo "modbench $*" >>"$NOTES"
case "$1 $*" in
run*) for last; do :; done && mkdir "$last" && cat mine.py >"$last/model" && exit "${MEASURED:-0}" ;;
ab*--allow-inconclusive*) exit 0 ;;
ab*) echo "$PYTHONPATH" >"$NOTES.path" && exit "$AB" ;;
gate*--allow-inconclusive*) exit 0 ;;
gate*) cat "$2/model" "$3/model" >"$NOTES.models" && exit "$RUNS" ;;
esac
"""
# Has no torch; what it installs is a stand-in already.
PYTHON = """#!/bin/sh
case "$*" in
"-m pip cache dir") echo pip-cache ;;
"-m pip install"*) echo "pip ${PIP_INDEX_URL:+from $PIP_INDEX_URL }$*" >>"$NOTES" ;;
"-c import torch") exit 1 ;;
esac
"""


def git(where: Path, *words: str) -> str:
    done = subprocess.run([*GIT, *words], cwd=where, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(where: Path, **files: str) -> str:
    """Commit files, whose names have `_` for the dot, and return the hash."""
    for name, text in files.items():
        (where / name.replace("_", ".")).write_text(text, encoding="utf-8")
    git(where, "add", "-A")
    git(where, "commit", "-q", "--allow-empty", "-m", "parent of nothing")
    return git(where, "rev-parse", "HEAD")


@dataclass
class Job:
    """A job that uses the action.

    Attributes:
        repository: the checkout.
        temporary: what stands for the runner's folder.
        event: `github.event.pull_request`.
        codes: exit codes of `ab` and `gate`, by variable.
        used: inputs of other actions, by their name.
    """

    repository: Path
    temporary: Path
    event: dict[str, str] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    used: dict[str, dict[str, str]] = field(default_factory=dict)

    def run(self, **inputs: str) -> tuple[int, str, list[str]]:
        """Run the steps until one fails; return its exit code, what all printed, and what was called."""
        known = {f"inputs.{name}": each.get("default", "") for name, each in ACTION["inputs"].items()}
        known |= {f"inputs.{name.replace('_', '-')}": value for name, value in inputs.items()}
        known |= {f"github.event.pull_request.{name}": value for name, value in self.event.items()}
        known |= {"runner.temp": str(self.temporary)}
        notes, printed, code = self.temporary / "notes", "", 0
        notes.write_text("")
        for step in ACTION["runs"]["steps"]:
            if "uses" in step:
                self.used[step["uses"]] = {name: filled(value, known) for name, value in step["with"].items()}
                continue
            assert step["shell"] == "sh"
            output = self.temporary / "output"
            output.write_text("")
            environment = os.environ | {name: filled(value, known) for name, value in step.get("env", {}).items()}
            environment |= {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(self.temporary / "summary.md")}
            environment |= {"GITHUB_ACTION_PATH": str(ROOT), "RUNNER_TEMP": str(self.temporary), "NOTES": str(notes)}
            environment |= {"PATH": f"{self.temporary}:{os.defpath}", "AB": "0", "RUNS": "0"} | self.codes
            command, where = ["sh", "-e", "-c", step["run"]], self.repository
            done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
            printed += done.stdout + done.stderr
            told = (line.partition("=") for line in output.read_text(encoding="utf-8").splitlines())
            known |= {f"steps.{step['id']}.outputs.{name}": value for name, _, value in told}
            if code := done.returncode:
                break
        return code, printed, notes.read_text(encoding="utf-8").splitlines()


def filled(value: object, known: dict[str, str]) -> str:
    """A value of the file with its expressions put in; what GitHub does not know is empty."""
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: known.get(found[1], ""), str(value))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A repository with a model in two commits, and the stand-ins."""
    here = Job(tmp_path / "repository", tmp_path / "temporary")
    here.repository.mkdir()
    here.temporary.mkdir()
    for name, text in (("modbench", MODBENCH), ("python", PYTHON)):
        file = here.temporary / name
        file.write_text(text)
        file.chmod(0o755)
    git(here.repository, "init", "-q")
    commit(here.repository, mine_py="old\n")
    commit(here.repository, mine_py="new\n")
    return here


def test_inputs_are_used_and_no_script_holds_an_expression() -> None:
    steps = ACTION["runs"]["steps"]
    named = {name for step in steps for name in re.findall(r"inputs\.([\w-]+)", str(step))}
    assert named == {*ACTION["inputs"]}
    assert all("${{" not in step.get("run", "") for step in steps), "an expression in a script is code of its value"
    assert all(re.fullmatch(r"actions/[\w/-]+@v\d+", step["uses"]) for step in steps if "uses" in step)
    assert all(each["description"] for each in ACTION["inputs"].values())


def test_a_change_is_compared_with_the_commit_before_it(job: Job) -> None:
    base = git(job.repository, "rev-parse", "HEAD~1")
    code, printed, called = job.run(
        model="mine.py:build",
        args="""-k "mine and T128" --set 'metrics=["latency/forward"]'""",
        torch_index="of the CPU",
    )
    assert (code, printed) == (0, "")
    assert called[:-1] == ["pip from of the CPU -m pip install -q torch", f"pip -m pip install -q {ROOT}"]
    words = 'quick --model mine.py:build -k mine and T128 --set metrics=["latency/forward"] --fail-on slower:5% --max-time 10m'
    (folder,) = job.temporary.glob("modbench-*")
    assert called[-1] == f"modbench ab revisions {base} HEAD {words} -o {folder}/ab --format github"
    assert (job.temporary / "notes.path").read_text().startswith("src:.")
    assert job.used["actions/cache@v4"]["path"] == "pip-cache"


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ({"model": "mine.py:build,other.py:build(a=[1,2])"}, "has no other.py"),
        ({"model": "mine.py:build", "suite": "bench.toml"}, "has no bench.toml"),
        ({"model": ""}, "has no src/modbench"),
        ({"model": "mine.py:build", "base": "HEAD"}, "checked out"),
    ],
)
def test_the_first_pull_request_passes_with_a_notice(job: Job, inputs: dict[str, str], why: str) -> None:
    (job.repository / "src" / "modbench").mkdir(parents=True)
    (job.repository / "src" / "modbench" / "cli.py").touch()
    commit(job.repository, other_py="", bench_toml="")
    code, printed, called = job.run(**inputs)
    assert code == 0
    assert printed.startswith("::notice title=modbench::nothing to compare with yet: ")
    assert why in printed
    assert why in (job.temporary / "summary.md").read_text()
    assert called[-1].startswith("modbench plan")
    assert not any(each.startswith(("modbench ab", "modbench gate")) for each in called)


def test_a_pull_request_is_compared_with_what_it_would_be_merged_into(job: Job) -> None:
    started, into = git(job.repository, "rev-parse", "HEAD"), commit(job.repository)
    git(job.repository, "checkout", "-q", "-b", "change", started)
    commit(job.repository, mine_py="newer\n")
    change = commit(job.repository)
    job.event = {"base.sha": started, "head.sha": change}
    assert f"revisions {started} HEAD" in job.run(model="mine.py:build")[2][-1]  # its own commits are checked out
    git(job.repository, "checkout", "-q", "--detach", into)
    git(job.repository, "merge", "-q", "--no-ff", "-m", "merged", change)
    assert f"revisions {into} HEAD" in job.run(model="mine.py:build")[2][-1]  # GitHub's merge is
    assert f"revisions {change} HEAD" in job.run(model="mine.py:build", base="change")[2][-1]


def test_a_shallow_checkout_gets_the_base(job: Job, tmp_path: Path) -> None:
    base, full = git(job.repository, "rev-parse", "HEAD~1"), job.repository
    job.repository = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{full}", str(job.repository))
    code, _, called = job.run(model="mine.py:build")
    assert code == 0
    assert f"revisions {base} HEAD" in called[-1]


@pytest.mark.parametrize(
    ("codes", "inputs", "ends", "last"),
    [
        ({"AB": "1"}, {}, 1, "ab"),
        ({"AB": "5"}, {}, 5, "ab"),
        ({"AB": "5", "RUNS": "1"}, {}, 1, "ab"),
        ({"AB": "4", "RUNS": "5"}, {}, 4, "ab"),
        ({"AB": "1", "RUNS": "2"}, {}, 2, "ab"),
        ({"AB": "5", "RUNS": "5"}, {"allow_inconclusive": "true"}, 0, "ab"),
        ({"MEASURED": "1", "RUNS": "5"}, {"fail_on": "flops:0%"}, 5, "gate"),  # a side without any number
        ({"MEASURED": "2"}, {"fail_on": "larger:1%"}, 2, "run"),
    ],
)
def test_the_step_ends_as_ab_and_gate_do(
    job: Job, codes: dict[str, str], inputs: dict[str, str], ends: int, last: str
) -> None:
    job.codes = codes
    code, _, called = job.run(**{"model": "mine.py:build", "fail_on": "slower:5%, flops:0%"} | inputs)
    assert (code, called[-1].split()[1]) == (ends, last)


def test_a_checkout_of_modbench_compares_its_own_revisions(job: Job) -> None:
    (job.repository / "src" / "modbench").mkdir(parents=True)
    (job.repository / "src" / "modbench" / "cli.py").touch()
    commit(job.repository)
    commit(job.repository)
    assert " --self " in job.run()[2][-1]


def test_counts_are_compared_with_a_run_of_the_base_that_is_kept(job: Job) -> None:
    code, _, called = job.run(model="mine.py:build", fail_on="labels,larger:1%,loss:1%,cpu:2%")
    assert code == 0
    assert (job.temporary / "notes.models").read_text() == "old\nnew\n"
    runs = [each for each in called if each.startswith("modbench run")]
    metrics = "flops/forward,memory/peak_allocated,loss/val,loss/val_causal"
    words = f"--seeds 0,1,2 quick --model mine.py:build --only --match none --set metrics={metrics} -o"
    assert [words in each for each in runs] == [True] * 2
    assert "--fail-on labels,larger:1%,loss:1% " in called[-2]
    assert "--fail-on cpu:2% " in called[-1]
    kept = job.used["actions/cache/restore@v4"]
    assert kept == job.used["actions/cache/save@v4"]
    assert Path(kept["path"]).is_dir()
    assert git(job.repository, "rev-parse", "HEAD~1") in kept["key"]

    again = job.run(model="mine.py:build", fail_on="labels,larger:1%,loss:1%,cpu:2%")[2]
    assert len([each for each in again if each.startswith("modbench run")]) == 1
    job.run(model="mine.py:build", fail_on="labels,larger:1%")
    assert job.used["actions/cache/restore@v4"]["key"] != kept["key"]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"model": ""}, "::error title=modbench::"),
        ({"fail_on": "slow:2%"}, "::error title=modbench::"),
        ({"fail_on": "slower:2%,cpu:2%"}, "::error title=modbench::"),
        ({"base": "nowhere"}, "::error title=modbench::"),
        ({"args": '-k "mine'}, "not closed"),
    ],
)
def test_a_mistake_ends_with_2_before_anything_is_measured(job: Job, inputs: dict[str, str], said: str) -> None:
    code, printed, called = job.run(**{"model": "mine.py:build"} | inputs)
    assert (code, said in printed) == (2, True)
    assert not any(each.startswith("modbench") for each in called)


def test_the_project_is_installed_by_its_own_command_or_with_its_pyproject(job: Job) -> None:
    assert job.run(model="mine.py:build", install='echo own "words" >>"$NOTES"')[2][0] == "own words"
    commit(job.repository, pyproject_toml="")
    assert job.run(model="mine.py:build")[2][:2] == [f"pip -m pip install -q {ROOT}", "pip -m pip install -q ."]


def test_modbench_is_installed_where_the_command_of_the_project_did_not(job: Job) -> None:
    (job.temporary / "modbench").unlink()
    assert job.run(model="mine.py:build", install="true")[2][-1] == f"pip -m pip install -q {ROOT}"
