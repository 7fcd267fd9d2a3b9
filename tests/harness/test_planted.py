"""Planted effects through the whole path: fake clock, blocks, records, run folder, `comparisons.csv`."""

from __future__ import annotations

import re
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
from modbench.reports.terminal import printed_run

pytestmark = pytest.mark.slow


def test_planted_ratios_come_back(tmp_path: Path) -> None:
    """Through drift and process effects: each planted ratio lies in its interval, which is narrow; verdicts follow."""
    frame = stored(tmp_path, planted_plan("draft"))
    every = frame[frame.metric == "latency/forward"]
    assert len(every) == 2 * 5 * 4 / 2  # lengths x pairs of five variants
    timed = every[every.baseline_variant == "dense"]
    assert len(timed) == 8
    rows: list[Any] = list(timed.itertuples())
    for row in rows:
        planted = 1 / PLANTED[row.variant]
        assert row.ratio == pytest.approx(planted, rel=0.005)
        assert row.ci_low <= planted * 1.004
        assert row.ci_high >= planted * 0.996
        assert row.ci_high / row.ci_low < 1.03
        want = {"mod[c0.5]": "equivalent", "moe": "worse"}.get(row.variant, "better")
        assert row.verdict == want
        assert row.theoretical > 0
        assert row.baseline_variant == "dense"
        assert bool(row.paired)
    moe = timed[timed.variant == "moe"]
    assert moe.achieved_share.isna().all()
    assert moe.reason.str.contains("too little was promised").all()
    mod = timed[timed.variant == "mod[c0.125]"]
    assert mod.achieved_share.to_numpy() == pytest.approx(((mod.ratio - 1) / (mod.theoretical - 1)).to_numpy())
    assert (mod.achieved_share_ci_low < mod.achieved_share).all()
    assert (mod.achieved_share < mod.achieved_share_ci_high).all()
    assert mod.predicted.isna().all()  # the planted run holds no peaks by shape


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
    """Seeds differ by 0.5 nats, variants by 0.05: the paired interval sees the difference; one seed claims nothing."""
    three = stored(tmp_path / "three", planted_plan("draft", seeds=[0, 1, 2]))
    mod = three[(three.metric == "loss/val") & (three.variant == "mod[c0.125]")].iloc[0]
    assert mod.difference == pytest.approx(0.051)
    assert mod.ci_low > 0.04
    assert mod.verdict == "worse"
    assert np.isnan(mod.ratio)
    assert mod.labels == Label.SAW_FUTURE
    one = stored(tmp_path / "one", planted_plan("draft"))
    mod = one[(one.metric == "loss/val") & (one.variant == "mod[c0.125]")].iloc[0]
    assert isinstance(mod.reason, str)
    assert "illustration, no claim" in mod.reason
    assert mod.verdict is None or mod.verdict != mod.verdict  # NaN


def test_a_rate_is_the_time_turned_round(tmp_path: Path) -> None:
    """Tokens per second and the share of the peak: value, interval and verdict follow from the seconds."""
    metrics = ["flops/forward", "latency/forward", "tokens_per_s/forward", "mfu/forward"]
    stored(tmp_path, planted_plan("draft", metrics=metrics), peak=1e9)
    cases: Any = pd.read_csv(tmp_path / "run" / "cases.csv").set_index(["case_id", "metric"])
    pairs = pd.read_csv(tmp_path / "run" / "comparisons.csv")
    case = "mod[c0.125-T64-B1-fp32-cpu1]"
    seconds, rate, share = (cases.loc[(case, metric)] for metric in metrics[1:])
    assert rate.value == pytest.approx(64 / seconds.value, rel=0.05)  # from the mean, not from the median
    assert rate.statistic == "rate at the mean"
    cost = present(case_cost(next(c for c in planted_plan("draft").cases if c.id == case)))
    assert share.value == pytest.approx(rate.value * cost.forward_causal / 64 / 1e9)
    times, rates = (
        pairs[(pairs.metric == m) & (pairs.baseline_variant == "dense")].reset_index() for m in metrics[1:3]
    )
    assert rates.ratio.to_numpy() == pytest.approx(times.mean_ratio.to_numpy())
    assert rates.ci_low.to_numpy() == pytest.approx(times.mean_ratio_ci_low.to_numpy())
    assert rates.mean_ratio.isna().all()


def test_a_share_of_a_peak_that_nobody_measured_is_null_with_the_reason(tmp_path: Path) -> None:
    stored(tmp_path, planted_plan("draft", metrics=["flops/forward", "latency/forward", "mfu/forward"]))
    cases = pd.read_csv(tmp_path / "run" / "cases.csv")
    rows = cases[cases.metric == "mfu/forward"]
    assert rows.value.isna().all()
    assert rows.reason.str.contains("no peak of").all()


