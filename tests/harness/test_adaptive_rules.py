"""A rule is one file: it is planned, run, resumed, watched and shown; what it can do wrong is named.

That nothing is lost where a runner is killed: test_fault_table.py, whose suite has a rule too.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from in_process import succeeded
from own_plugin import use, write

Modbench = Callable[..., subprocess.CompletedProcess[str]]

TICK = '''"""Notes the length of its input; is interrupted where a file says so."""
from modbench.harness.domain.notes import Notes
from modbench.harness.domain.passes import Pass
from modbench.harness.results import workspace
from modbench.harness.results.measured_or_missing import measured

def run(job, metrics):
    length = job.comparison.grid_point.seq_len
    if workspace.HERE and (workspace.HERE.run.parent / f"interrupt{length}").exists():
        raise KeyboardInterrupt
    for case in job.comparison.variants:
        yield measured(case, metrics[0], {"value": [float(length)]})

PASS = Pass(name="tick", run=run, notes=Notes, order=9)
'''
METRIC = '''"""Lengths."""
from modbench.harness.core.contracts import Metric
METRICS = (Metric(key="tick/length", unit="count", better="neither", measured_by="tick", workload="forward",
                  about="A length", measure=lambda _: 0.0, scored_as="difference"),)
'''
RULE = '''"""Asks for the next length until one is long enough."""
from modbench.harness.planning.adaptive import AdaptiveRule, Decision

class Longer(AdaptiveRule):
    def groups(self, suite, jobs):
        ticks = [job for job in jobs if job.made_in == "tick"]
        return {"lengths": ticks} if ticks else {}

    def is_conditional(self, suite, job):
        return job.comparison.grid_point.seq_len > min(suite.grid.seq_len)

    def decide(self, suite, jobs, records):
        last = max(record.outcomes[0].samples["value"][0] for record in records.values())
        if last > 16:
            return Decision(ended=True, why=f"{len(records)} lengths, since {last:g} is enough")
        return Decision([job.name for job in jobs if job.name not in records][:1], why=f"{last:g} is too short")

RULE = Longer()
'''
SUITE = """
name = "ticks"
effort = "smoke"
metrics = ["tick/length"]
shape = { d_model = 16, n_layers = 1, n_heads = 1 }
grid = { seq_len = [8, 16, 32, 64] }
variants = [{ model = "dense" }]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a suite, and beside it a pass, its metric and a rule, each one file."""
    files = {"passes/tick.py": TICK, "metrics/ticks.py": METRIC, "adaptive_rules/longer.py": RULE}
    use(monkeypatch, write(tmp_path / "bench", files))
    (tmp_path / "ticks.toml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn", "jobs_here")
def test_a_users_rule_is_planned_run_resumed_watched_and_shown(here: Path, modbench: Modbench) -> None:
    planned = json.loads(modbench("plan", "ticks.toml", "--device", "cpu", "--json").stdout)
    assert planned["jobs_most"] - planned["jobs"] == 3
    (here / "interrupt16").touch()
    interrupted = modbench("run", "ticks.toml", "--device", "cpu", "-o", "run")
    assert interrupted.returncode == 4, interrupted.stderr
    (here / "interrupt16").unlink()
    run = here / "run"
    own = json.loads((run / "run.json").read_text())["code"]  # a resumed run names what changed of it
    assert own.keys() >= {"bench/passes/tick.py", "bench/adaptive_rules/longer.py"}
    (eight,) = (run / "jobs").glob("tick-*.json")
    decided = json.loads((run / "decisions" / "lengths.json").read_text())
    asked = {eight.stem.replace("T8-", "T16-"): 0}
    assert (decided["rule"], decided["asked"], decided["ended"]) == ("longer", asked, False)
    assert modbench("watch", "run", "--once").returncode == 4
    assert modbench("report", "run").returncode == 4
    assert "8 is too short" in (run / "report.html").read_text()
    before = eight.stat().st_mtime_ns
    succeeded(modbench("resume", "run"))
    assert eight.stat().st_mtime_ns == before
    lengths = {file.name.partition("-T")[2].partition("-")[0] for file in (run / "jobs").glob("tick-*.json")}
    assert lengths == {"8", "16", "32"}
    why = "3 lengths, since 32 is enough"
    assert json.loads((run / "decisions" / "lengths.json").read_text())["why"] == why
    assert f"lengths: {why}" in modbench("watch", "run", "--once").stdout
    assert why in (run / "report.html").read_text()
    assert "longer did not ask" in (run / "cases.csv").read_text()


ABSENT = RULE.replace("[job.name for job in jobs if job.name not in records][:1]", '["count-T8-B1-fp32-cpu1"]')


@pytest.mark.parametrize(
    ("command", "name", "rule", "code", "said"),
    [
        ("plan", "longer", "RULE = 1\n", 2, "no groups, is_conditional, decide"),  # it may decide about every run
        ("plan", "other", RULE, 2, "'longer' and 'other' would both decide"),
        pytest.param("run", "longer", ABSENT, 3, "'count-T8-B1-fp32-cpu1', which is no", marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("jobs_here")
def test_a_rule_that_cannot_be_used_or_asks_for_what_is_not_there_is_named(
    command: str, name: str, rule: str, code: int, said: str, here: Path, modbench: Modbench
) -> None:
    write(here / "bench", {f"adaptive_rules/{name}.py": rule})
    done = modbench(command, "ticks.toml", "--device", "cpu")
    assert done.returncode == code
    assert said in done.stderr
