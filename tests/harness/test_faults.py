"""What dies, hangs or runs out of memory becomes a record with its kind; the others are unharmed."""

from __future__ import annotations

import importlib
import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import TRAIN, folder_of, run_jobs, small_plan, weighed

from modbench.harness.core import atomic_files
from modbench.harness.core.errors import NumericsError, Unmeasured
from modbench.harness.domain.records import Outcome, Record
from modbench.harness.execution import runner, worker
from modbench.harness.execution.launchers import local
from modbench.harness.execution.launchers.local import LocalLauncher
from modbench.harness.execution.progress_and_time_left import Tracker
from modbench.harness.execution.run_phase import death
from modbench.harness.results.measured_or_missing import missing_after
from modbench.harness.results.progress_file import RunProgress
from modbench.harness.results.run_folder import RunFolder
from modbench.progress_bar import Lines

# What a worker does in place of a unit.
STRAYS = """
import threading
from modbench.harness.execution import worker
def run_job(unit, folder):
    threading.Thread(target=threading.Event().wait, daemon=False).start()
    print("started", flush=True)
def work(*given):
    worker.run_job = run_job
    worker.work(*given)
"""


def outcomes(records: list[Record], model: str) -> list[Outcome]:
    return [o for record in records for o in record.outcomes if o.case.startswith(model)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "kind", "words", "cold"),
    [
        ("dies", "crash", "SIGSEGV", False),
        (
            "loses",
            "crash",
            "the GPU could not be used any more (AcceleratorError: an assertion failed on the device)",
            False,
        ),
        pytest.param("killed", "oom", "SIGKILL", True, marks=pytest.mark.proof),
    ],
)
def test_a_process_that_dies_leaves_a_record(model: str, kind: str, words: str, cold: bool, here: Path) -> None:
    made = weighed(model)
    records = run_jobs(made, folder_of(made, here), launcher=LocalLauncher(cold=cold, threads=1))
    dead = [o for o in outcomes(records, "own:") if o.metric == "memory/peak_allocated"]
    assert [o.kind for o in dead] == [kind]
    assert dead[0].reason is not None
    assert words in dead[0].reason
    assert (here / "run" / dead[0].reason.partition("see ")[2]).exists()
    # Ours were run again without it: the death of a user's model costs no other cell.
    assert {o.status for o in outcomes(records, "dense")} == {"ok"}
    assert [len(record.job.comparison.variants) for record in records] == [2]
    # The record says how the first process died, and that a second one measured the rest.
    (died,) = [record.died for record in records]
    assert died is not None
    assert (died.kind, died.again) == (kind, True)
    assert all(record.environment is not None for record in records)