def test_every_pair_of_variants_has_a_row_and_another_baseline_only_moves_them(tmp_path: Path) -> None:
    """MoD at 0.125 against 0.5, MoE against the smaller dense models: ratios multiply along the way."""
    frame = stored(tmp_path, planted_plan("draft"))
    timed: Any = frame[(frame.metric == "latency/forward") & (frame.seq_len == 64)].set_index(
        ["variant", "baseline_variant"]
    )
    direct = timed.loc[("mod[c0.5]", "mod[c0.125]")].ratio
    assert direct == pytest.approx(1 / 1.6, rel=0.005)
    assert timed.loc[("moe", "dense-f0.58")].ratio == pytest.approx(0.7 / 1.25, rel=0.005)
    render.views(load(tmp_path / "run", "mod[c0.125]"), ["csv"])
    moved = pd.read_csv(tmp_path / "run" / "comparisons.csv")
    assert len(moved) == len(frame)
    other: Any = moved[(moved.metric == "latency/forward") & (moved.seq_len == 64)].set_index(
        ["variant", "baseline_variant"]
    )
    assert other.loc[("dense", "mod[c0.125]")].ratio == pytest.approx(1 / timed.loc[("mod[c0.125]", "dense")].ratio)
    assert other.loc[("mod[c0.5]", "mod[c0.125]")].ratio == pytest.approx(direct)


def test_a_single_process_gives_an_interval_and_no_verdict(tmp_path: Path) -> None:
    """What other processes would say is unknown: even 1.6 times is no claim."""
    frame = stored(tmp_path, planted_plan("draft", processes=1))
    timed = frame[(frame.metric == "latency/forward") & (frame.baseline_variant == "dense")]
    assert (timed.ci_high > timed.ci_low).all()
    assert (timed.verdict == "inconclusive").all()
    assert timed.reason.str.contains("of one process").all()


@pytest.mark.usefixtures("undrawn")
def test_where_the_anchor_failed_no_two_variants_are_a_pair_and_the_report_stands(tmp_path: Path) -> None:
    frame = stored(tmp_path, planted_plan("draft"), fails="dense")
    timed = frame[frame.metric == "latency/forward"]
    assert len(timed) > 10
    assert (timed.status != "ok").all()
    assert timed.reason.str.contains("planted failure").all()
    assert (
        timed[(timed.variant == "moe") & (timed.baseline_variant == "mod[c0.5]")]
        .reason.str.startswith("the suite's baseline: ")
        .all()
    )
    assert (frame[frame.metric == "memory/peak_allocated"].status == "ok").all()
    assert "planted failure" in render.html(load(tmp_path / "run"))


def test_a_noisy_ratio_wears_a_mark_and_claims_nothing(tmp_path: Path) -> None:
    frame = stored(tmp_path, planted_plan("draft"), waits="mod[c0.125]")
    timed = frame[(frame.metric == "latency/forward") & (frame.baseline_variant == "dense")].set_index("variant")
    assert (timed.loc["mod[c0.125]"].verdict == "inconclusive").all()
    assert (timed.loc["mod[c0.125]"].labels == Label.NOISY).all()
    assert timed.loc["moe"].labels.isna().all()
    said = printed_run.closing(load(str(tmp_path / "run")), tmp_path / "report.html", None)
    row = next(line for line in said.splitlines() if re.match(r"MoD 0\.125 +\d", line))
    assert "‡" in row
    assert "‡ noisy" in " ".join(said.split())
    assert re.search(r"MoD 0\.125 is neither faster .*? \(but: noisy\)", " ".join(said.split()))
    assert "‡" not in next(line for line in said.splitlines() if line.startswith("MoE "))


