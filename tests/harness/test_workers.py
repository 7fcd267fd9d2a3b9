"""Workers: how they are started and end, what they see and leave, and what becomes of one that dies, hangs or raises."""

from __future__ import annotations

import contextlib
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from present import present
from small_runs import TRAIN, folder_of, run_jobs, small_plan, weighed

from modbench.harness.core import atomic_files
from modbench.harness.core.errors import NumericsError, Unmeasured, UsageError
from modbench.harness.domain.case import Job
from modbench.harness.domain.records import Outcome, Record
from modbench.harness.execution import runner
from modbench.harness.execution.launchers.local import LocalLauncher
from modbench.harness.execution.run_phase import death
from modbench.harness.execution.worker_environment import worker_environment
from modbench.harness.machine import cuda_driver
from modbench.harness.results import run_folder
from modbench.harness.results.measured_or_missing import missing_after, release
from modbench.harness.results.run_folder import RunFolder


def outcomes(records: list[Record], model: str) -> list[Outcome]:
    return [each for record in records for each in record.outcomes if each.case.startswith(model)]


def ended(launcher: LocalLauncher, job: Job, folder: RunFolder) -> int | None:
    """The exit code of a job's process."""
    handle = launcher.start(job, folder, 300.0)
    while not launcher.wait([handle], 300.0):
        pass
    launcher.end(handle)
    return handle.exitcode


def weighing(model: str, here: Path) -> tuple[RunFolder, Job]:
    """A run folder, and its job that weighs dense and a model of own.py."""
    made = weighed(model)
    return folder_of(made, here), made.jobs[0]


# --- what becomes of a job


LOST = "the GPU could not be used any more (AcceleratorError: an assertion failed on the device)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "kind", "words", "cold"),
    [
        ("dies", "crash", "SIGSEGV", False),
        ("loses", "crash", LOST, False),
        ("hangs", "timeout", "limit of 2 s", False),
        pytest.param("killed", "oom", "SIGKILL", True, marks=pytest.mark.proof),
    ],
)
def test_a_process_that_dies_leaves_a_record(model: str, kind: str, words: str, cold: bool, here: Path) -> None:
    """Ours are run again without the user's model: its death costs no other cell."""
    made = weighed(model)
    limit_s = 2.0 if model == "hangs" else 1500.0
    (record,) = run_jobs(made, folder_of(made, here), limit_s, launcher=LocalLauncher(cold=cold, threads=1))
    (dead,) = (each for each in outcomes([record], "own:") if each.metric == "memory/peak_allocated")
    assert dead.kind == kind
    assert words in str(dead.reason)
    assert (here / "run" / str(dead.reason).partition("see ")[2]).exists()
    assert len(record.job.comparison.variants) == 2
    died = present(record.died)
    assert died.kind == kind
    if model != "hangs":  # within two seconds ours may not end either
        assert {each.status for each in outcomes([record], "dense")} == {"ok"}
        assert died.again
        assert record.environment is not None


@pytest.mark.slow
def test_a_variant_that_raises_fails_alone(here: Path) -> None:
    """The dense variant of the same process has its samples."""
    made = small_plan(["latency/forward"], "dense", "own.py:late")
    records = [each for each in run_jobs(made, folder_of(made, here)) if each.job.made_in == "time"]
    assert [each.status for each in outcomes(records, "dense")] == ["ok"]
    (bad,) = outcomes(records, "own:")
    why, _, log = str(bad.reason).partition("; see ")
    assert (bad.kind, "no room for 91 GiB" in why) == ("oom", True)
    assert "Traceback" in (here / "run" / log).read_text()


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 91 GiB"), "failed", "oom"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "failed", "oom"),
        (torch.OutOfMemoryError("no words"), "failed", "oom"),
        (MemoryError(), "failed", "oom"),
        (NumericsError("nan"), "failed", "numerics"),
        (SystemExit(1), "failed", "error"),
        (RuntimeError("long\n" * 5000), "failed", "error"),
        (Unmeasured("by design"), "skipped", None),
    ],
)
def test_kinds_of_failure(error: BaseException, status: str, kind: str | None) -> None:
    gap = missing_after(error)
    assert (gap.status, gap.kind) == (status, kind)
    assert 0 < len(gap.reason) < 350
    assert "\n" not in gap.reason


def test_an_error_and_all_that_led_to_it_hold_no_frames() -> None:
    errors = [ValueError(), KeyError(), TypeError()]
    for each in errors:
        with contextlib.suppress(type(each)):
            raise each
    errors[0].__cause__, errors[1].__context__ = errors[1:]
    assert None not in [each.__traceback__ for each in errors]
    release(errors[0])
    assert [each.__traceback__ for each in errors] == [None] * 3


@pytest.mark.parametrize(
    ("code", "timed_out", "kind"),
    [
        (-signal.SIGKILL, False, "oom"),
        (-signal.SIGSEGV, False, "crash"),
        (None, True, "timeout"),
        (-signal.SIGALRM, False, "timeout"),
    ],
)
def test_kinds_of_death(code: int | None, timed_out: bool, kind: str) -> None:
    assert death(code, timed_out=timed_out).kind == kind


@pytest.mark.parametrize(
    "bad",
    [
        {"status": "ok"},
        {"status": "skipped"},
        {"status": "failed", "reason": "no kind"},
        {"status": "skipped", "reason": "r", "samples": {"value": [1.0]}},
    ],
)
def test_an_outcome_is_a_result_or_a_reason(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="has"):
        Outcome(case="c", metric="m", unit="s", **bad)


