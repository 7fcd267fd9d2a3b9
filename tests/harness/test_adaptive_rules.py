"""A rule is one file: it is planned, run, resumed, watched and shown; what it can do wrong is named.

It is the rule of the plug-in `stubs`. That nothing is lost where a runner is killed: test_fault_table.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stub_jobs
from in_process import succeeded
from own_plugin import use, write

Modbench = Callable[..., subprocess.CompletedProcess[str]]

STUBS = Path(__file__).with_name("stubs")
RULE = (STUBS / "adaptive_rules" / "stub_chain.py").read_text()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, and in it a copy of the plug-in, whose rule asks for one length after the other."""
    bench = Path(shutil.copytree(STUBS, tmp_path / "bench", ignore=shutil.ignore_patterns("__pycache__")))
    suite = bench / "suites" / "stubs.toml"
    suite.write_text(suite.read_text().replace("[8, 16]", "[8, 16, 32, 64]"))
    use(monkeypatch, bench)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))
    return tmp_path


def alone(run: Path) -> dict[str, int]:
    """When each of the jobs that the rule decides about was written, by length."""
    files = (run / "jobs").glob("stub_alone-*.json")
    return {file.name.partition("-T")[2].partition("-")[0]: file.stat().st_mtime_ns for file in files}


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn", "jobs_here")
def test_a_users_rule_is_planned_run_and_shown(here: Path, modbench: Modbench, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = RULE.replace(
        "        del suite\n", "        if len(records) == 3:\n            return Decision(ended=True, why='enough')\n"
    )
    write(here / "bench", {"adaptive_rules/stub_chain.py": ended})
    planned = json.loads(modbench("plan", "stubs", "--device", "cpu", "--json").stdout)
    assert planned["jobs_most"] - planned["jobs"] == 3

    def interrupt(_beside: Path, event: str, job: str, **_: Any) -> None:
        if job.startswith("stub_alone") and "T16-" in job:
            raise KeyboardInterrupt(event)

    with monkeypatch.context() as patch:
        patch.setattr(stub_jobs, "note", interrupt)
        interrupted = modbench("run", "stubs", "--device", "cpu", "-o", "run")
    assert interrupted.returncode == 4, interrupted.stderr
    run = here / "run"
    own = json.loads((run / "run.json").read_text())["code"]  # a resumed run names what changed of it
    assert own.keys() >= {"bench/passes/stub_alone.py", "bench/adaptive_rules/stub_chain.py"}
    decided = json.loads((run / "decisions" / "chain.json").read_text())
    assert (decided["rule"], [*decided["asked"].values()], decided["ended"]) == ("stub_chain", [0], False)
    assert all("T16-" in job for job in decided["asked"])
    assert modbench("watch", "run", "--once").returncode == 4
    assert modbench("report", "run").returncode == 4
    assert "after 1 of 4" in (run / "report.html").read_text()
    before = alone(run)
    assert before.keys() == {"8"}
    succeeded(modbench("resume", "run"))
    after = alone(run)
    assert after.keys() == {"8", "16", "32"}
    assert after["8"] == before["8"]
    assert json.loads((run / "decisions" / "chain.json").read_text())["why"] == "enough"
    assert "chain: enough" in modbench("watch", "run", "--once").stdout
    assert "enough" in (run / "report.html").read_text()
    assert "stub_chain did not ask" in (run / "cases.csv").read_text()


ABSENT = RULE.replace("[job.name for job in jobs if job.name not in records][:1]", '["count-T8-B1-fp32-cpu1"]')


@pytest.mark.parametrize(
    ("command", "name", "rule", "code", "said"),
    [
        ("plan", "stub_chain", "RULE = 1\n", 2, "no groups, is_conditional, decide"),  # it may decide about every run
        ("plan", "other", RULE, 2, "'other' and 'stub_chain' would both decide"),
        pytest.param("run", "stub_chain", ABSENT, 3, "'count-T8-B1-fp32-cpu1', which is no", marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("jobs_here")
def test_a_rule_that_cannot_be_used_or_asks_for_what_is_not_there_is_named(
    command: str, name: str, rule: str, code: int, said: str, here: Path, modbench: Modbench
) -> None:
    write(here / "bench", {f"adaptive_rules/{name}.py": rule})
    done = modbench(command, "stubs", "--device", "cpu")
    assert done.returncode == code
    assert said in done.stderr
