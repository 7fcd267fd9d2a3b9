"""`modbench watch`: what the runner wrote, and whether it still lives; nothing is measured here."""

from __future__ import annotations

import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from in_process import command_line, succeeded
from present import present
from small_runs import small_plan

from modbench.commands.watch import _live
from modbench.commands.watch.snapshot import Snapshot, as_json, as_lines, take
from modbench.harness.core.atomic_files import now
from modbench.harness.domain.case import Job
from modbench.harness.domain.records import Missing
from modbench.harness.execution.progress_and_time_left import SELDOM_S, Tracker
from modbench.harness.execution.runner import phases
from modbench.harness.registry import catalogue
from modbench.harness.results import lock, progress_file
from modbench.harness.results.measured_or_missing import missing
from modbench.harness.results.progress_file import Failure, Group, Running, RunProgress
from modbench.harness.results.run_folder import RunFolder
from modbench.harness.results.workspace import Workspace
from modbench.planted_runs import PlantedTrouble, planted_record

watching = partial(command_line, "watch")
GAP = Missing(status="failed", kind="error", reason="ValueError: no")


class Run:
    """A run of two models that has begun, and what its runner writes."""

    def __init__(self, path: Path) -> None:
        shape, metrics = {"d_model": 32, "n_layers": 2, "vocab_size": 64}, ["latency/forward", "memory/peak_allocated"]
        self.plan = small_plan(metrics, "dense", "mod", effort="draft", shape=shape, grid={"seq_len": [16]})
        self.jobs, self.path, self.folder = self.plan.jobs, path, RunFolder(path)
        self.timed = [job for job in self.jobs if job.made_in == "time"]
        self.progress = path / progress_file.NAME
        self.seconds = 0.0
        path.mkdir()
        self.folder.write_run(self.plan, {}, ["modbench", "run", "small"], now())

    def tracker(self, **more: Any) -> Tracker:
        """Its clock stands until a test sets `seconds`."""
        return Tracker(self.plan, phases(self.plan, 1), self.folder, clock=lambda: self.seconds, **more)

    def write(self, *, age_s: float = 0.0, **fields: Any) -> None:
        """Write what a runner wrote before it was killed."""
        told = {"title": "small, draft, cpu", "left_s": 60.0, "most_s": 60.0, **fields}
        progress_file.write(self.path, RunProgress.model_validate(told))
        os.utime(self.progress, (time.time() - age_s, time.time() - age_s))

    def keep(self, job: Job, gap: Missing | None = None) -> None:
        """Write a record in which the last case failed, if so."""
        record, last, metrics = planted_record(job, PlantedTrouble()), job.comparison.variants[-1], catalogue.metrics()
        outcomes = tuple(
            missing(last, metrics[each.metric], gap) if gap and each.case == last.id else each
            for each in record.outcomes
        )
        self.folder.write_record(record.model_copy(update={"outcomes": outcomes}))

    @property
    def seen(self) -> Snapshot:
        return take(str(self.path))

    def lines(self, **options: Any) -> list[str]:
        return as_lines(self.seen, **options)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


# --- what a runner writes


def test_jobs_are_counted_by_what_became_of_them(run: Run) -> None:
    with lock.hold(run.path) as held, run.tracker(lock=held) as tracker:
        for job in (run.jobs[0], *run.timed[:2]):
            tracker.started(job)
            run.keep(job, GAP if job == run.timed[1] else None)
            run.folder.log(job).write_text("Traceback")
            tracker.ended(job)
        tracker.started(run.timed[2])
        Workspace(run.path, run.timed[2].name).say("timing 3 models")
        seen = run.seen
        groups = {each.name: each for each in present(seen.now).groups}
        assert groups["count"] == Group(name="count", done=1)
        assert groups["time"] == Group(name="time", done=1, failed=1, running=1, waiting=len(run.timed) - 3)
        assert groups["memory"].waiting == 1
        (failure,) = present(seen.now).failures
        assert (failure.job, failure.log, failure.reason) == (
            run.timed[1].name,
            f"logs/{run.timed[1].name}.log",
            GAP.reason,
        )
        assert (seen.state, seen.complete, seen.next_step) == ("running", False, None)
        text = "\n".join(run.lines())
        assert f"  {failure.case}: ValueError: no ({failure.metrics[0]})\n    see {failure.log}\n" in f"{text}\n"
        body = json.loads(json.dumps(as_json(seen)))
        assert body["groups"][0] == {"name": "count", "done": 1, "failed": 0, "running": 0, "waiting": 0, "jobs": 1}
        assert [each["said"] for each in body["running"]] == ["timing 3 models"]
        tracker.stop.finishing = True
        tracker.tick()
        assert run.lines()[0].startswith("small, draft, cpu: stopping ")


def test_a_run_is_finished_when_its_runner_says_so_and_its_records_are_there(run: Run) -> None:
    with run.tracker() as tracker:
        for job in run.jobs:
            tracker.started(job)
            run.keep(job)
            tracker.ended(job)
        run.seconds = 61.0
    assert "finished in 1 min 01 s" in succeeded(watching(run.path)).stdout
    run.folder.record(run.jobs[0]).unlink()
    done = watching(run.path)
    assert done.returncode == 4
    assert "1 record missing since" in done.stdout


