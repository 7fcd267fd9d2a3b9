"""Planted effects through the whole path: fake clock, blocks, records, run folder, `comparisons.csv`."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modbench.harness import plan, store
from modbench.harness.case import UnitOfWork
from modbench.harness.contracts import Text
from modbench.harness.costs import case_cost
from modbench.harness.interleave import Clock, Effort, Session
from modbench.harness.plan import Plan
from modbench.harness.records import Outcome, Record
from modbench.harness.suite import parse_suite
from modbench.reports import render

# What each arm takes relative to the anchor.
PLANTED = {"dense": 1.0, "dense-f0.58": 0.7, "mod[c0.125]": 1 / 1.6, "mod[c0.5]": 1.0, "moe": 1.25}


class DriftingClock(Clock):
    """A machine whose speed wanders: slower by the minute, noisy by the call, different by the launch."""

    def __init__(self, seed: str) -> None:
        super().__init__()
        self.rng = np.random.default_rng(sum(map(ord, seed)))
        self.now = 0.0
        self.cpu_s = self.wall_s
        self.speed = math.exp(self.rng.normal(0, 0.3))

    def wall_s(self) -> float:
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.speed *= 1.002
        self.now += seconds * self.speed * math.exp(self.rng.normal(0, 0.005))


def planted_suite(effort: str, **changes: Any) -> Plan:
    suite = parse_suite(
        {
            "name": "planted",
            "effort": effort,
            "metrics": ["flops/forward", "latency/forward", "memory/peak_allocated", "loss/val", "loss/val_causal"],
            "shape": {"d_model": 64, "n_layers": 4},
            "grid": {"seq_len": [64, 128]},
            "arms": [
                {"model": "dense"},
                {"model": "dense", "match": {"arm": "mod", "capacity": 0.125}},
                {"model": "mod", "capacity": [0.125, 0.5]},
                {"model": "moe"},
            ],
            "train": {"seq_len": 128, "tokens": 1000},
            **changes,
        },
        "planted",
    )
    return plan.make_plan(suite, device="cpu", text=Text("t", b"a" * 500, b"b" * 500, "c0ffee"))


def fake_record(unit: UnitOfWork, corpus: str = "c0ffee") -> Record:
    """What a worker would have left, had its clock been ours."""
    outcomes = []
    notes: dict[str, Any]
    if unit.made_in == "time":
        clock = DriftingClock(unit.name)

        def arm(share: float) -> Any:
            return lambda _number: clock.pass_time(0.02 * share)

        calls = {case.id: arm(PLANTED[case.arm]) for case in unit.comparison.arms}
        session = Session(
            calls,
            unit.comparison.arms[0].id,
            rng=random.Random(unit.name),
            clock=clock,
            on_error=lambda arm, error: pytest.fail(f"{arm}: {error}"),
        )
        timed = session.measure(Effort.fixed(unit.protocol.rounds, 3)).samples
        for case in unit.comparison.arms:
            samples = timed[case.id]
            outcomes.append(
                Outcome(case=case.id, metric=f"latency/{unit.workload}", unit="s", status="ok", samples=samples)
            )
    for number, case in enumerate(unit.comparison.arms):
        cost = case_cost(case)
        assert cost is not None
        if unit.made_in == "count":
            causal = {"forward_causal": cost.forward_causal, "train_step_causal": cost.train_step_causal}
            notes = {"params": cost.params, "counter_forward": cost.forward, **causal}
            value = {"value": [cost.forward]}
            outcomes.append(
                Outcome(case=case.id, metric="flops/forward", unit="FLOP", status="ok", samples=value, notes=notes)
            )
        if unit.made_in == "memory":
            value, notes = {"value": [1e6 * (1 + number)]}, {"forecast": 1e6 * (1 + 2 * number)}
            outcomes.append(
                Outcome(case=case.id, metric="memory/peak_allocated", unit="B", status="ok", samples=value, notes=notes)
            )
        if unit.made_in == "train":
            seed_effect = {0: 0.3, 1: -0.2, 2: 0.1}[unit.protocol.seed]
            loss = (
                2.0
                + seed_effect
                + (0.05 if case.model == "mod" else 0.0)
                + 0.001 * unit.protocol.seed * (case.model == "mod")
            )
            notes = {"sees_future": case.model in {"mod", "moe"}, "corpus_sha256": corpus, "corpus": "t"}
            outcomes.append(
                Outcome(
                    case=case.id, metric="loss/val", unit="nat", status="ok", samples={"value": [loss]}, notes=notes
                )
            )
            reason = "top-k routing saw future tokens when it chose"
            outcomes.append(
                Outcome(case=case.id, metric="loss/val_causal", unit="nat", status="skipped", reason=reason)
            )
    return Record(unit=unit, started=store.now(), wall_s=1.0, environment={}, outcomes=tuple(outcomes))


def stored(tmp_path: Path, made: Plan, *, leave_out: str | None = None, other_text: str | None = None) -> pd.DataFrame:
    folder = store.create(str(tmp_path / "run"), "planted")
    environment = {
        "packages": {"modbench": "0"},
        "cpu": "a fake",
        "gpu": {"devices": [], "reason": "none"},
        "git": {"commit": None, "dirty": None, "reason": "none"},
        "usable_cores": 1,
        "cores": 1,
        "memory_bytes": 1,
        "system": "",
        "python": "",
        "load_average": None,
    }
    folder.write_run(made, environment, ["modbench"], store.now())
    for unit in made.units:
        if unit.name == leave_out:
            continue
        corpus = "badcafe" if other_text and other_text in unit.name else "c0ffee"
        store.write_atomically(folder.record(unit), fake_record(unit, corpus).model_dump_json())
    render.write(folder.path)
    return pd.read_csv(folder.path / "comparisons.csv")


@pytest.mark.parametrize("effort", ["draft", "standard"])
def test_planted_ratios_come_back(tmp_path: Path, effort: str) -> None:
    """Through drift and launch effects: each planted ratio lies in its interval, which is narrow; verdicts follow."""
    frame = stored(tmp_path, planted_suite(effort))
    every = frame[frame.metric == "latency/forward"]
    assert len(every) == 2 * 5 * 4 / 2  # lengths x pairs of five arms
    timed = every[every.baseline_arm == "dense"]
    assert len(timed) == 8
    rows: list[Any] = list(timed.itertuples())
    for row in rows:
        planted = 1 / PLANTED[row.arm]
        assert row.ratio == pytest.approx(planted, rel=0.005)
        assert row.ci_low <= planted * 1.004
        assert row.ci_high >= planted * 0.996
        assert row.ci_high / row.ci_low < 1.03
        want = {"mod[c0.5]": "equivalent", "moe": "worse"}.get(row.arm, "better")
        assert row.verdict == want
        assert row.ideal > 0
        assert row.efficiency == pytest.approx(row.ratio / row.ideal)
        assert row.baseline_arm == "dense"
        assert bool(row.paired)
    moe = timed[timed.arm == "moe"]
    assert moe.realised.isna().all()
    assert moe.reason.str.contains("no gain was promised").all()
    mod = timed[timed.arm == "mod[c0.125]"]
    assert mod.realised.to_numpy() == pytest.approx(((mod.ratio - 1) / (mod.ideal - 1)).to_numpy())


def test_a_sequential_protocol_would_have_been_wrong(tmp_path: Path) -> None:
    """The same drifting clock, arm after arm: far off. The test above cannot pass by a tame clock."""
    del tmp_path
    clock = DriftingClock("sequential")
    times = []
    for _arm in range(2):
        start = clock.now
        for _ in range(200):
            clock.pass_time(0.02)
        times.append(clock.now - start)
    assert times[1] / times[0] > 1.3


def test_smoke_prints_no_verdict(tmp_path: Path) -> None:
    frame = stored(tmp_path, planted_suite("smoke"))
    assert frame.verdict.isna().all()
    assert frame[frame.metric == "latency/forward"].reason.str.contains("no claims").all()


def test_losses_pair_by_seed(tmp_path: Path) -> None:
    """Seeds differ by 0.5 nats, arms by 0.05: the paired interval sees the difference; one seed claims nothing."""
    three = stored(tmp_path / "three", planted_suite("draft", seeds=[0, 1, 2]))
    mod = three[(three.metric == "loss/val") & (three.arm == "mod[c0.125]")].iloc[0]
    assert mod.difference == pytest.approx(0.051)
    assert mod.ci_low > 0.04
    assert mod.verdict == "worse"
    assert np.isnan(mod.ratio)
    assert "saw future tokens" in mod.reason
    one = stored(tmp_path / "one", planted_suite("draft"))
    mod = one[(one.metric == "loss/val") & (one.arm == "mod[c0.125]")].iloc[0]
    assert isinstance(mod.reason, str)
    assert "illustration, no claim" in mod.reason
    assert mod.verdict is None or mod.verdict != mod.verdict  # NaN


def test_losses_of_different_texts_are_not_compared(tmp_path: Path) -> None:
    frame = stored(tmp_path, planted_suite("draft"), other_text="train-moe")
    row = frame[(frame.metric == "loss/val") & (frame.arm == "moe")].iloc[0]
    assert row.status == "skipped"
    assert "different text" in row.reason
    assert np.isnan(row.difference)


def test_memory_and_flops_are_exact(tmp_path: Path) -> None:
    frame = stored(tmp_path, planted_suite("draft"))
    memory = frame[(frame.metric == "memory/peak_allocated") & (frame.arm == "moe")].iloc[0]
    assert memory.ratio == pytest.approx(1 / 5)
    assert memory.ideal == pytest.approx(1 / 9)
    assert memory.verdict == "worse"
    assert not memory.paired
    assert np.isnan(memory.ci_low)
    assert "no interval" in memory.reason


def test_a_missing_unit_is_said(tmp_path: Path) -> None:
    made = planted_suite("draft")
    name = next(unit.name for unit in made.units if unit.made_in == "memory")
    frame = stored(tmp_path, made, leave_out=name)
    rows = frame[(frame.metric == "memory/peak_allocated") & (frame.seq_len == 64)]
    assert (rows.status == "skipped").all()
    assert rows.reason.str.contains(name).all()
    assert "the run is incomplete" in (tmp_path / "run" / "report.html").read_text()


def test_every_empty_cell_has_a_reason(tmp_path: Path) -> None:
    """No number is null without words beside it."""
    frame = stored(tmp_path, planted_suite("draft"))
    numbers = ["ratio", "difference", "ci_low", "ci_high", "ideal", "efficiency", "realised", "verdict", "mde"]
    assert frame[frame[numbers].isna().any(axis=1)].reason.notna().all()
    cases = pd.read_csv(tmp_path / "run" / "cases.csv")
    assert cases[cases[["value", "ci_low", "ci_high"]].isna().any(axis=1)].reason.notna().all()
