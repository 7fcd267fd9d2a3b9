"""What a run shows before its first time, and that it counts nothing there that nobody asked for."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from present import present
from small_runs import small_plan

from modbench.harness.call.operators import of_real_tensors
from modbench.harness.call.timing.interleave import Session
from modbench.harness.domain.case import COUNTS, Case, Job
from modbench.harness.domain.notes import CountNotes
from modbench.harness.execution.progress_and_time_left import Tracker
from modbench.harness.execution.run_time import RunTime
from modbench.harness.execution.runner import phases
from modbench.harness.machine.process.torchrun import Ranks
from modbench.harness.measure.passes import count, time
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.registry.case_facts import with_facts
from modbench.harness.results import workspace
from modbench.harness.results.progress_file import Group, Running, RunProgress
from modbench.harness.results.run_folder import RunFolder
from modbench.harness.results.workspace import Steps, Workspace
from modbench.progress_bar import MOST_SHOWN, Lines, Live


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
    from modbench.harness.planning.flops import counter

    def never(*_args: object, **_kwargs: object) -> None:
        raise AssertionError

    monkeypatch.setattr(counter, "train", never)
    monkeypatch.setattr(counter, "by_fvcore", never)
    job = counting(plan_of(["latency/forward"]))
    metrics = [catalogue.metrics()[made.key] for made in job.facts.makes]
    found = [each for each in count.run(job, metrics) if each.metric == "flops/forward"]
    dense, mod = (each.noted(CountNotes) for each in found)
    assert dense.fvcore_reason == count.NO_FLOPS
    assert count.NO_TRAINING in (dense.source or "")
    assert [dense.counter_train_step, dense.train_operators, dense.guards] == [None, None, None]
    assert dense.forward_operators is not None
    assert present(dense.causality).reads_future is False
    assert present(mod.causality).reads_future
    assert mod.claims
    assert mod.operators is not None


def test_a_users_training_that_was_not_checked_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def build(config):\n"
        "    return nn.Sequential(nn.Embedding(config.vocab_size, 8), nn.Linear(8, config.vocab_size))\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    mine = with_facts(one_case("dense").model_copy(update={"model": "mine.py:build"}))
    some, every = (count.count(mine, 0, hardware=False, inputs=2, parts=parts).notes for parts in ((), COUNTS))
    assert some.training_unchecked == count.NO_TRAINING
    assert some.trained_share is None
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


@pytest.mark.slow
def test_every_step_of_counting_is_said(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    said: list[str] = []
    job = counting(plan_of(["latency/forward", "flops/train_step/hardware"]))
    metrics = [catalogue.metrics()[made.key] for made in job.facts.makes]
    with workspace.at(Workspace(tmp_path, job.name, tell=lambda line: said.append(str(line)))):
        list(count.run(job, metrics))
    first, second = job.comparison.variants
    assert said[0].endswith(f" (counting {first.id}, 1 of 2)")
    assert any("skips" in line and line.endswith(f" (counting {second.id}, 2 of 2)") for line in said)
    assert any("later tokens, call 1 of 18" in line for line in said)
    assert "training step's kernels" in said[-1]
    assert Workspace(tmp_path, job.name).said() == said[-1]


def test_a_new_step_is_said_at_once_and_a_repeated_one_once_a_second(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    said: list[str] = []
    clock = Clock()
    steps = Steps("counting", clock)
    steps.say("nobody hears this")  # outside a workspace
    with workspace.at(Workspace(tmp_path, "job", tell=lambda line: said.append(str(line)))):
        for step, passed in (("one", 0.1), ("two, 1", 0.1), ("two, 2", 0.1), ("two, 3", 1.0), ("two, 4", 0.1)):
            clock.now += passed
            steps.say(step)
    assert said == ["one (counting)", "two, 1 (counting)", "two, 3 (counting)"]


def test_what_is_merely_shown_ends_no_job(tmp_path: Path) -> None:
    """The folder is gone, or the disk is full; of several ranks only the first one speaks."""
    Workspace(tmp_path / "gone", "job").say("something")
    assert Workspace(tmp_path / "gone", "job").said() == ""
    (tmp_path / "logs").mkdir()
    Workspace(tmp_path, "job", Ranks(rank=1, world=2)).say("something")
    assert not list((tmp_path / "logs").iterdir())


def test_timing_says_its_last_word_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logs").mkdir()
    events: list[str] = []
    plan = plan_of(["latency/forward"], effort="smoke")
    job = next(job for job in plan.jobs if job.made_in == "time")
    measure = Session.measure

    def measured(self: Any, *args: Any) -> Any:
        events.append("measure")
        found = measure(self, *args)
        events.append("measured")
        return found

    monkeypatch.setattr(Session, "measure", measured)
    metrics = [catalogue.metrics()[made.key] for made in job.facts.makes]
    with workspace.at(Workspace(tmp_path, job.name, tell=lambda line: events.append(str(line)))):
        list(time.run(job, metrics))
    assert events[-3].startswith("timing 2 models ")
    assert events[-2:] == ["measure", "measured"]
    assert len(events) == 5


def test_where_there_is_no_bar_a_silent_job_gets_a_line(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    plan, stream, clock = plan_of(["latency/forward"]), io.StringIO(), Clock()
    job = counting(plan)
    lines = tracking(plan, tmp_path, display=Lines(tmp_path, stream, clock), clock=clock)
    lines.started(job)
    clock.now = Lines.SILENT_S - 1
    lines.tick()
    assert not stream.getvalue()
    Workspace(tmp_path, job.name).say("counting dense")
    for clock.now in (Lines.SILENT_S, Lines.SILENT_S + 1, 2 * Lines.SILENT_S):
        lines.tick()
    total = len(plan.jobs)
    assert stream.getvalue().splitlines() == [
        f"[0/{total}] {job.name}, 30 s: counting dense",
        f"[0/{total}] {job.name}, 1 min 00 s: counting dense",
    ]
    lines.ended(job)
    clock.now = 10 * Lines.SILENT_S
    lines.tick()
    assert len(stream.getvalue().splitlines()) == 3


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
    bar.show(RunProgress(left_reason="nobody knows"))
    assert (task.description, task.fields["left"]) == ("finishing", "time left unknown: nobody knows")


class Shown:
    """A display that keeps what is complete."""

    def __init__(self) -> None:
        self.series: list[list[str]] = []

    def show(self, now: RunProgress, ended: str = "") -> None:
        """Nothing."""

    def complete(self, processes: Sequence[Job]) -> None:
        self.series.append([job.name for job in processes])


@pytest.mark.parametrize("effort", ["draft", "standard"])
def test_a_timed_comparison_is_shown_once_when_its_last_process_has_ended(tmp_path: Path, effort: str) -> None:
    shown = Shown()
    plan = plan_of(["latency/forward", "latency/train_step"], effort=effort)
    tracker = tracking(plan, tmp_path, display=shown)
    series: dict[str, list[Job]] = {}
    for job in plan.jobs:
        if job.series:
            series.setdefault(job.series, []).append(job)
    for jobs in series.values():
        planned = [job for job in jobs if not job.rule]
        more = [job for job in jobs if job.rule][:2]
        assert (not more) == (effort == "draft")
        before = len(shown.series)
        for job in planned:
            assert len(shown.series) == before
            tracker.started(job)
            tracker.ended(job)
        if more:
            assert len(shown.series) == before
            tracker.added("", more[:1])
            tracker.added(more[0].group, more[1:])
            for job in more:
                assert len(shown.series) == before
                tracker.started(job)
                tracker.ended(job)
        assert shown.series[before:] == [[job.name for job in (*planned, *more)]]


def test_a_rule_that_asks_for_no_more_completes_a_comparison(tmp_path: Path) -> None:
    shown = Shown()
    plan = plan_of(["latency/forward"], effort="standard")
    tracker = tracking(plan, tmp_path, display=shown)
    planned = [job for job in plan.jobs if job.series and not job.rule]
    for job in planned:
        tracker.started(job)
        tracker.ended(job)
    assert not shown.series
    tracker.added(planned[0].group, [])
    assert shown.series == [[job.name for job in planned]]


def test_a_quick_look_times_one_workload_after_the_other_and_long_inputs_first() -> None:
    metrics, grid = ["latency/forward", "latency/train_step"], {"seq_len": [16, 32]}

    def order(effort: str) -> list[tuple[str, int, int]]:
        jobs = plan_of(metrics, effort=effort, grid=grid, processes=2).jobs
        return [(job.workload, job.process, job.comparison.grid_point.seq_len) for job in jobs if job.series]

    assert order("draft") == [
        (workload, process, length)
        for workload in ("forward", "train_step")
        for process in (0, 1)
        for length in (32, 16)
    ]
    assert [process for _, process, _ in order("standard")] == [0] * 4 + [1] * 4
    metrics, grid = ["latency/decode", "latency/prefill", "latency/forward"], {"seq_len": [16]}
    assert [workload for workload, *_ in order("draft")] == ["forward"] * 2 + ["prefill"] * 2 + ["decode"] * 2


def test_a_plan_counts_the_counting() -> None:
    """A large model takes longer to count, and so does a suite that asks for more; products are only a part of it."""
    shape = {"d_model": 576, "n_layers": 30, "n_heads": 9, "vocab_size": 49_152}
    asks = (
        ["latency/forward"],
        ["latency/forward", "latency/train_step", "flops/forward", "flops/train_step/hardware"],
    )
    small, large, more = (
        RunTime(plan, {}).seconds(counting(plan), 1)
        for plan in (plan_of(asks[0]), plan_of(asks[0], shape=shape), plan_of(asks[1], shape=shape))
    )
    assert small < large / 2 < more / 4
    forward = sum(1e9 for _ in range(2))
    job = counting(plan_of(asks[0], shape=shape))
    assert count.estimate_seconds(job, lambda _: 0.0) > forward / 60e9
    assert count.estimate_seconds(job, lambda _: 1.0) == pytest.approx(
        count.estimate_seconds(job, lambda _: 0.0) + 2 * (3 + 22)
    )
