"""What a run shows while it goes on, when a comparison is shown, and that nothing is counted that nobody asked for."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from present import present
from small_runs import small_plan

from modbench.harness.call.operators import of_real_tensors
from modbench.harness.call.timing.interleave import Session
from modbench.harness.domain.case import COUNTS, Case, Job
from modbench.harness.domain.notes import CountNotes
from modbench.harness.domain.records import Outcome
from modbench.harness.execution.progress_and_time_left import Tracker
from modbench.harness.execution.run_time import RunTime
from modbench.harness.execution.runner import phases
from modbench.harness.machine.process.torchrun import Ranks
from modbench.harness.measure.passes import count, time
from modbench.harness.planning.flops import counter
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.registry.case_facts import with_facts
from modbench.harness.results import workspace
from modbench.harness.results.progress_file import Group, Running, RunProgress
from modbench.harness.results.run_folder import RunFolder
from modbench.harness.results.workspace import Workspace
from modbench.progress_bar import MOST_SHOWN, Lines, Live

Run = Callable[[Job, list[Any]], Iterable[object]]


def plan_of(metrics: list[str], models: tuple[str, ...] = ("dense", "mod"), **changes: Any) -> Plan:
    shape, grid = {"d_model": 32, "n_layers": 2, "vocab_size": 64}, {"seq_len": [16]}
    return small_plan(metrics, *models, **{"effort": "draft", "shape": shape, "grid": grid, **changes})


def tracking(plan: Plan, path: Path, **more: Any) -> Tracker:
    return Tracker(plan, phases(plan, 1), RunFolder(path), **more)


def counting(plan: Plan) -> Job:
    return next(job for job in plan.jobs if job.made_in == "count")


def one_case(model: str = "dense") -> Case:
    return plan_of(["latency/forward"], (model,)).cases[0]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[list[str]]:
    """What is said in the workspace of a job."""
    (tmp_path / "logs").mkdir()
    said: list[str] = []
    with workspace.at(Workspace(tmp_path, "job", tell=lambda line: said.append(str(line)))):
        yield said


def measured(run: Run, job: Job) -> list[Outcome]:
    found = run(job, [catalogue.metrics()[made.key] for made in job.facts.makes])
    return [each for each in found if isinstance(each, Outcome)]


@pytest.mark.parametrize(
    ("metrics", "parts"),
    [
        (["latency/forward"], {"forward_operators"}),
        (["latency/forward", "flops/forward"], {"forward_operators", "third_opinion"}),
        (["latency/train_step"], {"train_operators", "training"}),
        (["mfu/forward"], {"forward_operators"}),
        (["memory/peak_allocated"], {"training"}),
        (["latency/decode"], set()),
        (["flops/train_step", "latency/forward", "latency/train_step"], set(COUNTS)),
    ],
)
def test_a_suite_is_counted_for_what_it_asks(metrics: list[str], parts: set[str]) -> None:
    assert set(counting(plan_of(metrics)).protocol.counts or ()) == parts


@pytest.mark.slow
def test_what_nobody_asked_for_does_not_run_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """No training step, no third opinion; the guards that a time needs have all run."""
    for name in ("train", "by_fvcore"):
        monkeypatch.setattr(counter, name, None)
    job = counting(plan_of(["latency/forward"]))
    dense, mod = (each.noted(CountNotes) for each in measured(count.run, job) if each.metric == "flops/forward")
    assert dense.fvcore_reason == count.NO_FLOPS
    assert count.NO_TRAINING in (dense.source or "")
    assert [dense.counter_train_step, dense.train_operators, dense.guards] == [None, None, None]
    assert dense.forward_operators is not None
    assert [present(each.causality).reads_future for each in (dense, mod)] == [False, True]
    assert mod.claims


@pytest.mark.usefixtures("here")
def test_a_users_training_that_was_not_checked_says_so() -> None:
    mine = with_facts(one_case("dense").model_copy(update={"model": "own.py:good"}))
    some, every = (count.count(mine, 0, hardware=False, inputs=2, parts=parts).notes for parts in ((), COUNTS))
    assert (some.training_unchecked, some.trained_share) == (count.NO_TRAINING, None)
    assert every.training_unchecked is None
    assert every.trained_share == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(model, marks=() if model in {"mod", "early_exit"} else pytest.mark.proof)
        for model in sorted(catalogue.entries("models"))
    ],
)
def test_operators_and_guards_do_not_depend_on_how_they_were_run(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counted forward pass shows the operators of one on its own; few tokens show what many do."""
    shape = {"d_model": 32, "n_layers": 4 if model == "depth_branches" else 2, "vocab_size": 64}
    plan = plan_of(["latency/forward"], (model,), shape=shape, grid={"seq_len": [64], "batch_size": [2]})
    case = plan.cases[0]
    many = count.count(case, 0, hardware=False, parts=("forward_operators",)).notes
    assert many.forward_operators == of_real_tensors(case, 0, training=False)
    monkeypatch.setattr(count, "LARGE", 0)
    few = count.count(case, 0, hardware=False, parts=()).notes
    assert present(few.causality).reads_future == present(many.causality).reads_future
    assert [few.guards, many.guards, few.reused, many.reused] == [None] * 4


def test_the_guards_of_a_large_model_use_few_tokens_and_of_a_users_all() -> None:
    case = one_case()
    assert count.guarded(case, 10**6) == count.GUARDED
    assert count.guarded(case, 10**9) == count.GUARDED_LARGE
    assert count.guarded(with_facts(case.model_copy(update={"model": "mine.py:build"})), 10**9) is None


