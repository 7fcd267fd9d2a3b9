"""Planted effects through the whole path: fake clock, blocks, records, run folder, `comparisons.csv`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import stored
from present import present

from modbench.harness.core.labels import Label
from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import CountNotes
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.planted_runs import EVERY_VARIANT, PLANTED, planted_plan, planted_run
from modbench.reports.html_report import render
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import win_rate
from modbench.reports.questions.machine_check import warnings
from modbench.reports.tables.load import load
from modbench.reports.tables.values import Tables

pytestmark = pytest.mark.slow


def timed(frame: pd.DataFrame) -> Any:
    """Its times against dense, by variant."""
    rows = frame[(frame.metric == "latency/forward") & (frame.baseline_variant == "dense")]
    return rows.set_index("variant", drop=False)


def test_planted_ratios_come_back(tmp_path: Path) -> None:
    """Through drift and process effects: each planted ratio lies in its interval, which is narrow; verdicts follow."""
    rows = timed(stored(tmp_path, planted_plan("draft")))
    assert len(rows) == 2 * 4  # lengths x variants besides dense
    for row in rows.itertuples():
        planted = 1 / PLANTED[row.variant]
        assert row.ratio == pytest.approx(planted, rel=0.005)
        assert row.ci_low <= planted * 1.004
        assert row.ci_high >= planted * 0.996
        assert row.ci_high / row.ci_low < 1.03
        assert row.verdict == {"mod[c0.5]": "equivalent", "moe": "worse"}.get(row.variant, "better")
    mod = rows.loc["mod[c0.125]"]
    assert mod.achieved_share.to_numpy() == pytest.approx(((mod.ratio - 1) / (mod.theoretical - 1)).to_numpy())
    assert rows.loc["moe"].achieved_share.isna().all(), "too little was promised"


def test_flops_that_are_a_lower_bound_decide_only_what_the_rest_could_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MoD has fewer FLOPs than dense as far as both were counted, and is marked as the best of its column if both were."""
    plan = planted_plan("draft", metrics=["flops/forward"], train=None, grid={"seq_len": [128]})
    folder, whole = planted_run(tmp_path, plan), Tables.counted
    cases = {case.variant: case.id for case in plan.cases if case.variant in {"dense", "mod[c0.125]"}}

    def found(*lacking: str) -> tuple[str, str | None]:
        def counted(tables: Tables, case: Case) -> CountNotes:
            return whole(tables, case).model_copy(update={"uncounted": ("aten.mystery",) * (case.variant in lacking)})

        monkeypatch.setattr(Tables, "counted", counted)
        loaded = load(folder)
        (row,) = loaded.between("flops/forward", "mod[c0.125]", "dense")
        return row.verdict, win_rate.best(loaded, "flops/forward", cases)

    assert found() == ("better", "mod[c0.125]")
    assert found("mod[c0.125]") == ("inconclusive", None)
    assert found("dense") == ("better", "mod[c0.125]")
    assert found("mod[c0.125]", "dense") == ("inconclusive", None)


def test_losses_pair_by_seed(tmp_path: Path) -> None:
    """Seeds differ by 0.5 nats, variants by 0.05: the paired interval sees the difference."""
    frame = stored(tmp_path, planted_plan("draft", seeds=[0, 1, 2]))
    mod = frame[(frame.metric == "loss/val") & (frame.variant == "mod[c0.125]")].iloc[0]
    assert mod.difference == pytest.approx(0.051)
    assert mod.ci_low > 0.04
    assert (mod.verdict, mod.labels) == ("worse", Label.SAW_FUTURE)
    assert np.isnan(mod.ratio)


