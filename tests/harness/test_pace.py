"""How long training takes beside its promise: learnt from jobs that ended, used by later plans. No seconds are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from planted_peaks import planted

from modbench.commands.plan.forecast import as_text, forecast
from modbench.harness.core.contracts import Text
from modbench.harness.core.units import human_duration
from modbench.harness.domain.case import Job
from modbench.harness.execution import run_time
from modbench.harness.execution.limits import Limits
from modbench.harness.execution.run_time import RunTime
from modbench.harness.machine.roofline import stored
from modbench.harness.machine.roofline.stored import USUAL, Load, Pace
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.plan import Plan, make_plan

SLOW = {"fp32": planted(1e7)}


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is known of machines is this test's own."""
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "kept"))
    return tmp_path


def plan_of(**train: Any) -> Plan:
    """A model is trained and timed on a CPU."""
    suite = {"name": "trained", "effort": "draft", "metrics": ["loss/val", "latency/forward"], "aa_control": False}
    suite |= {"shape": {"d_model": 32, "n_layers": 2}, "grid": {"seq_len": [64]}, "variants": [{"model": "dense"}]}
    suite |= {"train": {"seq_len": 64, "batch_size": 2, "steps": 400, **train}}
    text = Text("t", b"ab" * 40_000, b"ba" * 40_000, "c0ffee")
    return make_plan(parse_suite(suite, "trained"), device="cpu", text=text)


def job_of(plan: Plan, name: str) -> Job:
    return next(job for job in plan.jobs if job.made_in == name)


# --- the pace of training


def test_the_fastest_of_the_last_runs_at_the_nearest_size_counts() -> None:
    found, first = Pace(), [("a", 1e9, 2.1), ("a", 1e12, 1.1), ("b", 1e9, 2.5)]
    for run, flops, ratio in (*first, ("a", 1.2e9, 2.0), ("a", 1e9, 3.0), ("c", 1e9, 3.0)):
        found = found.with_run(run, flops, ratio)
    assert found.ratios == {9: {"b": 2.5, "a": 2.0, "c": 3.0}, 12: {"a": 1.1}}
    assert [found.of(flops) for flops in (1.0, 1e9, 2e10, 5e11, 1e15)] == [2.0, 2.0, 2.0, 1.1, 1.1]
    assert found.with_run("d", 1e9, 4.0).ratios[9] == {"a": 2.0, "c": 3.0, "d": 4.0}
    assert Pace().of(1e9) == USUAL


def test_only_training_takes_as_many_times_longer_and_short_training_tells_nothing() -> None:
    plan = plan_of()
    train, timed = job_of(plan, "train"), job_of(plan, "time")
    plain = RunTime(plan, SLOW, {"fp32": Pace(ratios={8: {"a": 1.0}})})
    paced = RunTime(plan, SLOW, {"fp32": Pace(ratios={8: {"a": 3.0}})})
    assert (RunTime(plan, SLOW).paced, paced.paced) == (False, True)
    assert paced.seconds(timed, 1) == plain.seconds(timed, 1)
    start = plain.seconds(train.model_copy(update={"flops": 0.0}), 1)
    assert paced.seconds(train, 1) - start == pytest.approx(3 * (plain.seconds(train, 1) - start))
    # What took as long as predicted with a pace has that pace; nothing is faster than its peaks.
    assert paced.pace_of(train, paced.seconds(train, 1)) == (pytest.approx(plain._work(train)[1]), pytest.approx(3.0))  # type: ignore[index]
    assert paced.pace_of(train, 0.0) == (pytest.approx(plain._work(train)[1]), 1.0)  # type: ignore[index]
    assert paced.pace_of(timed, 100.0) is None
    short = plan_of(steps=2)
    assert RunTime(short, {"fp32": planted(1e12)}).pace_of(job_of(short, "train"), 100.0) is None


def test_a_run_tells_later_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_time, "_kept", lambda *_: SLOW)
    plan = plan_of()
    train = job_of(plan, "train")
    before = RunTime(plan).seconds(train, 1)
    Limits(plan).paced(train, 10 * before)  # elsewhere
    assert RunTime(plan).seconds(train, 1) == before
    run = Limits(plan, run="a")
    for times in (4.0, 2.0, 3.0):
        run.paced(train, times * before)
    after = RunTime(plan)
    assert after.paced
    assert after.seconds(train, 1) == pytest.approx(2 * before)
    for name in ("b", "b", "c"):  # slower runs, such as beside other work; one of them was resumed
        Limits(plan, run=name).paced(train, 3 * before)
    assert RunTime(plan).seconds(train, 1) == pytest.approx(2 * before)
    Limits(plan, run="d").paced(train, 3 * before)  # the third: the machine has become slower
    assert RunTime(plan).seconds(train, 1) == pytest.approx(3 * before)


# --- a busy machine


def test_the_most_of_the_last_three_counts_and_never_less_than_predicted() -> None:
    found = Load()
    assert found.most == 1.0
    for who, times in (("a", 4.0), ("b", 0.5), (stored.CHECK, 1.2), ("b", 1.5), ("c", 1.1)):
        found = found.with_seen(who, times)
    assert found.seen == {stored.CHECK: 1.2, "b": 1.5, "c": 1.1}
    assert found.most == 1.5
    assert Load(seen={"a": 0.3}).most == 1.0


@pytest.mark.parametrize("who", ["a", stored.CHECK])
def test_a_plan_says_a_range_up_to_what_a_busy_machine_took_last(who: str) -> None:
    plan = plan_of()
    quiet, named = forecast(plan), f"trained: {len(plan.jobs)} jobs on cpu, about"
    assert as_text(quiet).startswith(f"{named} {human_duration(quiet['predicted_s'])}.")
    stored.keep_load(RunTime(plan).machine, who, 2.5)
    busy = forecast(plan)
    assert busy["predicted_s"] == quiet["predicted_s"]
    assert as_text(busy).startswith(f"{named} {busy['predicted_s']:.0f} to {2.5 * busy['predicted_s']:.0f} s.")
    assert "2.5 times the predicted one" in " ".join(as_text(busy).split())
    assert "times the predicted one" not in as_text(quiet)
    stored.keep_load(RunTime(plan).machine, who, 1.0)  # by now it is quiet
    assert as_text(forecast(plan)) == as_text(quiet)
