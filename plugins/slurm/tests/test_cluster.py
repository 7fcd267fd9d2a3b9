"""Jobs of milliseconds on a real Slurm: every job once, whatever is cancelled, requeued or killed."""

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
from quiet import folder_at
from slurm_stubs import jobs_of, lines, work
from slurm_watching import beside, died, hurry, job_of, says, starts, tell, until

from modbench.plugins.slurm.submitting import submissions

STUBS = Path(__file__).with_name("slurm_stubs.py")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("slurm")]


def test_every_job_runs_once_in_arrays_that_the_queue_may_hold(tmp_path: Path) -> None:
    folder, jobs = folder_at(tmp_path / "run"), jobs_of("count", "memory", "time")
    work(jobs, folder, "--gres=gpu:1", "--max-submit=4")
    assert starts(folder) == Counter(job.name for job in jobs)
    assert all(folder.record(job).exists() for job in jobs)
    made = submissions(folder.path)
    scripts = {each.name: next(each.place.glob("*_submission.sh")).read_text() for each in made}
    assert max(len(each.tasks) for each in made) == 4
    assert all("#SBATCH --gres=gpu:1\n" in script for script in scripts.values())
    # Timed jobs of one comparison are one task: they run one after the other, on one node of their own.
    tasks = [(names, "#SBATCH --exclusive\n" in scripts[each.name]) for each in made for names in each.tasks]
    assert sorted(len(names) for names, alone in tasks if alone) == [2, 2]
    assert sorted(names for names, alone in tasks if not alone) == sorted(
        (job.name,) for job in jobs_of("count", "memory")
    )
    assert {line.split()[1] for line in lines(folder.path / "starts")} <= {"0", "1"}  # Slurm gave each one of two GPUs


def test_a_cancelled_job_is_recorded_and_a_resumed_run_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, jobs = folder_at(tmp_path / "run"), jobs_of("count")
    monkeypatch.setenv("STUB_SECONDS", "60")

    def cancel() -> None:
        until(lambda: starts(folder)[jobs[0].name])
        slurm_job = job_of(folder, jobs[0]).partition("_")[0]
        until(lambda: says("scancel", slurm_job))

    beside(cancel)
    work(jobs, folder)
    for job in jobs:
        assert died(folder, job).partition("; see slurm_jobs/")[0].endswith("was cancelled")
    monkeypatch.setenv("STUB_SECONDS", "0")
    for job in jobs:  # as `resume` does with jobs whose process died
        folder.record(job).unlink()
    work(jobs, folder)
    assert not any(died(folder, job) for job in jobs)


NOISY = [
    pytest.param("scontrol requeue", id="requeued"),
    pytest.param("scancel --signal=USR2", id="told of its end"),  # as Slurm does before the time limit
]


@pytest.mark.parametrize("told", NOISY)
def test_a_job_that_has_to_stop_saves_a_checkpoint_and_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    folder, (job, *_) = folder_at(tmp_path / "run"), jobs_of("train")
    monkeypatch.setenv("STUB_SECONDS", "60")

    def disturb() -> None:
        until(lambda: starts(folder)[job.name])
        time.sleep(0.3)  # the stub hears its signal
        tell(folder, job, *told.split())
        hurry(folder, job, 2)

    beside(disturb)
    work([job], folder, "--time=10", grace_s=60.0)
    assert not died(folder, job)
    assert starts(folder)[job.name] == 2
    assert (folder.path / f"{job.name}.kept").exists()
    assert lines(folder.path / "ends") == [job.name]
    assert len(submissions(folder.path)) == 1  # the Slurm job itself ran again


def test_a_killed_submitter_loses_no_job_and_starts_none_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, jobs = folder_at(tmp_path / "run"), jobs_of("count", trains=False)
    monkeypatch.setenv("STUB_SECONDS", "1")
    submitter = subprocess.Popen([sys.executable, STUBS, folder.path])
    until(lambda: starts(folder))
    submitter.kill()
    submitter.wait()
    rest = [job for job in jobs if not folder.record(job).exists()]
    assert rest
    work(rest, folder)
    assert starts(folder) == Counter(job.name for job in jobs)
    assert all(folder.record(job).exists() for job in jobs)


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
[[variants]]
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
    (file,) = (tmp_path / "run" / "jobs").glob("*.json")
    where = json.loads(file.read_text())["environment"]
    assert where["machine"]
    assert "cores" in where["hardware"]
    assert "Timed on" not in (tmp_path / "run" / "report.html").read_text()  # nothing was timed
    seen = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert (seen["state"], seen["remote"], seen["note"]) == ("finished", True, "")
    assert [(group["name"], group["done"], group["running"]) for group in seen["groups"]] == [("count", 1, 0)]
