"""`modbench watch`: what the runner wrote, and whether it still lives; nothing is measured here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from in_process import command_line, succeeded
from present import present
from test_progress import plan_of as small_plan
from test_progress import tracking

from modbench.commands.watch import _live, snapshot
from modbench.commands.watch.snapshot import take
from modbench.harness.core.atomic_files import now
from modbench.harness.core.errors import UsageError
from modbench.harness.core.plain_text import SCREEN
from modbench.harness.domain.case import Job
from modbench.harness.domain.records import Missing
from modbench.harness.execution.progress_and_time_left import SELDOM_S
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.results import lock, progress_file
from modbench.harness.results.measured_or_missing import missing
from modbench.harness.results.progress_file import Failure, Group, Running, RunProgress
from modbench.harness.results.run_folder import RunFolder
from modbench.harness.results.workspace import Workspace
from modbench.planted_runs import PlantedTrouble, planted_record

plan_of = partial(small_plan, ["latency/forward", "memory/peak_allocated"])


@pytest.fixture
def plan() -> Plan:
    return plan_of()


@pytest.fixture
def folder(plan: Plan, tmp_path: Path) -> RunFolder:
    return begun(tmp_path / "run", plan)


def begun(path: Path, plan: Plan) -> RunFolder:
    path.mkdir()
    folder = RunFolder(path)
    folder.write_run(plan, {}, ["modbench", "run", "small"], now())
    return folder


def written(folder: RunFolder, **fields: Any) -> Path:
    """A folder in which a runner wrote this before it was killed."""
    progress_file.write(
        folder.path, RunProgress(**{"title": "small, draft, cpu", "left_s": 60.0, "most_s": 60.0, **fields})
    )
    return folder.path


watching = partial(command_line, "watch")


def lines(folder: RunFolder | Path, **options: Any) -> list[str]:
    path = folder if isinstance(folder, Path) else folder.path
    return snapshot.as_lines(take(str(path)), **options)


def keep(folder: RunFolder, job: Job, gap: Missing | None = None) -> None:
    """Write a record in which the last case failed, if one is given."""
    record, last, metrics = planted_record(job, PlantedTrouble()), job.comparison.variants[-1], catalogue.metrics()
    if gap is not None:
        outcomes = (
            missing(last, metrics[each.metric], gap) if each.case == last.id else each for each in record.outcomes
        )
        record = record.model_copy(update={"outcomes": tuple(outcomes)})
    folder.write_record(record)


def test_jobs_are_counted_by_what_became_of_them(folder: RunFolder, plan: Plan) -> None:
    count, *_ = plan.jobs
    timed = [job for job in plan.jobs if job.made_in == "time"]
    gap = Missing(status="failed", kind="error", reason="ValueError: no")
    with lock.hold(folder.path) as held, tracking(plan, folder.path, lock=held) as tracker:
        assert lines(folder)[0].startswith("small, draft, cpu: running ")
        for job in (count, *timed[:2]):
            tracker.started(job)
            keep(folder, job, gap if job == timed[1] else None)
            folder.log(job).write_text("Traceback")
            tracker.ended(job)
        tracker.started(timed[2])
        Workspace(folder.path, timed[2].name).say("timing 3 models")
        seen = take(str(folder.path))
        assert seen.now is not None
        groups = {each.name: each for each in seen.now.groups}
        assert groups["count"] == Group(name="count", done=1)
        assert groups["time"] == Group(name="time", done=1, failed=1, running=1, waiting=len(timed) - 3)
        assert groups["memory"].waiting == 1
        assert seen.said == {timed[2].name: "timing 3 models"}
        (failure,) = seen.now.failures
        assert (failure.job, failure.log, failure.reason) == (timed[1].name, f"logs/{timed[1].name}.log", gap.reason)
        assert (seen.state, seen.complete, seen.next_step) == ("running", False, None)
        text = "\n".join(lines(folder))
        assert str(os.getpid()) in text
        assert f"  {failure.case}: ValueError: no ({failure.metrics[0]})\n    see {failure.log}\n" in f"{text}\n"
        body = json.loads(json.dumps(snapshot.as_json(seen)))
        assert body["groups"][0] == {"name": "count", "done": 1, "failed": 0, "running": 0, "waiting": 0, "jobs": 1}
        assert [each["said"] for each in body["running"]] == ["timing 3 models"]
        tracker.stop.finishing = True
        tracker.tick()
        assert (take(str(folder.path)).state, take(str(folder.path)).alive) == ("stopping", True)
        assert lines(folder)[0].startswith("small, draft, cpu: stopping ")


def test_a_run_is_finished_when_its_runner_says_so_and_its_records_are_there(folder: RunFolder, plan: Plan) -> None:
    moment = [0.0]
    with tracking(plan, folder.path, clock=lambda: moment[0]) as tracker:
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
    assert f"modbench resume {folder.path}" in done.stdout


@pytest.mark.parametrize(
    ("error", "state", "note"),
    [(KeyboardInterrupt(), "stopped", ""), (OSError(28, "No space left"), "failed", "[Errno 28] No space left")],
)
def test_how_a_runner_ended_is_written(
    error: BaseException, state: str, note: str, folder: RunFolder, plan: Plan
) -> None:
    def ends() -> None:
        with tracking(plan, folder.path) as tracker:
            tracker.started(plan.jobs[0])
            raise error

    with pytest.raises(type(error)):
        ends()
    seen = take(str(folder.path))
    assert seen.now is not None
    assert (seen.state, seen.now.note) == (state, note)
    assert sum(each.running for each in seen.now.groups) == len(seen.now.running) == 0
    assert seen.next_step == f"modbench resume {folder.path}"
    assert lines(folder)[0].endswith(" to run")


def test_a_runner_that_lost_its_folder_writes_no_more(folder: RunFolder, plan: Plan) -> None:
    with lock.hold(folder.path) as held, tracking(plan, folder.path, lock=held) as tracker:
        before = (folder.path / progress_file.NAME).read_bytes()
        other = held.holder.model_copy(update={"token": "another"})
        (folder.path / lock.NAME).write_text(other.model_dump_json())
        tracker.started(plan.jobs[0])
    assert (folder.path / progress_file.NAME).read_bytes() == before


def test_beside_a_timed_job_the_progress_is_written_seldom(folder: RunFolder, plan: Plan) -> None:
    moment = [0.0]
    tracker = tracking(plan, folder.path, clock=lambda: moment[0])

    def writes(job: Job, seconds: int) -> int:
        """Number of writes while a job runs, with a tick each second."""
        tracker.started(job)
        number = 0
        for _ in range(seconds):
            moment[0] += 1
            (folder.path / progress_file.NAME).unlink(missing_ok=True)
            tracker.tick()
            number += (folder.path / progress_file.NAME).exists()
        keep(folder, job)
        tracker.ended(job)
        return number

    timed = next(job for job in plan.jobs if job.made_in == "time")
    assert writes(timed, 39) == 39 // SELDOM_S
    assert writes(plan.jobs[0], 39) == 39


def test_a_dead_runner_is_named_with_what_continues_the_run(folder: RunFolder) -> None:
    written(folder)
    (folder.path / lock.NAME).write_text(lock.Holder(host="here", pid=7).model_dump_json())
    done = watching("--once", folder.path)
    assert done.returncode == 4
    assert "stopped" in done.stdout
    assert "dead" in done.stdout
    assert f"modbench resume {folder.path}" in done.stdout
    written(folder, resumable=False)
    assert (take(str(folder.path)).next_step or "").endswith(f"command with -o {folder.path}")


def test_without_locks_a_runner_lives_while_it_writes(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    written(folder)
    monkeypatch.setattr(lock, "_state", lambda *_, **__: "unknown")
    (folder.path / lock.NAME).write_text("")
    assert take(str(folder.path)).state == "running"
    os.utime(folder.path / progress_file.NAME, (time.time() - 7200, time.time() - 7200))
    assert (take(str(folder.path)).next_step or "").endswith("--take-over")


def test_a_runner_that_hangs_shows_in_the_age_of_what_it_wrote(folder: RunFolder) -> None:
    written(folder)
    with lock.hold(folder.path):
        assert "written" not in lines(folder)[0]
        os.utime(folder.path / progress_file.NAME, (time.time() - 7200, time.time() - 7200))
        assert "running for 2 h 00 min" in lines(folder)[0]
        assert lines(folder)[0].endswith("written 2 h 00 min ago")


def test_without_a_runner_nobody_counts_what_jobs_do(folder: RunFolder, plan: Plan) -> None:
    first, second, *_ = plan.jobs
    tracker = tracking(plan, folder.path, remote=True, clock=lambda: 0.0)
    tracker.started(first)
    tracker.stop.left = "1 job goes on"
    with pytest.raises(KeyboardInterrupt), tracker:
        raise KeyboardInterrupt
    assert "jobs may go on" in lines(folder)[0]
    assert "note     1 job goes on" in lines(folder)
    keep(folder, second)
    assert lines(folder)[0].endswith("1 record written since")
    seen = take(str(folder.path))
    assert seen.now is not None
    assert (seen.now.left_s, seen.now.most_s) == (None, None)
    assert seen.now.left_reason
    with lock.hold(folder.path):  # a runner is there again: a job that has said nothing may wait in the queue
        assert take(str(folder.path)).said == {}
        Workspace(folder.path, first.name).say("timing 3 models")
        assert take(str(folder.path)).said == {first.name: "timing 3 models"}
        assert any("submitted" in line for line in lines(folder))


def test_jobs_that_are_submitted_at_once_are_written_together(folder: RunFolder, plan: Plan) -> None:
    moment = [0.0]
    tracker = tracking(plan, folder.path, remote=True, clock=lambda: moment[0])
    for job in plan.jobs:
        tracker.started(job)
    seen = present(progress_file.read(folder.path))
    assert sum(each.running for each in seen.groups) == 1
    moment[0] = 1.0
    tracker.tick()
    seen = present(progress_file.read(folder.path))
    assert sum(each.running for each in seen.groups) == len(plan.jobs)
    keep(folder, plan.jobs[0])
    moment[0] = 3.0
    tracker.ended(plan.jobs[0])
    assert tracker.now.left_s == pytest.approx(3.0 * (tracker._total - tracker._done) / tracker._done)


def test_a_folder_of_an_earlier_version_shows_what_its_files_do(folder: RunFolder, plan: Plan) -> None:
    keep(folder, plan.jobs[0])
    (first, *_), seen = lines(folder), take(str(folder.path))
    assert "unknown, 1 record; " in first
    assert (seen.complete, seen.state) == (False, "unknown")
    folder.write_finished({"ended": now(), "wall_s": 61.0, "timed_wall_s": 1.0, "parent_cpu_s": 0.0})
    succeeded(watching(folder.path))
    body = snapshot.as_json(take(str(folder.path)))
    assert (body["state"], body["left_s"], body["groups"], body["records"]) == ("finished", None, [], 1)
    assert "progress.json" in body["left_reason"]
    with lock.hold(folder.path):
        assert ": starting, 1 record; " in lines(folder)[0]


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
    for option in ("--once", "--json"):
        done = watching(folder.path, option)
        assert (done.returncode, progress_file.NAME in done.stderr) == (2, True)
        assert len(done.stderr.splitlines()) <= 2
        assert len(done.stderr) < 500


def test_a_strangers_folder_is_data(folder: RunFolder, plan: Plan, tmp_path: Path) -> None:
    """Links are refused, and no control character reaches the terminal."""
    job, evil = plan.jobs[0].name, "\x1b[2Jgone\nnext\u202e"
    failure = Failure(job=job, case=evil, metrics=[evil], reason=evil, log=evil)
    told = dict.fromkeys(("title", "note", "left_reason"), evil)
    written(folder, **told, groups=[Group(name=evil, done=1)], failures=[failure], decisions=[evil], left_s=None)
    assert all(line.isprintable() for line in lines(folder))
    with lock.hold(folder.path):
        written(folder, title=evil, running=[Running(job=job, since=evil)])
        (folder.logs / f"{job}.progress").write_text(evil)
        assert all(line.isprintable() for line in lines(folder))
        (tmp_path / "secret").write_text("a secret")
        (folder.logs / f"{job}.progress").unlink()
        (folder.logs / f"{job}.progress").symlink_to(tmp_path / "secret")
    done = watching(folder.path)
    assert done.returncode == 2
    assert "a secret" not in done.stdout + done.stderr


def test_a_record_that_is_damaged_counts_as_failed(folder: RunFolder, plan: Plan) -> None:
    tracker = tracking(plan, folder.path)
    tracker.started(plan.jobs[0])
    folder.record(plan.jobs[0]).write_text("{")
    tracker.ended(plan.jobs[0])
    (failure,) = tracker.now.failures
    assert "its record is damaged" in failure.reason


def test_a_cluster_of_failures_and_jobs_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_file, "MOST_FAILURES", 3)
    monkeypatch.setattr(progress_file, "MOST_RUNNING", 2)
    plan = plan_of(grid={"seq_len": [16, 32, 64]})
    folder = begun(tmp_path / "run", plan)
    tracker = tracking(plan, folder.path)
    timed = [job for job in plan.jobs if job.made_in == "time"][:8]
    for job in timed:
        tracker.started(job)
    assert [each.job for each in tracker.now.running] == [job.name for job in timed[:2]]
    for job in timed:
        keep(folder, job, Missing(status="failed", kind="error", reason="no " * 1000))
        tracker.ended(job)
    assert (len(tracker.now.failures), tracker.now.failures_left_out) == (3, 5)
    assert len(tracker.now.failures[0].reason) == progress_file.MOST_TEXT
    assert any("5 more" in line for line in lines(folder))


def test_what_is_no_run_or_is_gone_is_bad_input(folder: RunFolder, tmp_path: Path) -> None:
    for none in (tmp_path, tmp_path / "nowhere"):
        done = watching(none)
        assert (done.returncode, "not a run folder" in done.stderr) == (2, True)
    shutil.rmtree(folder.path)
    with pytest.raises(UsageError, match="not a run folder"):
        take(str(folder.path))


def test_chosen_texts_are_masked_before_lines_are_cut(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "x " * 30 + "said hush hush " + "y " * 30
    written(folder, failures=[Failure(job="a", case="b", metrics=[], reason=reason)])
    monkeypatch.setenv("MODBENCH_MASK", "hush hush")
    shown = watching(folder.path, "--once").stdout + watching(folder.path, "--json").stdout
    assert "said ***" in " ".join(shown.split())
    assert "hush" not in shown


def failed(number: int, reason: str = "a long reason {}" + " and so on" * 20) -> list[Failure]:
    return [
        Failure(job=f"job{at}", case=f"case{at}", metrics=["flops/forward"], reason=reason.format(at), log="logs/a.log")
        for at in range(number)
    ]


def test_the_picture_fits_the_terminal(folder: RunFolder) -> None:
    written(folder, failures=failed(24), decisions=["a row: 3 jobs requested"] * 9)
    for width, height in ((80, 24), (40, 12), (200, 50)):
        shown = lines(folder, width=width, height=height)
        assert len(shown) <= height
        assert max(map(len, shown)) <= width
    assert any(" more" in line for line in lines(folder, width=80, height=24))
    assert len(lines(folder)) <= SCREEN
    assert sum("a long reason" in line for line in lines(folder, verbose=True)) == 24


def test_failures_for_one_reason_are_one_entry_with_their_number(folder: RunFolder) -> None:
    written(folder, failures=[*failed(1, "second"), *failed(9, "first")])
    shown = lines(folder)
    assert sum(": first" in line for line in shown) == sum(": second" in line for line in shown) == 1
    assert " and 8 more: first" in "\n".join(shown)


def test_the_live_picture_ends_with_the_run(folder: RunFolder, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    with lock.hold(folder.path) as held, tracking(plan, folder.path, lock=held):

        def ends(_seconds: float) -> None:
            written(folder, state="finished")
            held.release()

        monkeypatch.setattr(time, "sleep", ends)
        assert _live(take(str(folder.path))).complete


@pytest.mark.slow
def test_watching_loads_no_torch(folder: RunFolder) -> None:
    code = (
        "import sys; sys.argv = ['modbench', 'watch', '--once', sys.argv[1]]\n"
        "from modbench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print(end.code)\n"
        "print([name for name in ('torch', 'numpy', 'pandas', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder.path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["4", "[]"]