@pytest.mark.parametrize(
    ("error", "state", "note"),
    [(KeyboardInterrupt(), "stopped", ""), (OSError(28, "No space left"), "failed", "[Errno 28] No space left")],
)
def test_how_a_runner_ended_is_written(run: Run, error: BaseException, state: str, note: str) -> None:
    tracker = run.tracker()
    tracker.started(run.timed[0])
    with pytest.raises(type(error)), tracker:
        raise error
    seen = run.seen
    assert (seen.state, present(seen.now).note) == (state, note)
    assert sum(each.running for each in present(seen.now).groups) == len(present(seen.now).running) == 0


@pytest.mark.parametrize(("made_in", "writes"), [("time", 39 // SELDOM_S), ("count", 39)])
def test_beside_a_timed_job_the_progress_is_written_seldom(run: Run, made_in: str, writes: int) -> None:
    """A tick each second."""
    tracker = run.tracker()
    tracker.started(next(job for job in run.jobs if job.made_in == made_in))
    number = 0
    for _ in range(39):
        run.seconds += 1
        run.progress.unlink(missing_ok=True)
        tracker.tick()
        number += run.progress.exists()
    assert number == writes


def test_a_record_that_is_damaged_counts_as_failed(run: Run) -> None:
    tracker = run.tracker()
    tracker.started(run.timed[0])
    run.folder.record(run.timed[0]).write_text("{")
    tracker.ended(run.timed[0])
    (failure,) = tracker.now.failures
    assert "its record is damaged" in failure.reason


# --- what is shown


HOURS = 7200.0
# What was written, by a runner that is …; the end of the first line, and the command that continues the run.
STATES: list[tuple[dict[str, Any], str, str, str]] = [
    ({}, "dead", "to run", "modbench resume {}"),
    ({"resumable": False}, "dead", "to run", "repeat its command with -o {}"),
    ({"remote": True}, "dead", "jobs may go on", "modbench resume {}"),
    ({}, "unknown", " left", ""),
    ({"age_s": HOURS}, "unknown", "to run", "modbench resume {} --take-over"),
    ({}, "alive", " left", ""),
    ({"age_s": HOURS}, "alive", "written 2 h 00 min ago", ""),
]


@pytest.mark.parametrize(("fields", "runner", "ending", "following"), STATES)
def test_whether_the_runner_lives_and_what_continues_the_run(
    run: Run, fields: dict[str, Any], runner: str, ending: str, following: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.write(**fields)
    (run.path / lock.NAME).write_text(lock.Holder(host="here", pid=7).model_dump_json())
    monkeypatch.setattr(lock, "_state", lambda *_, **__: runner)
    assert run.lines()[0].endswith(ending)
    assert (run.seen.next_step or "") == following.format(run.path)
    done = watching("--once", run.path)
    assert done.returncode == 4
    assert following.format(run.path) in done.stdout


def test_a_dead_runner_is_found_by_its_lock_alone(run: Run) -> None:
    run.write()
    (run.path / lock.NAME).write_text(lock.Holder(host="here", pid=7).model_dump_json())
    assert run.seen.state == "stopped"
    with lock.hold(run.path):
        assert run.seen.state == "running"


def test_the_live_picture_ends_with_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with lock.hold(run.path) as held, run.tracker(lock=held):

        def ends(_seconds: float) -> None:
            run.write(state="finished")
            held.release()

        monkeypatch.setattr(time, "sleep", ends)
        assert _live(run.seen).complete


# --- a damaged folder, and a stranger's


@pytest.mark.slow
@pytest.mark.parametrize("content", ["{", '{"left_s": 1e300}'])
def test_a_damaged_progress_is_refused_in_a_line(run: Run, content: str) -> None:
    run.progress.write_text(content)
    done = watching(run.path, "--json")
    assert (done.returncode, progress_file.NAME in done.stderr) == (2, True)
    assert len(done.stderr.splitlines()) <= 2


def test_a_strangers_folder_is_data(run: Run) -> None:
    """No control character reaches the terminal."""
    job, evil = run.jobs[0].name, "\x1b[2Jgone\nnext\u202e"
    failure = Failure(job=job, case=evil, metrics=[evil], reason=evil, log=evil)
    told: dict[str, Any] = dict.fromkeys(("title", "note", "left_reason"), evil)
    run.write(**told, groups=[Group(name=evil, done=1)], failures=[failure], decisions=[evil], left_s=None)
    assert all(line.isprintable() for line in run.lines())
    with lock.hold(run.path):
        run.write(title=evil, running=[Running(job=job, since=evil)])
        (run.folder.logs / f"{job}.progress").write_text(evil)
        assert all(line.isprintable() for line in run.lines())


def test_chosen_texts_are_masked_before_lines_are_cut(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "x " * 30 + "said hush hush " + "y " * 30
    run.write(failures=[Failure(job="a", case="b", metrics=[], reason=reason)])
    monkeypatch.setenv("MODBENCH_MASK", "hush hush")
    shown = watching(run.path, "--once").stdout + watching(run.path, "--json").stdout
    assert "said ***" in " ".join(shown.split())
    assert "hush" not in shown