@pytest.mark.usefixtures("here")
def test_timed_jobs_run_alone() -> None:
    made = small_plan(["latency/forward", "memory/peak_allocated", "loss/val"], "dense", train=TRAIN, corpus="text.txt")
    at_once = {job.made_in: slots.at_once for slots in runner.phases(made, cores=8) for job in slots.jobs}
    assert [*at_once.items()] == [("count", 8), ("time", 1), ("memory", 8), ("train", 8)]


# --- how it starts and ends


@pytest.mark.slow
def test_a_stray_thread_does_not_keep_a_job_alive(here: Path) -> None:
    """In an interpreter of its own, which waits for threads when it ends."""
    folder, job = weighing("strays", here)
    assert ended(LocalLauncher(cold=True, threads=1), job, folder) == 0
    assert "hello from the model" in folder.log(job).read_text()


@pytest.mark.slow
def test_a_job_that_has_a_record_is_not_run_again(here: Path) -> None:
    """A fork server may start a worker and be killed before it says so: that worker wrote the record, and another is started."""
    folder, job = weighing("good", here)
    folder.record(job).write_text("kept")
    assert ended(LocalLauncher(cold=False, threads=1), job, folder) == 0
    assert folder.record(job).read_text() == "kept"
    assert not folder.log(job).exists() or folder.log(job).read_text() == ""


def test_a_job_that_is_not_in_the_plan_is_named(here: Path) -> None:
    folder, known = weighing("good", here)
    assert run_folder.planned_job(folder.path, known.name) == known
    with pytest.raises(UsageError, match="unknown job"):
        run_folder.planned_job(folder.path, "../../notes")


# --- what it sees


@pytest.mark.slow
@pytest.mark.parametrize("cold", [False, True])
def test_a_worker_sees_no_secret_of_its_parent(cold: bool, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HF_TOKEN": "hidden-1", "SOME_VARIABLE": "hidden-2", "HF_HOME": "shown"}.items():
        monkeypatch.setenv(name, value)
    made = weighed("tells")
    folder = folder_of(made, here)
    if cold:  # also sees the GPU that its launcher gave it, and no other
        monkeypatch.setattr(cuda_driver, "gpus_in_use", lambda: ("GPU-a", "GPU-b"))
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    run_jobs(made, folder, launcher=LocalLauncher(cold=cold, threads=1, device="cuda" if cold else "cpu"))
    said = folder.log(made.jobs[0]).read_text()
    assert not re.search("hidden-|HF_TOKEN", said)
    assert all(seen in said for seen in ("'PATH'", "MODBENCH_STATE", "proc ['"))
    # Only a cold process has an environment of its own: the fork server may have been started before.
    assert not cold or "HF_HOME=shown" in said
    assert not cold or set(re.findall(r"CUDA_VISIBLE_DEVICES=([\w,-]+)", said)) == {"GPU-a"}


PASSED = "PATH LC_ALL OMP_NUM_THREADS CUDA_VISIBLE_DEVICES TOKENIZERS_PARALLELISM HF_HOME PYTHONPATH"
PASSED += " MODBENCH_PLUGINS SLURM_JOB_ID LD_LIBRARY_PATH MODBENCH_MASK"  # the last masks records
KEPT_BACK = (
    "HF_TOKEN AWS_SECRET_ACCESS_KEY SLURM_JWT CONDA_AUTH PYTHON_API_KEY HF_TOKENS TORCH_PASS WANDB_COOKIE MKL_SECRETS"
)
OTHER = "SSH_AUTH_SOCK DATABASE_URL http_proxy PYTEST_CURRENT_TEST"


def test_what_is_passed_on() -> None:
    every = dict.fromkeys(f"{PASSED} {KEPT_BACK} {OTHER}".split(), "x")
    assert {*worker_environment(every)} == {*PASSED.split()}
    asked = {"MODBENCH_PASS_ENV": "DATABASE_URL, HF_TOKEN,MISSING"}
    assert {*worker_environment(every | asked)} == {*PASSED.split(), *asked, "DATABASE_URL", "HF_TOKEN"}


# --- what it leaves


@pytest.mark.slow
def test_a_log_that_is_a_link_is_not_followed(here: Path) -> None:
    made = weighed("good")
    folder = folder_of(made, here)
    (here / "precious").write_text("kept")
    folder.log(made.jobs[0]).symlink_to(here / "precious")
    run_jobs(made, folder)
    assert folder.record(made.jobs[0]).exists()
    assert (here / "precious").read_text() == "kept"


def test_a_write_that_fails_leaves_what_was_there_and_no_litter(tmp_path: Path) -> None:
    """Kills at any moment are in the table of faults."""
    path = tmp_path / "record.json"
    atomic_files.write_atomically(path, "old")
    with pytest.raises(TypeError):
        atomic_files.write_atomically(path, 5)  # type: ignore[arg-type]
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("record.json", "old")]


# --- several GPUs: one job each, pinned to it
GPUS = ("GPU-a", "GPU-b", "GPU-c")


def test_processes_of_a_series_stay_on_their_gpu_where_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "gpus_in_use", lambda: GPUS[:2])
    launcher, job = LocalLauncher(cold=True, threads=1, device="cuda"), small_plan(["latency/forward"], "dense").jobs[0]

    def pinned(series: str, process: int) -> str:
        changed = job.model_copy(update={"series": series, "name": f"{series}-{process}"})
        return launcher._pin(changed)["CUDA_VISIBLE_DEVICES"]

    assert [pinned("x", 0), pinned("y", 0)] == ["GPU-a", "GPU-b"]
    launcher._pinned.clear()
    assert [pinned("y", 1), pinned("x", 1)] == ["GPU-b", "GPU-a"]
    del launcher._pinned["y-1"]
    assert pinned("x", 2) == "GPU-b"