@pytest.mark.slow
def test_a_stray_thread_does_not_keep_a_job_alive(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an interpreter of its own, which waits for threads when it ends; it loads no torch."""
    (here / "strays.py").write_text(STRAYS)
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.setattr(local, "work", importlib.import_module("strays").work)
    made = weighed("good")
    folder, launcher = folder_of(made, here), LocalLauncher(cold=True, threads=1)
    handle = launcher.start(made.jobs[0], folder, 300.0)
    while not launcher.wait([handle], 300.0):
        pass
    launcher.end(handle)
    assert handle.exitcode == 0
    assert "started" in folder.log(made.jobs[0]).read_text()


@pytest.mark.slow
def test_a_unit_that_hangs_is_ended(here: Path) -> None:
    made = weighed("hangs")
    records = run_jobs(made, folder_of(made, here), 2.0)
    late = [o for o in outcomes(records, "own:") if o.metric == "memory/peak_allocated"]
    assert [o.kind for o in late] == ["timeout"]
    assert late[0].reason is not None
    assert "limit of 2 s" in late[0].reason
    assert "; see logs/" in late[0].reason


@pytest.mark.slow
def test_a_variant_that_raises_fails_alone(here: Path) -> None:
    """The dense variant of the same process has its samples."""
    made = small_plan(["latency/forward"], "dense", "own.py:late")
    records = run_jobs(made, folder_of(made, here))
    timed = [record for record in records if record.job.made_in == "time"]
    assert [o.status for o in outcomes(timed, "dense")] == ["ok"]
    (bad,) = outcomes(timed, "own:")
    assert bad.kind == "oom"
    assert bad.reason is not None
    assert "no room for 91 GiB" in bad.reason
    assert "Traceback" in (here / "run" / bad.reason.partition("; see ")[2]).read_text()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("wrong_shape", "must map tokens [B, T] to logits [1, 8, 256]; it returned [1, 8, 3]"),
        ("no_module", "returned int; build(config) must return a torch.nn.Module"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_is_no_model_is_said_in_words(model: str, words: str) -> None:
    (record,) = (worker.make_record(job) for job in weighed(model).jobs)
    assert [o.status for o in record.outcomes if o.case.startswith("dense")] == ["ok"]
    assert all(words in str(o.reason) for o in record.outcomes if o.case.startswith("own:"))


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 91 GiB"), "failed", "oom"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "failed", "oom"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), "failed", "oom"),
        (torch.OutOfMemoryError("no words"), "failed", "oom"),
        (MemoryError(), "failed", "oom"),
        (NumericsError("nan"), "failed", "numerics"),
        (SystemExit(1), "failed", "error"),
        (Unmeasured("by design"), "skipped", None),
    ],
)
def test_kinds_of_failure(error: BaseException, status: str, kind: str | None) -> None:
    gap = missing_after(error)
    assert (gap.status, gap.kind) == (status, kind)
    assert gap.reason


def test_a_long_message_is_cut() -> None:
    assert len(missing_after(RuntimeError("x" * 5000)).reason) < 350
    assert "\n" not in missing_after(RuntimeError("two\nlines")).reason


def test_death_in_words() -> None:
    assert death(-9, timed_out=False).kind == "oom"
    assert death(-11, timed_out=False).kind == "crash"
    assert death(-11, timed_out=False).reason.endswith(" SIGSEGV")
    assert death(None, timed_out=True).kind == "timeout"
    assert death(-14, timed_out=False).kind == "timeout"


def test_an_outcome_is_a_result_or_a_reason() -> None:
    row: dict[str, Any] = {"case": "c", "metric": "m", "unit": "s"}
    for bad in (
        {"status": "ok"},
        {"status": "skipped"},
        {"status": "failed", "reason": "no kind"},
        {"status": "skipped", "reason": "r", "samples": {"value": [1.0]}},
    ):
        with pytest.raises(ValueError, match="has"):
            Outcome(**row, **bad)


@pytest.mark.usefixtures("here")
def test_timed_jobs_run_alone() -> None:
    metrics = ["latency/forward", "memory/peak_allocated", "loss/val"]
    made = small_plan(metrics, "dense", train=TRAIN, corpus="text.txt")
    by_pass = {job.made_in: slots.at_once for slots in runner.phases(made, cores=8) for job in slots.jobs}
    assert by_pass == {"count": 8, "time": 1, "memory": 8, "train": 8}
    order = [job.made_in for slots in runner.phases(made, cores=8) for job in slots.jobs]
    assert order == sorted(order, key=["count", "time", "memory", "train"].index)


@pytest.mark.usefixtures("here")
def test_a_reader_that_goes_away_does_not_end_a_run() -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    Lines(stream=Gone()).show(RunProgress(left_s=1.0, most_s=1.0), "a unit")


@pytest.mark.usefixtures("here")
def test_the_time_left_follows_from_how_long_jobs_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "MODBENCH_STATE", str(tmp_path)
    )  # no peaks: with them, shapes are recorded, and guards mend the clock below
    made = small_plan(["latency/forward", "loss/val"], "dense", train=TRAIN, corpus="text.txt")
    moment = [100.0]
    tracker = Tracker(made, runner.phases(made, 1), RunFolder(tmp_path), clock=lambda: moment[0])
    total, half = tracker._total, len(made.jobs) // 2
    with tracker:
        assert tracker.now.left_s == pytest.approx(total)
        for job in made.jobs[:half]:
            tracker.started(job)
            tracker.ended(job)
        moment[0] += 3 * tracker._done  # three times slower than predicted
        tracker.tick()
        assert tracker.now.left_s == tracker.now.most_s == pytest.approx(3 * (total - tracker._done))
        for job in made.jobs[half:]:
            tracker.started(job)
            tracker.ended(job)
        assert tracker.now.left_s == 0


@pytest.mark.slow
def test_atomic_write_leaves_old_or_new_and_no_litter(tmp_path: Path) -> None:
    """Readers beside a writer see whole files only; a failed write leaves nothing behind."""
    path = tmp_path / "record.json"
    texts = [json.dumps({"n": i, "pad": "x" * 20_000}) for i in range(2)]
    atomic_files.write_atomically(path, texts[0])
    stop = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(40):
        atomic_files.write_atomically(path, texts[i % 2])
    stop.set()
    reader.join()
    assert seen <= set(texts)
    with pytest.raises(TypeError):
        atomic_files.write_atomically(path, 5)  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]
