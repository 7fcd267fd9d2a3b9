"""What a run shows while it goes on, and that nothing is counted that nobody asked for."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from present import present
from small_runs import small_plan

from modbench.harness.call.operators import of_real_tensors
from modbench.harness.domain.case import COUNTS, Case, Job
from modbench.harness.execution.progress_and_time_left import Tracker
from modbench.harness.execution.runner import phases
from modbench.harness.machine.process.torchrun import Ranks
from modbench.harness.measure.passes import count
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.registry.case_facts import with_facts
from modbench.harness.results.progress_file import Group, Running, RunProgress
from modbench.harness.results.run_folder import RunFolder
from modbench.harness.results.workspace import Workspace
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


def test_what_is_merely_shown_ends_no_job(tmp_path: Path) -> None:
    """The folder is gone, or the disk is full; of several ranks only the first one speaks."""
    Workspace(tmp_path / "gone", "job").say("something")
    assert Workspace(tmp_path / "gone", "job").said() == ""
    (tmp_path / "logs").mkdir()
    Workspace(tmp_path, "job", Ranks(rank=1, world=2)).say("something")
    assert not list((tmp_path / "logs").iterdir())


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
