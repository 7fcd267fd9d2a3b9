"""What the Slurm launcher decides about Slurm jobs on a cluster that says what a test says, and how it calls sbatch."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from present import present
from slurm_stubs import StubLauncher, stub_plan

from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Job
from modbench.harness.results.run_folder import RunFolder
from modbench.plugins.slurm import launcher as slurm
from modbench.plugins.slurm.launcher import SlurmHandle, SlurmLauncher
from modbench.plugins.slurm.options import parse
from modbench.plugins.slurm.submitting import Group, QueueError, Submission, refusal, send, submissions

JOB = stub_plan(trains=False).jobs[0]


SBATCH = """
(here / "script").write_text(pathlib.Path(sys.argv[1]).read_text())
(here / "blocked").write_text(str(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())))
print("Submitted batch job 7")
"""


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put commands of Slurm first on the path: sbatch keeps its script, says what signals it hears, and takes Slurm job 7."""
    pytest.importorskip("submitit")
    place = tmp_path / "bin"
    place.mkdir()
    here = f"import pathlib, signal, sys; here = pathlib.Path({str(place)!r})"
    for name, does in (
        ("sbatch", SBATCH),
        (
            "squeue",
            "states = here / 'states'\nsys.exit('controller is gone') if not states.exists() else print(states.read_text())",
        ),
        ("srun", "sys.exit(1)"),
    ):
        (place / name).write_text(f"#!{sys.executable} -IS\n{here}\n{does}\n")
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return place


def says(sbatch: Path, *lines: str) -> None:
    (sbatch / "states").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def launcher(sbatch: Path, monkeypatch: pytest.MonkeyPatch) -> SlurmLauncher:
    says(sbatch)
    for name in ("ASK_S", "GRACE_S", "LOOK_S"):
        monkeypatch.setattr(slurm, name, 0.0)
    return SlurmLauncher(cold=True, threads=1, options=["--requeues=1"])


def submitted(launcher: SlurmLauncher, folder: RunFolder, job: Job = JOB) -> tuple[SlurmHandle, str]:
    """A job that was submitted, and the name of its job."""
    handle = launcher.start(job, folder, 60.0)
    launcher._submit([handle])
    return handle, present(handle.submission).name


def test_a_lost_job_is_submitted_again_and_given_up_at_last_with_its_reason(
    launcher: SlurmLauncher, sbatch: Path, folder: RunFolder
) -> None:
    handle, first = submitted(launcher, folder)
    says(sbatch, f"7|N/A|NODE_FAIL|{first}")
    while handle.submission is not None:
        assert launcher.wait([handle], 0.0) == []
    launcher._submit([handle])
    (sent,) = (each for each in submissions(folder.path) if each.name != first)
    second = sent.name
    (sent.place / "7_0_log.out").touch()
    says(sbatch, f"7|N/A|NODE_FAIL|{first}", f"7|N/A|TIMEOUT|{second}")
    while not launcher.wait([handle], 0.0):
        pass
    died = present(handle.died)
    assert died.kind == "timeout"
    assert "Slurm job 7 ended without a record (timeout), submitted 2 times" in died.reason
    assert died.reason.endswith(f"see slurm_jobs/{second[9:]}/7_0_log.out")
    assert len(submissions(folder.path)) == 2


