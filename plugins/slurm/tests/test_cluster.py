"""Jobs of milliseconds on a real Slurm: every job once, whatever is cancelled, requeued, killed or lost, on one node or two."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
from in_process import succeeded
from present import present
from quiet import Quiet
from slurm_stubs import jobs_of, lines, on_ranks, work
from slurm_watching import beside, died, hurry, job_of, says, starts, tell, until
from test_ranks import planned

from modbench.harness.core import atomic_files
from modbench.harness.execution import runner
from modbench.harness.execution.launchers.local import LocalLauncher
from modbench.harness.execution.run_phase import Run, Slots
from modbench.harness.results import run_folder
from modbench.harness.results.record_files import read_record
from modbench.harness.results.run_folder import RunFolder
from modbench.plugins.slurm import launcher as slurm
from modbench.plugins.slurm.submitting import submissions

ON_BOTH = ("--partition=both", "--nodes=2")
STUBS = Path(__file__).with_name("slurm_stubs.py")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("slurm")]


def test_every_job_runs_once_in_arrays_that_the_queue_may_hold(folder: RunFolder) -> None:
    jobs = jobs_of("count", "memory", "time")
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
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = jobs_of("count")
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


@pytest.mark.parametrize(
    ("told", "nodes"),
    [
        pytest.param("scontrol requeue", 1, id="requeued"),
        pytest.param("scancel --signal=USR2", 1, id="told of its end"),  # as Slurm does before the time limit
        pytest.param("scancel --signal=USR2", 2, id="told of its end, on two nodes"),
    ],
)
def test_a_job_that_has_to_stop_saves_a_checkpoint_and_runs_again(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, told: str, nodes: int
) -> None:
    job = jobs_of("train")[0] if nodes == 1 else on_ranks(nodes)
    monkeypatch.setenv("STUB_SECONDS", "60")

    def disturb() -> None:
        until(lambda: starts(folder)[job.name] == nodes)
        time.sleep(0.3)  # the stubs hear their signal
        tell(folder, job, *told.split())
        hurry(folder, job, 2 * nodes)

    beside(disturb)
    work([job], folder, *(ON_BOTH if nodes == 2 else ()), "--time=10", grace_s=60.0)
    assert not died(folder, job)
    # Of two nodes the second may come when the first has left a record.
    assert starts(folder)[job.name] in ({2} if nodes == 1 else {3, 4})
    assert (folder.path / f"{job.name}.kept").exists()
    assert lines(folder.path / "ends") == [job.name]
    assert len(submissions(folder.path)) == 1  # the Slurm job itself ran again


def test_a_killed_submitter_loses_no_job_and_starts_none_twice(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = jobs_of("count", trains=False)
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
shape = { d_model = 32, n_layers = 2, n_heads = 2 }
grid = { seq_len = [16], batch_size = [1] }
variants = [{ model = "dense" }]
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
    assert json.loads(file.read_text())["environment"]["machine"]
    seen = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert (seen["state"], seen["remote"], seen["note"]) == ("finished", True, "")
    assert [(group["name"], group["done"], group["running"]) for group in seen["groups"]] == [("count", 1, 0)]


# --- two nodes


def test_ranks_on_two_nodes_find_the_losses_of_one_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = planned("dense", tmp_path, ranks=2)
    (job,) = (job for job in made.jobs if job.made_in == "train")
    made = made.model_copy(update={"jobs": (job,)})
    one, two = (run_folder.create(str(tmp_path / name), "ranks") for name in ("one", "two"))
    for folder in (one, two):
        folder.write_run(made, {}, [], atomic_files.now())
    with mock.patch.object(slurm, "GRACE_S", 1.0):
        runner.run(made, two, launcher="slurm", options=(*ON_BOTH, "--mem=2000"))
    Run(LocalLauncher(cold=True, threads=1), one, Quiet()).phase(Slots((job,), 1, ranks=2), {job.name: 300.0})
    assert len(submissions(two.path)) == 1
    ended = [read_record(each.record(job), job) for each in (one, two)]
    assert present(ended[1].environment).ranks == 2
    first, second = ([each.samples for each in record.outcomes if each.metric == "loss/val"] for record in ended)
    assert first == second != [{}]


def lose(cluster: Path, slurm_job: str) -> None:
    """End the second node's daemon and everything of a Slurm job at once, as a power cut does."""
    os.kill(int((cluster / "two.pid").read_text()), signal.SIGKILL)
    every = [*psutil.process_iter()]
    for kills in (
        lambda each: " ".join(each.cmdline()).startswith(f"slurmstepd: [{slurm_job}."),  # else they tell of an end
        lambda each: each.environ().get("SLURM_JOB_ID") == slurm_job,
    ):
        for each in every:
            with contextlib.suppress(psutil.Error):
                if kills(each):
                    each.kill()
    until(lambda: says("scontrol", "update", "nodename=two", "state=down", "reason=lost"))


def test_a_lost_node_loses_no_job_and_none_runs_twice(
    cluster: Path, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Slurm's own requeueing: modbench submits the job again."""
    job, *_ = jobs_of("train")
    monkeypatch.setenv("STUB_SECONDS", "60")

    def disturb() -> None:
        until(lambda: starts(folder)[job.name] == 1)
        lose(cluster, job_of(folder, job))
        monkeypatch.setenv("STUB_SECONDS", "0")  # of a new Slurm job
        subprocess.run(["slurmd", "-N", "two"], check=True, capture_output=True)

    lost = beside(disturb)
    work([job], folder, "--partition=both", "--nodelist=two", "--no-requeue")
    lost.join()
    assert Counter(lines(folder.path / "ends")) == {job.name: 1}
    assert folder.record(job).exists()
    # With the kill that was meant for the lost Slurm job, Slurm may end the one that it starts again: a new Slurm job then
    # takes the job.
    assert starts(folder)[job.name] in {2, 3}
    assert len(submissions(folder.path)) > 1
