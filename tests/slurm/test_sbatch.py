"""An sbatch that fails, secrets in its options, and the end of units in a job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_stubs import TOKEN, folder_at, stub_plan, submission

from modbench.harness.core.errors import UsageError
from modbench.harness.domain.records import Death
from modbench.harness.execution.phase import write_failure
from modbench.harness.execution.slurm import queue
from modbench.harness.execution.slurm.options import parse
from modbench.harness.execution.slurm.submitting import Group, send
from modbench.harness.results import attempts
from modbench.harness.results.attempts import Submission


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("sbatch: unrecognized option '--foo'", 2),
        ("sbatch: error: invalid partition specified: night", 2),
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified", 2),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", 2),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", 3),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", 3),
        ("sbatch: error: Batch job submission failed: Invalid authentication credential", 3),
        ("", 3),
    ],
)
def test_only_an_option_that_sbatch_names_is_the_users_fault(said: str, code: int) -> None:
    refused = queue.refusal(["--partition=x", "--export=HF_TOKEN=abc", "--api-key=abc"], said, "all is kept")
    assert refused.exit_code == code
    assert "abc" not in str(refused)
    assert ("all is kept" in str(refused)) == (code == 3)


class _Inside:
    """Stands for what a job runs; no job runs here."""


SBATCH = """#!/bin/sh
ps -o sid= -p $$ > "$TOLD/session"
umask > "$TOLD/umask"
cp "$1" "$TOLD/script"
{end}
"""


def fake_sbatch(place: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """Put an sbatch and an srun first on the path."""
    (place / "bin").mkdir()
    for name in ("sbatch", "srun"):
        file = place / "bin" / name
        file.write_text(SBATCH.replace("{end}", end))
        file.chmod(0o755)
    monkeypatch.setenv("TOLD", str(place))
    monkeypatch.setenv("PATH", f"{place / 'bin'}:{os.environ['PATH']}")


def send_counts(place: Path, *words: str) -> Submission:
    folder = folder_at(place / "run")
    tasks = [[(unit, 60.0)] for unit in stub_plan(trains=False).units if unit.made_in == "count"]
    return send(folder, Group(timed=False, threads=1), tasks, parse(words), make=_Inside)  # type: ignore[arg-type]


def test_an_sbatch_that_fails_after_its_jobs_were_taken_leaves_their_names_and_gives_them_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    fake_sbatch(tmp_path, monkeypatch, 'echo "sbatch: error: Socket timed out on send/recv operation" >&2; exit 1')
    with pytest.raises(queue.QueueError, match=r"Socket timed out.*modbench resume"):
        send_counts(tmp_path)
    (left,) = attempts.submissions(tmp_path / "run")
    assert left.job is None
    assert all(attempts.is_void(tmp_path / "run", left.token, task) for task in range(len(left.tasks)))


def test_a_job_that_sbatch_refuses_says_what_is_kept_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    fake_sbatch(
        tmp_path, monkeypatch, 'echo "sbatch: error: Invalid generic resource (gres) specification" >&2; exit 1'
    )
    with pytest.raises(UsageError, match=r"sbatch refuses .*gres=gpu:9.*kept: `modbench resume .*/run -- "):
        send_counts(tmp_path, "--gres=gpu:9")


def test_sbatch_runs_in_a_session_of_its_own_and_secrets_stay_in_its_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    fake_sbatch(tmp_path, monkeypatch, "echo Submitted batch job 7")
    umask = os.umask(0o027)
    try:
        sent = send_counts(tmp_path, "--export=ALL,HF_TOKEN=hidden")
    finally:
        os.umask(umask)
    assert sent.job == "7"
    assert int((tmp_path / "session").read_text()) != os.getsid(0)
    assert (tmp_path / "umask").read_text().strip() == "0027"
    assert "hidden" in (tmp_path / "script").read_text()
    (script,) = attempts.place(tmp_path / "run", sent.token).glob("7_submission.sh")
    assert script.stat().st_mode & 0o777 == 0o600
    (recorded,) = (tmp_path / "run" / "jobs").glob("*/*.json")
    assert "hidden" not in recorded.read_text()
    assert "--export=ALL,HF_TOKEN=***" in sent.options


RANK = """
import subprocess, sys, time
from modbench.harness.execution import rank
rank.heed_torchrun()
subprocess.run([sys.executable, "-c", "import os, signal; os.kill(os.getppid(), signal.SIGTERM)"])
time.sleep(0.2)
print("alive", flush=True)
time.sleep(60)
"""


def test_a_rank_ends_at_the_sigterm_of_its_parent_and_of_nobody_else() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # as a job starts a unit that trains
    try:
        rank = subprocess.Popen([sys.executable, "-c", RANK], stdout=subprocess.PIPE, text=True)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    with rank:
        assert rank.stdout is not None
        assert rank.stdout.readline() == "alive\n"
        rank.terminate()
        assert rank.wait(30) == -signal.SIGTERM


WORKER = """
import multiprocessing, signal
from modbench.harness.execution.slurm import job
def worker():
    print(signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()), flush=True)
if __name__ == "__main__":
    with job._kept_from_workers(signal.SIGTERM):
        process = multiprocessing.get_context("spawn").Process(target=worker)
        process.start()
    process.join()
"""


@pytest.mark.slow
def test_the_first_worker_of_a_job_does_not_die_of_slurms_sigterm(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(WORKER)
    done = subprocess.run([sys.executable, tmp_path / "job.py"], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_copied_run_without_empty_folders_can_be_marked(tmp_path: Path) -> None:
    made = submission(tmp_path)
    attempts.place(tmp_path, TOKEN).rmdir()
    attempts.void(tmp_path, TOKEN, 0)
    assert attempts.is_void(tmp_path, TOKEN, 0)
    assert attempts.attempts_of(tmp_path, made, 0) == []


def test_a_failure_names_no_log_that_is_not_there(tmp_path: Path) -> None:
    folder, unit = folder_at(tmp_path), stub_plan(trains=False).units[0]
    died = Death(kind="crash", reason="the Slurm job 7 was cancelled")
    write_failure(unit, folder, died)
    assert "see logs/" not in folder.record(unit).read_text()
    folder.log(unit).with_suffix(".died.log").touch()
    write_failure(unit, folder, died)
    assert "see logs/" in folder.record(unit).read_text()