@pytest.mark.parametrize("peak", [1e9, None])
def test_a_rate_is_the_time_turned_round(peak: float | None, tmp_path: Path) -> None:
    """Tokens per second and the share of the peak, if one was measured: value and interval follow from the seconds."""
    metrics = ["flops/forward", "latency/forward", "tokens_per_s/forward", "mfu/forward"]
    plan = planted_plan("draft", metrics=metrics)
    pairs = stored(tmp_path, plan, peak=peak)
    cases: Any = pd.read_csv(tmp_path / "run" / "cases.csv").set_index(["case_id", "metric"])
    case = next(case for case in plan.cases if case.id == "mod[c0.125-T64-B1-fp32-cpu1]")
    seconds, rate, share = (cases.loc[(case.id, metric)] for metric in metrics[1:])
    assert rate.value == pytest.approx(64 / seconds.value, rel=0.05)  # from the mean, not from the median
    if peak is None:
        assert np.isnan(share.value)
        assert "no peak of" in share.reason
    else:
        assert share.value == pytest.approx(rate.value * present(case_cost(case)).forward_causal / 64 / peak)
    times, rates = (pairs[(pairs.metric == metric)].reset_index() for metric in metrics[1:3])
    for ours, mean in (("ratio", "mean_ratio"), ("ci_low", "mean_ratio_ci_low"), ("ci_high", "mean_ratio_ci_high")):
        assert rates[ours].to_numpy() == pytest.approx(times[mean].to_numpy())


@pytest.mark.usefixtures("undrawn")
def test_where_the_anchor_failed_no_two_variants_are_a_pair_and_the_report_stands(tmp_path: Path) -> None:
    frame = stored(tmp_path, planted_plan("draft"), fails="dense")
    rows = frame[frame.metric == "latency/forward"]
    assert (rows.status != "ok").all()
    assert rows.reason.str.contains("planted failure").all()
    without = rows[(rows.variant == "moe") & (rows.baseline_variant == "mod[c0.5]")]
    assert without.reason.str.startswith("the suite's baseline: ").all()
    assert (frame[frame.metric == "memory/peak_allocated"].status == "ok").all()
    assert "planted failure" in render.html(load(tmp_path / "run"))


@pytest.mark.parametrize("seen", [True, False])
def test_cpu_time_decides_what_a_busy_machine_spoils_if_it_was_seen(seen: bool, tmp_path: Path) -> None:
    """The variant waits as long as it runs: wall time says slower, its CPU time what it takes."""
    rows = timed(stored(tmp_path, planted_plan("draft"), waits="mod[c0.125]", own_work_seen=seen))
    found, others = rows.loc["mod[c0.125]"], rows.drop("mod[c0.125]")
    assert (found.verdict == ("better" if seen else "inconclusive")).all()
    assert (found.labels == (Label.BY_CPU if seen else Label.NOISY)).all()
    assert (found.ratio < 1).all()  # wall time, as measured
    assert found.cpu_ratio.to_numpy() == pytest.approx(1 / PLANTED["mod[c0.125]"], rel=0.05)
    decides = found.cpu_ratio if seen else found.ratio
    assert found.achieved_share.to_numpy() == pytest.approx(((decides - 1) / (found.theoretical - 1)).to_numpy())
    assert not others.labels.isin([Label.BY_CPU, Label.NOISY]).any()


@pytest.mark.parametrize("busy", [True, False])
def test_a_smoke_run_says_whether_its_machine_was_busy(busy: bool, tmp_path: Path) -> None:
    frame = stored(tmp_path, planted_plan("smoke"), **({"waits": EVERY_VARIANT} if busy else {}))
    cases = pd.read_csv(tmp_path / "run" / "cases.csv")
    for rows in (frame, cases):
        times = rows.metric == "latency/forward"
        assert times.sum() >= 10
        assert ((rows.labels == Label.NOISY) == (times & busy)).all()
    assert frame.verdict.isna().all()
    said = frame[frame.metric == "latency/forward"].reason
    assert said.str.contains("100 % of the blocks" if busy else "no claims").all()
    assert ["10 of 10 times" in plain(each) for each in warnings(load(tmp_path / "run"))] == [True] * busy
