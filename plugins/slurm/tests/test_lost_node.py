"""A node of a real Slurm that is lost in the middle of a job and comes back: the job has one record."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from quiet import folder_at
from slurm_stubs import jobs_of, lines, work
from slurm_watching import beside, job_of, says, starts, until

from modbench.plugins.slurm.submitting import submissions

pytestmark = [pytest.mark.slow]


def lose(cluster: Path, slurm_job: str) -> None:
    """End the second node's daemon and everything of a Slurm job at once, as a power cut does."""
    kill([int((cluster / "two.pid").read_text())])
    kill(
        [pid for pid in processes() if called(pid).startswith(f"slurmstepd: [{slurm_job}.".encode())]
    )  # else they tell of an end
    kill([pid for pid in processes() if f"SLURM_JOB_ID={slurm_job}".encode() in environment(pid)])
    until(lambda: says("scontrol", "update", "nodename=two", "state=down", "reason=lost"))


def kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def processes() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]


def called(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def environment(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def test_a_lost_node_loses_no_job_and_none_runs_twice(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Slurm's own requeueing, which `test_cluster.py` tests: modbench submits the job again."""
    folder, (job, *_) = folder_at(tmp_path / "run"), jobs_of("train")
    monkeypatch.setenv("STUB_SECONDS", "60")

    def disturb() -> None:
        until(lambda: starts(folder)[job.name] == 1)
        lose(slurm, job_of(folder, job))
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
