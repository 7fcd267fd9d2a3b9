"""Units of milliseconds on a real Slurm: every unit once, whatever is cancelled, requeued or killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from in_process import succeeded
from slurm_stubs import folder_at, lines, units_of, work
from slurm_watching import beside, died, hurry, job_of, says, starts, tell, until

from modbench.harness.execution.slurm.submitting import submissions

STUBS = Path(__file__).with_name("slurm_stubs.py")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("slurm")]


def test_every_unit_runs_once_in_arrays_that_the_queue_may_hold(tmp_path: Path) -> None:
    folder, units = folder_at(tmp_path / "run"), units_of("count", "memory", "time")
    work(units, folder, "--gres=gpu:1", "--max-submit=4")
    assert starts(folder) == Counter(unit.name for unit in units)
    assert all(folder.record(unit).exists() for unit in units)
    made = submissions(folder.path)
    scripts = {each.name: next(each.place.glob("*_submission.sh")).read_text() for each in made}
    assert max(len(each.tasks) for each in made) == 4
    assert all("#SBATCH --gres=gpu:1\n" in script for script in scripts.values())
    # Timed units of one comparison are one task: they run one after the other, on one node of their own.
    tasks = [(names, "#SBATCH --exclusive\n" in scripts[each.name]) for each in made for names in each.tasks]
    assert sorted(len(names) for names, alone in tasks if alone) == [2, 2]
    assert sorted(names for names, alone in tasks if not alone) == sorted(
        (unit.name,) for unit in units_of("count", "memory")
    )
    assert {line.split()[1] for line in lines(folder.path / "starts")} <= {"0", "1"}  # Slurm gave each one of two GPUs


def test_a_cancelled_job_is_recorded_and_a_resumed_run_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, units = folder_at(tmp_path / "run"), units_of("count")
    monkeypatch.setenv("STUB_SECONDS", "60")

    def cancel() -> None:
        until(lambda: starts(folder)[units[0].name])
        job = job_of(folder, units[0]).partition("_")[0]
        until(lambda: says("scancel", job))

    beside(cancel)
    work(units, folder)
    for unit in units:
        assert died(folder, unit).partition("; see jobs/")[0].endswith("was cancelled")
    monkeypatch.setenv("STUB_SECONDS", "0")
    for unit in units:  # as `resume` does with units whose process died
        folder.record(unit).unlink()
    work(units, folder)
    assert not any(died(folder, unit) for unit in units)


DISTURBED = [
    pytest.param("scontrol requeue", id="requeued"),
    pytest.param("scancel --signal=USR2", id="told of its end"),  # as Slurm does before the time limit
    pytest.param("", id="preempted", marks=pytest.mark.proof),  # as a requeued one, but for who asks for it
]


@pytest.mark.parametrize("told", DISTURBED)
def test_a_job_that_has_to_stop_saves_a_checkpoint_and_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    folder, (unit, *_) = folder_at(tmp_path / "run"), units_of("train")
    monkeypatch.setenv("STUB_SECONDS", "60")

    def disturb() -> None:
        until(lambda: starts(folder)[unit.name])
        time.sleep(0.3)  # the stub hears its signal
        if told:
            tell(folder, unit, *told.split())
        else:
            until(lambda: says("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=true"))
        hurry(folder, unit, 2)

    beside(disturb)
    work([unit], folder, "--time=10", grace_s=60.0)
    assert not died(folder, unit)
    assert starts(folder)[unit.name] == 2
    assert (folder.path / f"{unit.name}.kept").exists()
    assert lines(folder.path / "ends") == [unit.name]
    assert len(submissions(folder.path)) == 1  # the job itself ran again


def test_a_killed_submitter_loses_no_job_and_starts_none_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, units = folder_at(tmp_path / "run"), units_of("count", trains=False)
    monkeypatch.setenv("STUB_SECONDS", "1")
    submitter = subprocess.Popen([sys.executable, STUBS, folder.path])
    until(lambda: starts(folder))
    submitter.kill()
    submitter.wait()
    rest = [unit for unit in units if not folder.record(unit).exists()]
    assert rest
    work(rest, folder)
    assert starts(folder) == Counter(unit.name for unit in units)
    assert all(folder.record(unit).exists() for unit in units)


SUITE = """
name = "counts"
effort = "smoke"
metrics = ["flops/forward"]
[shape]
d_model = 32
n_layers = 2
n_heads = 2
[grid]
seq_len = [16]
batch_size = [1]
[[arms]]
model = "dense"
"""


@pytest.mark.usefixtures("undrawn")
def test_the_command_line_runs_a_suite_on_the_cluster(modbench: Any, tmp_path: Path) -> None:
    """With a real worker: the record names the node. What sbatch refuses is mended by a resume with other options."""
    (tmp_path / "counts.toml").write_text(SUITE)
    (tmp_path / "site.sh").write_text("#SBATCH --partition=nowhere\n#SBATCH --mem=1000\n")
    words = ("run", "counts.toml", "--launcher", "slurm", "--launcher-profile", "site.sh", "-o", "run")
    refused = modbench(*words, cwd=tmp_path)
    assert refused.returncode == 2
    assert "invalid partition specified: nowhere" in refused.stderr
    assert "run -- OPTIONS` goes on" in refused.stderr
    mistyped = modbench("resume", "run", "--", "--partitoin=debug", cwd=tmp_path)
    assert (mistyped.returncode, "unrecognized option '--partitoin=debug'" in mistyped.stderr) == (2, True)
    succeeded(modbench("resume", "run", "--", "--partition=debug", "--time=5", cwd=tmp_path))
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["launcher_options"] == ["--partition=nowhere", "--mem=1000"]
    (file,) = (tmp_path / "run" / "units").glob("*.json")
    where = json.loads(file.read_text())["environment"]
    assert where["machine"]
    assert "cores" in where["hardware"]
    assert "Timed on" not in (tmp_path / "run" / "report.html").read_text()  # nothing was timed
    seen = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert (seen["state"], seen["remote"], seen["note"]) == ("finished", True, "")
    assert [(group["name"], group["done"], group["running"]) for group in seen["groups"]] == [("count", 1, 0)]
