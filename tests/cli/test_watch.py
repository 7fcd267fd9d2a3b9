"""`modbench watch`: what the runner wrote, and whether it still lives; nothing is measured here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from in_process import command_line, succeeded
from present import present
from small_runs import small_plan

from modbench.commands.watch import _live
from modbench.commands.watch.snapshot import as_json, as_lines, take
from modbench.harness.core.atomic_files import now
from modbench.harness.core.plain_text import SCREEN
from modbench.harness.domain.case import Job
from modbench.harness.domain.records import Missing
from modbench.harness.execution.progress_and_time_left import SELDOM_S, Tracker
from modbench.harness.execution.runner import phases
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.results import lock, progress_file
from modbench.harness.results.measured_or_missing import missing
from modbench.harness.results.progress_file import Failure, Group, Running, RunProgress
from modbench.harness.results.run_folder import RunFolder
from modbench.harness.results.workspace import Workspace
from modbench.planted_runs import PlantedTrouble, planted_record

watching = partial(command_line, "watch")
GAP = Missing(status="failed", kind="error", reason="ValueError: no")


@pytest.fixture
def plan() -> Plan:
    shape = {"d_model": 32, "n_layers": 2, "vocab_size": 64}
    metrics = ["latency/forward", "memory/peak_allocated"]
    return small_plan(metrics, "dense", "mod", effort="draft", shape=shape, grid={"seq_len": [16]})


@pytest.fixture
def timed(plan: Plan) -> list[Job]:
    return [job for job in plan.jobs if job.made_in == "time"]


@pytest.fixture
def folder(plan: Plan, tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.write_run(plan, {}, ["modbench", "run", "small"], now())
    return folder


@pytest.fixture
def tracking(plan: Plan, folder: RunFolder) -> Callable[..., Tracker]:
    return partial(Tracker, plan, phases(plan, 1), folder)


def write(folder: RunFolder, *, age_s: float = 0.0, **fields: Any) -> None:
    """Write what a runner wrote before it was killed."""
    told = {"title": "small, draft, cpu", "left_s": 60.0, "most_s": 60.0, **fields}
    progress_file.write(folder.path, RunProgress.model_validate(told))
    os.utime(folder.path / progress_file.NAME, (time.time() - age_s, time.time() - age_s))


def lines(folder: RunFolder, **options: Any) -> list[str]:
    return as_lines(take(str(folder.path)), **options)


def keep(folder: RunFolder, job: Job, gap: Missing | None = None) -> None:
    """Write a record in which the last case failed, if so."""
    record, last, metrics = planted_record(job, PlantedTrouble()), job.comparison.variants[-1], catalogue.metrics()
    outcomes = tuple(
        missing(last, metrics[each.metric], gap) if gap and each.case == last.id else each for each in record.outcomes
    )
    folder.write_record(record.model_copy(update={"outcomes": outcomes}))


# --- what a runner writes


def test_jobs_are_counted_by_what_became_of_them(
    folder: RunFolder, plan: Plan, timed: list[Job], tracking: Callable[..., Tracker]
) -> None:
    with lock.hold(folder.path) as held, tracking(lock=held) as tracker:
        for job in (plan.jobs[0], *timed[:2]):
            tracker.started(job)
            keep(folder, job, GAP if job == timed[1] else None)
            folder.log(job).write_text("Traceback")
            tracker.ended(job)
        tracker.started(timed[2])
        Workspace(folder.path, timed[2].name).say("timing 3 models")
        seen = take(str(folder.path))
        groups = {each.name: each for each in present(seen.now).groups}
        assert groups["count"] == Group(name="count", done=1)
        assert groups["time"] == Group(name="time", done=1, failed=1, running=1, waiting=len(timed) - 3)
        assert groups["memory"].waiting == 1
        (failure,) = present(seen.now).failures
        assert (failure.job, failure.log, failure.reason) == (timed[1].name, f"logs/{timed[1].name}.log", GAP.reason)
        assert (seen.state, seen.complete, seen.next_step) == ("running", False, None)
        text = "\n".join(lines(folder))
        assert f"  {failure.case}: ValueError: no ({failure.metrics[0]})\n    see {failure.log}\n" in f"{text}\n"
        body = json.loads(json.dumps(as_json(seen)))
        assert body["groups"][0] == {"name": "count", "done": 1, "failed": 0, "running": 0, "waiting": 0, "jobs": 1}
        assert [each["said"] for each in body["running"]] == ["timing 3 models"]
        tracker.stop.finishing = True
        tracker.tick()
        assert lines(folder)[0].startswith("small, draft, cpu: stopping ")


def test_a_run_is_finished_when_its_runner_says_so_and_its_records_are_there(
    folder: RunFolder, plan: Plan, tracking: Callable[..., Tracker]
) -> None:
    moment = [0.0]
    with tracking(clock=lambda: moment[0]) as tracker:
        for job in plan.jobs:
            tracker.started(job)
            keep(folder, job)
            tracker.ended(job)
        moment[0] = 61.0
    assert "finished in 1 min 01 s" in succeeded(watching(folder.path)).stdout
    folder.record(plan.jobs[0]).unlink()
    done = watching(folder.path)
    assert done.returncode == 4
    assert "1 record missing since" in done.stdout


@pytest.mark.parametrize(
    ("error", "state", "note"),
    [(KeyboardInterrupt(), "stopped", ""), (OSError(28, "No space left"), "failed", "[Errno 28] No space left")],
)
def test_how_a_runner_ended_is_written(
    error: BaseException,
    state: str,
    note: str,
    folder: RunFolder,
    timed: list[Job],
    tracking: Callable[..., Tracker],
) -> None:
    tracker = tracking()
    tracker.started(timed[0])
    with pytest.raises(type(error)), tracker:
        raise error
    seen = take(str(folder.path))
    assert (seen.state, present(seen.now).note) == (state, note)
    assert sum(each.running for each in present(seen.now).groups) == len(present(seen.now).running) == 0


def test_a_runner_that_lost_its_folder_writes_no_more(
    folder: RunFolder, timed: list[Job], tracking: Callable[..., Tracker]
) -> None:
    with lock.hold(folder.path) as held, tracking(lock=held) as tracker:
        before = (folder.path / progress_file.NAME).read_bytes()
        other = held.holder.model_copy(update={"token": "another"})
        (folder.path / lock.NAME).write_text(other.model_dump_json())
        tracker.started(timed[0])
    assert (folder.path / progress_file.NAME).read_bytes() == before


@pytest.mark.parametrize(("made_in", "writes"), [("time", 39 // SELDOM_S), ("count", 39)])
def test_beside_a_timed_job_the_progress_is_written_seldom(
    made_in: str, writes: int, folder: RunFolder, plan: Plan, tracking: Callable[..., Tracker]
) -> None:
    """A tick each second."""
    moment = [0.0]
    tracker = tracking(clock=lambda: moment[0])
    tracker.started(next(job for job in plan.jobs if job.made_in == made_in))
    number = 0
    for _ in range(39):
        moment[0] += 1
        (folder.path / progress_file.NAME).unlink(missing_ok=True)
        tracker.tick()
        number += (folder.path / progress_file.NAME).exists()
    assert number == writes


def test_jobs_that_are_submitted_at_once_are_written_together(
    folder: RunFolder, plan: Plan, tracking: Callable[..., Tracker]
) -> None:
    moment = [0.0]
    tracker = tracking(remote=True, clock=lambda: moment[0])

    def running() -> int:
        return sum(each.running for each in present(progress_file.read(folder.path)).groups)

    for job in plan.jobs:
        tracker.started(job)
    assert running() == 1
    moment[0] = 1.0
    tracker.tick()
    assert running() == len(plan.jobs)
    keep(folder, plan.jobs[0])
    moment[0] = 3.0
    tracker.ended(plan.jobs[0])
    assert tracker.now.left_s == pytest.approx(3.0 * (tracker._total - tracker._done) / tracker._done)


def test_a_record_that_is_damaged_counts_as_failed(
    folder: RunFolder, timed: list[Job], tracking: Callable[..., Tracker]
) -> None:
    tracker = tracking()
    tracker.started(timed[0])
    folder.record(timed[0]).write_text("{")
    tracker.ended(timed[0])
    (failure,) = tracker.now.failures
    assert "its record is damaged" in failure.reason


def test_many_failures_and_jobs_are_cut(
    folder: RunFolder, timed: list[Job], tracking: Callable[..., Tracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_file, "MOST_FAILURES", 1)
    monkeypatch.setattr(progress_file, "MOST_RUNNING", 2)
    tracker = tracking()
    for job in timed[:3]:
        tracker.started(job)
    assert [each.job for each in tracker.now.running] == [job.name for job in timed[:2]]
    for job in timed[:3]:
        keep(folder, job, GAP.model_copy(update={"reason": "no " * 1000}))
        tracker.ended(job)
    assert (len(tracker.now.failures), tracker.now.failures_left_out) == (1, 2)
    assert len(tracker.now.failures[0].reason) == progress_file.MOST_TEXT
    assert any("2 more" in line for line in lines(folder))


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
    fields: dict[str, Any], runner: str, ending: str, following: str, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, **fields)
    (folder.path / lock.NAME).write_text(lock.Holder(host="here", pid=7).model_dump_json())
    monkeypatch.setattr(lock, "_state", lambda *_, **__: runner)
    assert lines(folder)[0].endswith(ending)
    assert (take(str(folder.path)).next_step or "") == following.format(folder.path)
    done = watching("--once", folder.path)
    assert done.returncode == 4
    assert following.format(folder.path) in done.stdout


def test_a_dead_runner_is_found_by_its_lock_alone(folder: RunFolder) -> None:
    write(folder)
    (folder.path / lock.NAME).write_text(lock.Holder(host="here", pid=7).model_dump_json())
    assert take(str(folder.path)).state == "stopped"
    with lock.hold(folder.path):
        assert take(str(folder.path)).state == "running"


def test_without_a_runner_nobody_counts_what_jobs_do(
    folder: RunFolder, plan: Plan, tracking: Callable[..., Tracker]
) -> None:
    first, second, *_ = plan.jobs
    tracker = tracking(remote=True, clock=lambda: 0.0)
    tracker.started(first)
    tracker.stop.left = "1 job goes on"
    with pytest.raises(KeyboardInterrupt), tracker:
        raise KeyboardInterrupt
    assert "note     1 job goes on" in lines(folder)
    keep(folder, second)
    assert lines(folder)[0].endswith("1 record written since")
    seen = present(take(str(folder.path)).now)
    assert (seen.left_s, seen.most_s) == (None, None)
    assert seen.left_reason
    with lock.hold(folder.path):  # a runner is there again: a job that has said nothing may wait in the queue
        assert take(str(folder.path)).said == {}
        Workspace(folder.path, first.name).say("timing 3 models")
        assert take(str(folder.path)).said == {first.name: "timing 3 models"}
        assert any("submitted" in line for line in lines(folder))


def test_a_folder_of_an_earlier_version_shows_what_its_files_do(folder: RunFolder, plan: Plan) -> None:
    keep(folder, plan.jobs[0])
    assert "unknown, 1 record; " in lines(folder)[0]
    assert not take(str(folder.path)).complete
    folder.write_finished({"ended": now(), "wall_s": 61.0, "timed_wall_s": 1.0, "parent_cpu_s": 0.0})
    body = json.loads(succeeded(watching(folder.path, "--json")).stdout)
    assert (body["state"], body["left_s"], body["groups"], body["records"]) == ("finished", None, [], 1)
    assert "progress.json" in body["left_reason"]
    with lock.hold(folder.path):
        assert ": starting, 1 record; " in lines(folder)[0]


def failed(number: int, reason: str = "a long reason {}" + " and so on" * 20) -> list[Failure]:
    return [
        Failure(job=f"job{at}", case=f"case{at}", metrics=["flops/forward"], reason=reason.format(at), log="logs/a.log")
        for at in range(number)
    ]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 12), (200, 50)])
def test_the_picture_fits_the_terminal(width: int, height: int, folder: RunFolder) -> None:
    write(folder, failures=failed(24), decisions=["a row: 3 jobs requested"] * 9)
    shown = lines(folder, width=width, height=height)
    assert len(shown) <= height
    assert max(map(len, shown)) <= width
    assert len(lines(folder)) <= SCREEN
    assert any(" more" in line for line in lines(folder))
    assert sum("a long reason" in line for line in lines(folder, verbose=True)) == 24


def test_failures_for_one_reason_are_one_entry_with_their_number(folder: RunFolder) -> None:
    write(folder, failures=[*failed(1, "second"), *failed(9, "first")])
    text = "\n".join(lines(folder))
    assert text.count(": first") == text.count(": second") == 1
    assert " and 8 more: first" in text


def test_the_live_picture_ends_with_the_run(
    folder: RunFolder, tracking: Callable[..., Tracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    with lock.hold(folder.path) as held, tracking(lock=held):

        def ends(_seconds: float) -> None:
            write(folder, state="finished")
            held.release()

        monkeypatch.setattr(time, "sleep", ends)
        assert _live(take(str(folder.path))).complete


# --- a stranger's folder


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "no JSON": lambda file: file.write_text("{"),
    "no object": lambda file: file.write_text("[]"),
    "a deep nest": lambda file: file.write_text("[" * 100_000),
    "a state": lambda file: file.write_text('{"state": "happy"}'),
    "a text for a number": lambda file: file.write_text('{"elapsed_s": "5"}'),
    "a huge number": lambda file: file.write_text('{"left_s": 1e300}'),
    "below 0": lambda file: file.write_text('{"groups": [{"name": "a", "done": -1}]}'),
    "not finite": lambda file: file.write_text('{"left_s": NaN}'),
    "a path": lambda file: file.write_text('{"running": [{"job": "../../secret", "since": ""}]}'),
    "a long name": lambda file: file.write_text(json.dumps({"failures": [{"job": "a" * 999}]})),
    "a pipe": os.mkfifo,
    "a folder": lambda file: file.mkdir(),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_strangers_progress_is_refused_in_a_line(damage: str, folder: RunFolder) -> None:
    DAMAGE[damage](folder.path / progress_file.NAME)
    done = watching(folder.path, "--json")
    assert (done.returncode, progress_file.NAME in done.stderr) == (2, True)
    assert len(done.stderr.splitlines()) <= 2
    assert len(done.stderr) < 500


def test_a_strangers_folder_is_data(folder: RunFolder, plan: Plan, tmp_path: Path) -> None:
    """Links are refused, and no control character reaches the terminal."""
    job, evil = plan.jobs[0].name, "\x1b[2Jgone\nnext\u202e"
    failure = Failure(job=job, case=evil, metrics=[evil], reason=evil, log=evil)
    told: dict[str, Any] = dict.fromkeys(("title", "note", "left_reason"), evil)
    write(folder, **told, groups=[Group(name=evil, done=1)], failures=[failure], decisions=[evil], left_s=None)
    assert all(line.isprintable() for line in lines(folder))
    with lock.hold(folder.path):
        write(folder, title=evil, running=[Running(job=job, since=evil)])
        (folder.logs / f"{job}.progress").write_text(evil)
        assert all(line.isprintable() for line in lines(folder))
        (tmp_path / "secret").write_text("a secret")
        (folder.logs / f"{job}.progress").unlink()
        (folder.logs / f"{job}.progress").symlink_to(tmp_path / "secret")
    done = watching(folder.path)
    assert done.returncode == 2
    assert "a secret" not in done.stdout + done.stderr


def test_what_is_no_run_is_bad_input(tmp_path: Path) -> None:
    done = watching(tmp_path)
    assert (done.returncode, "not a run folder" in done.stderr) == (2, True)


def test_chosen_texts_are_masked_before_lines_are_cut(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "x " * 30 + "said hush hush " + "y " * 30
    write(folder, failures=[Failure(job="a", case="b", metrics=[], reason=reason)])
    monkeypatch.setenv("MODBENCH_MASK", "hush hush")
    shown = watching(folder.path, "--once").stdout + watching(folder.path, "--json").stdout
    assert "said ***" in " ".join(shown.split())
    assert "hush" not in shown