def test_timing_says_its_last_word_before_it_begins(heard: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    measure = Session.measure

    def noted(self: Any, *args: Any) -> Any:
        heard.append("measure")
        found = measure(self, *args)
        heard.append("measured")
        return found

    monkeypatch.setattr(Session, "measure", noted)
    job = next(job for job in plan_of(["latency/forward"], effort="smoke").jobs if job.made_in == "time")
    measured(time.run, job)
    assert heard[-3].startswith("timing 2 models ")
    assert heard[-2:] == ["measure", "measured"]


def test_what_is_merely_shown_ends_no_job(tmp_path: Path) -> None:
    """The folder is gone, or the disk is full; of several ranks only the first one speaks."""
    Workspace(tmp_path / "gone", "job").say("something")
    assert Workspace(tmp_path / "gone", "job").said() == ""
    (tmp_path / "logs").mkdir()
    Workspace(tmp_path, "job", Ranks(rank=1, world=2)).say("something")
    assert not list((tmp_path / "logs").iterdir())


def test_where_there_is_no_bar_a_silent_job_gets_a_line(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    plan, stream, clock = plan_of(["latency/forward"]), io.StringIO(), Clock()
    job, total = counting(plan), len(plan.jobs)
    lines = tracking(plan, tmp_path, display=Lines(tmp_path, stream, clock), clock=clock)
    lines.started(job)
    Workspace(tmp_path, job.name).say("counting dense")
    for clock.now in (Lines.SILENT_S - 1, Lines.SILENT_S, Lines.SILENT_S + 1, 2 * Lines.SILENT_S):
        lines.tick()
    assert stream.getvalue().splitlines() == [
        f"[0/{total}] {job.name}, 30 s: counting dense",
        f"[0/{total}] {job.name}, 1 min 00 s: counting dense",
    ]


def test_a_bar_shows_what_the_runner_counts(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    Workspace(tmp_path, "first").say("counting dense")
    running = [Running(job=name, since="") for name in ("first", *map(str, range(MOST_SHOWN)))]
    groups = [Group(name="time", done=3, failed=1, running=len(running), waiting=2)]
    bar = Live(tmp_path)
    bar.show(RunProgress(elapsed_s=4, left_s=16, most_s=90, more=True, groups=groups, running=running))
    (task,) = bar.bar.tasks
    assert (task.completed, task.total) == (4, 20)
    assert task.fields == {"jobs": f"4/{6 + len(running)}+", "left": "16 to 90 s left"}
    assert task.description.startswith("counting dense (first), 0, 1,")
    assert task.description.endswith("1 more")


def test_a_reader_that_goes_away_ends_no_run() -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    Lines(stream=Gone()).show(RunProgress(left_s=1.0, most_s=1.0), "a job")


@pytest.mark.parametrize("more", [None, 0, 2])
def test_a_timed_comparison_is_shown_once_when_its_last_process_has_ended(tmp_path: Path, more: int | None) -> None:
    """At draft effort nothing asks for more processes; else a rule asks for some, or decides that these do."""
    display = mock.Mock()
    plan = plan_of(["latency/forward"], effort="draft" if more is None else "standard")
    tracker = tracking(plan, tmp_path, display=display)
    planned = [job for job in plan.jobs if job.series and not job.rule]
    asked = [job for job in plan.jobs if job.rule][:more]
    assert not (more is None and asked)

    def run(jobs: Sequence[Job]) -> None:
        for job in jobs:
            display.complete.assert_not_called()
            tracker.started(job)
            tracker.ended(job)

    run(planned)
    if more is not None:
        display.complete.assert_not_called()
        tracker.added("", asked[:1])
        tracker.added(planned[0].group, asked[1:])
    run(asked)
    display.complete.assert_called_once()
    assert [job.name for job in display.complete.call_args.args[0]] == [job.name for job in (*planned, *asked)]


def test_the_time_left_follows_from_how_long_jobs_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path))  # no peaks: a plan with operators takes seconds
    plan, clock = plan_of(["latency/forward"]), Clock()
    with tracking(plan, tmp_path, clock=clock) as tracker:
        total, half = present(tracker.now.left_s), len(plan.jobs) // 2
        for job in plan.jobs[:half]:
            tracker.started(job)
            tracker.ended(job)
        rest = total - tracker._done
        clock.now = 3 * tracker._done  # three times slower than predicted
        tracker.tick()
        assert tracker.now.left_s == tracker.now.most_s == pytest.approx(3 * rest)
        for job in plan.jobs[half:]:
            tracker.started(job)
            tracker.ended(job)
        assert tracker.now.left_s == 0


def test_a_plan_counts_the_counting() -> None:
    """A large model takes longer to count, and so does a suite that asks for more; products are only a part of it."""
    shape = {"d_model": 576, "n_layers": 30, "n_heads": 9, "vocab_size": 49_152}
    metrics = ["latency/forward", "latency/train_step", "flops/forward", "flops/train_step/hardware"]
    plans = plan_of(metrics[:1]), plan_of(metrics[:1], shape=shape), plan_of(metrics, shape=shape)
    small, large, more = (RunTime(plan, {}).seconds(counting(plan), 1) for plan in plans)
    assert small < large / 2 < more / 4
    nothing = count.estimate_seconds(counting(plans[1]), lambda _: 0.0)
    second = count.estimate_seconds(counting(plans[1]), lambda _: 1.0)
    assert second == pytest.approx(nothing + 2 * (3 + 22))
