"""How long training takes beside its promise: learnt from units that ended, used by later plans. No seconds are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from planted_peaks import planted

from modbench.harness.core.contracts import Text
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.execution.limits import Limits
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.profiling import run_time
from modbench.harness.profiling.run_time import RunTime
from modbench.harness.roofline import stored
from modbench.harness.roofline.stored import USUAL, Pace

SLOW = {"fp32": planted(1e7)}


def plan_of(**train: Any) -> Plan:
    suite = {
        "name": "trained",
        "effort": "draft",
        "metrics": ["loss/val", "latency/forward"],
        "shape": {"d_model": 32, "n_layers": 2},
        "grid": {"seq_len": [64]},
        "arms": [{"model": "dense"}],
        "train": {"seq_len": 64, "batch_size": 2, "steps": 400, **train},
        "twin": False,
    }
    return make_plan(
        parse_suite(suite, "trained"), device="cpu", text=Text("t", b"ab" * 40_000, b"ba" * 40_000, "c0ffee")
    )


def unit_of(plan: Plan, name: str) -> UnitOfWork:
    return next(unit for unit in plan.units if unit.made_in == name)


def test_the_fastest_of_the_last_runs_at_the_nearest_size_counts() -> None:
    found = Pace()
    for run, flops, ratio in (
        ("a", 1e9, 2.1),
        ("a", 1e12, 1.1),
        ("b", 1e9, 2.5),
        ("a", 1.2e9, 2.0),
        ("a", 1e9, 3.0),
        ("c", 1e9, 3.0),
    ):
        found = found.with_run(run, flops, ratio)
    assert found.ratios == {9: {"b": 2.5, "a": 2.0, "c": 3.0}, 12: {"a": 1.1}}
    assert [found.of(flops) for flops in (1.0, 1e9, 2e10, 5e11, 1e15)] == [2.0, 2.0, 2.0, 1.1, 1.1]
    assert found.with_run("d", 1e9, 4.0).ratios[9] == {"a": 2.0, "c": 3.0, "d": 4.0}
    assert Pace().of(1e9) == USUAL


def test_only_training_takes_as_many_times_longer() -> None:
    plan = plan_of()
    train, timed = unit_of(plan, "train"), unit_of(plan, "time")
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


def test_short_training_tells_nothing() -> None:
    plan = plan_of(steps=2)
    assert RunTime(plan, {"fp32": planted(1e12)}).pace_of(unit_of(plan, "train"), 100.0) is None


def test_a_run_tells_later_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path))
    monkeypatch.setattr(run_time, "_kept", lambda *_: SLOW)
    plan = plan_of()
    train = unit_of(plan, "train")
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


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").write_text("a file")
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))
    stored.keep_pace("machine", "fp32", "a", 1e9, 2.0)
    assert stored.latest_pace("machine", "fp32") == Pace()