@pytest.mark.usefixtures("undrawn")
def test_cpu_time_decides_what_a_busy_machine_spoils(tmp_path: Path) -> None:
    """The variant waits as long as it runs: wall time says slower, its CPU time what it takes."""
    frame = stored(tmp_path, planted_plan("draft"), waits="mod[c0.125]", own_work_seen=True)
    timed = frame[(frame.metric == "latency/forward") & (frame.baseline_variant == "dense")].set_index("variant")
    found = timed.loc["mod[c0.125]"]
    assert (found.verdict == "better").all()
    assert (found.labels == Label.BY_CPU).all()
    assert (found.ratio < 1).all()  # wall time, as measured
    truth = 1 / PLANTED["mod[c0.125]"]
    assert found.cpu_ratio.to_numpy() == pytest.approx(truth, rel=0.05)
    assert (found.cpu_ratio_ci_low < found.cpu_ratio).all()
    at = list(frame.columns).index("cpu_ratio")
    assert list(frame.columns[at : at + 3]) == ["cpu_ratio", "cpu_ratio_ci_low", "cpu_ratio_ci_high"]
    assert not (timed.labels.drop("mod[c0.125]") == Label.BY_CPU).any()
    loaded = load(str(tmp_path / "run"))
    said = printed_run.closing(loaded, tmp_path / "report.html", None)
    row = next(line for line in said.splitlines() if re.match(r"MoD 0\.125 +\d", line))
    assert "MoD 0.125 is 1.60× as fast" in " ".join(said.split())
    assert re.findall(r" c(\d\.\d\d)×±\.\d+▲", row) == [f"{ratio:.2f}" for ratio in found.cpu_ratio]
    assert f"c {Label.BY_CPU}" in said
    assert "‡" not in said
    page = render.html(loaded)
    assert str(Label.BY_CPU) in page


@pytest.mark.usefixtures("undrawn")
def test_a_smoke_run_on_a_busy_machine_says_so_first_and_in_labels(tmp_path: Path) -> None:
    frame = stored(tmp_path, planted_plan("smoke"), waits=EVERY_VARIANT)
    cases = pd.read_csv(tmp_path / "run" / "cases.csv")
    for rows in (frame, cases):
        timed = rows.metric == "latency/forward"
        assert timed.sum() >= 10
        assert (rows[timed].labels == "noisy").all()
        assert not rows[~timed].labels.str.contains("noisy", na=False).any()
    assert frame.verdict.isna().all()
    assert frame[frame.metric == "latency/forward"].reason.str.contains("100 % of the blocks").all()
    loaded = load(str(tmp_path / "run"))
    (warning,) = map(plain, warnings(loaded))
    assert "10 of 10 times" in warning
    said = printed_run.closing(loaded, tmp_path / "report.html", None)
    assert " ".join(said.split()).startswith(f"⚠ {warning}")
    times = said.partition("forward pass, ")[2].partition("\n\n")[0].splitlines()[2:]  # below the heads, and the anchor
    assert len(times) == 4
    assert all(line.count("‡") == 2 for line in times)  # both lengths
    assert render.html(loaded).index("times are noisy: ") < render.html(loaded).index("At a glance")


def test_a_smoke_run_on_a_quiet_machine_has_no_such_label(tmp_path: Path) -> None:
    frame = stored(tmp_path, planted_plan("smoke"))
    assert frame[frame.metric == "latency/forward"].reason.str.contains("no claims").all()
    assert not frame.labels.str.contains("noisy", na=False).any()
    assert warnings(load(str(tmp_path / "run"))) == []


def test_the_mark_names_the_baseline_where_that_is_what_reads_the_future(tmp_path: Path) -> None:
    planted_run(tmp_path, planted_plan("draft", seeds=[0, 1, 2], metrics=["flops/forward", "bpb/val"]), leaks="moe")
    said = printed_run.closing(load(str(tmp_path / "run"), "moe"), tmp_path / "report.html", None)
    assert "† not causal" in said
    mine = [line for line in said.splitlines() if line.startswith("MoD 0.125 ")]
    assert any("±" in line for line in mine)  # three seeds: an interval


@pytest.mark.usefixtures("undrawn")
def test_verdicts_heed_the_whole_list(tmp_path: Path) -> None:
    """The margin is the suite's, and it is printed."""
    wide = stored(tmp_path / "wide", planted_plan("draft", margin=0.5))
    matched = wide[
        (wide.metric == "latency/forward") & (wide.variant == "dense-f0.58") & (wide.baseline_variant == "dense")
    ]
    assert (matched.verdict == "equivalent").all()  # 1.43 times, inside a margin of one half
    assert "margin 50 %" in render.html(load(tmp_path / "wide" / "run"))


@pytest.mark.plugin("machine")
def test_where_more_is_better_the_theoretical_is_too(tmp_path: Path) -> None:
    """Variants fit exactly what the forecast says: ratio and theoretical are the same number, above 1."""
    frame = stored(tmp_path, planted_plan("draft", metrics=["flops/forward", "memory/largest_seq_len"]))
    rows = frame[(frame.metric == "memory/largest_seq_len") & (frame.baseline_variant == "dense")]
    assert len(rows)
    assert (rows.ratio > 1).all()