def test_no_answer_of_squeue_is_no_end_of_a_job(
    launcher: SlurmLauncher, sbatch: Path, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    handle, _ = submitted(launcher, folder)
    (sbatch / "states").unlink()
    assert [launcher.wait([handle], 0.0) for _ in range(3)] == [[]] * 3
    assert handle.gone is None
    assert capsys.readouterr().err.count("squeue does not answer (controller is gone)") == 1


@pytest.mark.parametrize("noted", [True, False])
def test_a_record_is_taken_when_its_job_will_not_change_it_any_more(
    noted: bool, launcher: SlurmLauncher, sbatch: Path, folder: RunFolder
) -> None:
    """When the Slurm job has noted its end, or has ended."""
    handle, name = submitted(launcher, folder)
    handle.record.write_text("{}")
    says(sbatch, f"7|N/A|RUNNING|{name}")
    assert launcher.wait([handle], 0.0) == []
    if noted:
        (present(handle.submission).place / "0.ended").write_text(f"{JOB.name}\n")
    else:
        says(sbatch, f"7|N/A|COMPLETED|{name}")
    assert launcher.wait([handle], 0.0) == [handle]
    assert handle.died is None


def test_who_resumes_waits_for_jobs_that_go_on_and_submits_the_rest(
    launcher: SlurmLauncher, sbatch: Path, folder: RunFolder
) -> None:
    one, two, *_ = stub_plan(trains=False).jobs
    _, name = submitted(launcher, folder, one)
    _, gone = submitted(launcher, folder, two)
    says(sbatch, f"7|N/A|PENDING|{name}", f"8|N/A|CANCELLED|{gone}", "9|N/A|RUNNING|somebody else's")
    again = SlurmLauncher(cold=True, threads=1)
    handles = [again.start(job, folder, 60.0) for job in (one, two)]
    assert [handle.submission and handle.submission.name for handle in handles] == [name, None]
    assert again._waiting == [handles[1]]
    said = again.leave(handles)
    assert said.startswith("1 Slurm job goes on")
    assert "`scancel 7` cancels them" in said
    assert again.leave(handles[1:]).startswith("No Slurm job was submitted.")
    next(folder.path.glob("slurm_jobs/*/jobs.json")).write_text("[3]")
    with pytest.raises(UsageError, match=r"jobs\.json: damaged"):
        submissions(folder.path)


FAILED = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("sbatch: unrecognized option '--foo'\nTry \"sbatch --help\" for more information\n", 2),
        (FAILED + "Invalid account or account/partition combination specified", 2),
        (FAILED + "Socket timed out on send/recv operation", 3),
    ],
)
def test_an_sbatch_that_fails_is_the_users_fault_unless_slurm_does_not_answer(said: str, code: int) -> None:
    refused = refusal(parse(["--partition=x", "--export=HF_TOKEN=abc", "--api-key=abc"]), said, Path("my run"))
    assert refused.exit_code == code
    assert not re.search("abc|\n|Try", str(refused))
    assert "`modbench resume 'my run'" in str(refused)


def send_counts(folder: RunFolder, *words: str) -> Submission:
    tasks = [[(job, 60.0)] for job in stub_plan(trains=False).jobs if job.made_in == "count"]
    group = Group(timed=False, threads=1)
    return send(folder, group, tasks, parse(words), requeues=0, make=StubLauncher)  # type: ignore[arg-type]


def test_ctrl_c_does_not_reach_sbatch_and_secrets_stay_in_a_folder_of_the_users(
    sbatch: Path, folder: RunFolder
) -> None:
    sent = send_counts(folder, "--export=ALL,HF_TOKEN=hidden")
    assert sent.slurm_job == "7"
    assert (sbatch / "blocked").read_text() == "True"
    assert "hidden" in (sbatch / "script").read_text()
    assert sent.place.stat().st_mode & 0o777 == 0o700


def test_an_sbatch_that_fails_after_its_jobs_were_taken_leaves_their_names(sbatch: Path, folder: RunFolder) -> None:
    (sbatch / "sbatch").write_text(
        "#!/bin/sh\necho 'sbatch: error: Socket timed out on send/recv operation' >&2\nexit 1\n"
    )
    with pytest.raises(QueueError, match=r"Socket timed out.*modbench resume"):
        send_counts(folder)
    (left,) = submissions(folder.path)
    assert len(left.tasks) > 1


RANK = """
import subprocess, sys, time
from modbench.harness.execution import rank
rank.heed_torchrun()
subprocess.run([sys.executable, "-c", "import os, signal; os.kill(os.getppid(), signal.SIGTERM)"])
time.sleep(0.2)
print("alive", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_a_rank_ends_at_the_sigterm_of_its_parent_and_of_nobody_else() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # as a Slurm job starts a job
    try:
        rank = subprocess.Popen([sys.executable, "-c", RANK], stdout=subprocess.PIPE, text=True)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    with rank:
        assert present(rank.stdout).readline() == "alive\n"
        rank.terminate()
        assert rank.wait(30) == -signal.SIGTERM


WORKER = """
import multiprocessing, signal
from modbench.plugins.slurm import job
def worker():
    print(set(job.SIGNALS) <= signal.pthread_sigmask(signal.SIG_BLOCK, ()), flush=True)
class Inside:
    def start(self):
        process.start()
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=worker)
    job.Shielded(Inside()).start()
    process.join()
"""


@pytest.mark.slow
def test_the_first_worker_of_a_job_does_not_die_of_what_slurm_tells_the_job(tmp_path: Path) -> None:
    (tmp_path / "slurm_job.py").write_text(WORKER)
    done = subprocess.run([sys.executable, tmp_path / "slurm_job.py"], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_without_slurm_the_refusal_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"sbatch, squeue, srun .*--launcher local") as refused:
        SlurmLauncher(cold=True, threads=1)
    assert refused.value.exit_code == 2
