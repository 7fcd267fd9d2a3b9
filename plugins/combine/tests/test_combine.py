"""Combinations of planted effects: what multiplies, overlaps or helps more comes back, in times, losses and counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from present import present

from modbench.extend import planted_plan, planted_run
from modbench.harness.stats.paired import ProcessSamples, numbers
from modbench.plugins.combine import question as combine
from modbench.plugins.combine.question import numbers_of_pairs
from modbench.reports.tables.load import Loaded, load

TIMED = ["latency/forward", "latency/train_step"]
METRICS = ["flops/forward", *TIMED, "memory/peak_allocated", "loss/val", "loss/val_causal"]
MIXERS = ["attention", "window", "convolution"]
WINDOW, CONVOLUTION = "mod[c0.125-window]", "mod[c0.125-convolution]"
TIMES = {
    "dense[window]": 0.5,
    "dense[convolution]": 0.8,
    "mod[c0.125-attention]": 0.4,
    WINDOW: 0.25,  # the product is 0.2
    CONVOLUTION: 0.32,  # the product
}
LOSSES = {
    "dense[attention]": 2.0,
    "dense[window]": 2.1,
    "dense[convolution]": 2.2,
    "mod[c0.125-attention]": 2.3,
    WINDOW: 2.4,  # the sum
    CONVOLUTION: 2.6,  # 0.1 more than the sum
}


BOTH = [{"model": "dense", "mixer": MIXERS}, {"model": "mod", "capacity": 0.125, "mixer": MIXERS}]


def planted(tmp_path: Path, *, effort: str = "draft", variants: Any = BOTH, **trouble: Any) -> Loaded:
    shape = {"d_model": 64, "n_layers": 4, "window": 16}
    suite: dict[str, Any] = {"metrics": METRICS, "variants": variants, "shape": shape, "seeds": [0, 1, 2, 3, 4]}
    made = planted_plan(effort, **suite, processes=5, rounds=2)
    told = {"slower": TIMES, "losses": LOSSES, "run_noise": 0.001, "own_work_seen": True, **trouble}
    return load(str(planted_run(tmp_path, made, **told)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return planted(tmp_path_factory.mktemp("combine"))


@pytest.fixture(scope="module")
def table(run: Loaded) -> pd.DataFrame:
    return combine.TABLE.frame(run)


def one(table: pd.DataFrame, variant: str, metric: str, seq_len: int = 128) -> Any:
    return table[(table.variant == variant) & (table.metric == metric) & (table.seq_len == seq_len)].iloc[0]


@pytest.mark.parametrize("metric", TIMED)
def test_planted_ratios_of_ratios_come_back(table: pd.DataFrame, metric: str) -> None:
    for variant, value, verdict in ((WINDOW, 0.8, "worse"), (CONVOLUTION, 1.0, "equivalent")):
        row = one(table, variant, metric)
        assert row.value == pytest.approx(value, rel=0.01)
        assert row.ci_low < row.value < row.ci_high < 1.05 * row.ci_low
        assert (row.verdict, row.n, row.ci_level, row.quantity) == (verdict, 5, 0.95, "ratio of ratios")
        assert row.both == pytest.approx(1 / TIMES[variant], rel=0.01)
        assert row.skips * row.mixes == pytest.approx(row.expected)
        assert row.value == pytest.approx(row.both / row.expected, rel=0.01)


def test_counts_have_a_ratio_and_no_interval(run: Loaded, table: pd.DataFrame) -> None:
    flops = {case.variant: run.value(case.variant, "flops/forward", 128) or 0.0 for case in run.variants}
    row = one(table, WINDOW, "flops/forward")
    product = flops["dense[attention]"] ** 2 / flops["dense[window]"] / flops["mod[c0.125-attention]"]
    assert row.expected == pytest.approx(product)
    assert row.value == pytest.approx(flops["dense[attention]"] / flops[WINDOW] / product)
    assert (row.verdict, row.isna()["ci_low"], row.isna()["n"]) == ("worse", True, True)


def test_the_answer_counts_times_alone(run: Loaded, table: pd.DataFrame) -> None:
    """FLOPs and bytes follow from the sizes: that they do not multiply is no evidence."""
    rows = table[(table.variant == WINDOW) & (table.quantity == "ratio of ratios")]
    times = rows[rows.metric.str.startswith("latency/")]
    less = (times.verdict == "worse").sum()
    assert (rows.verdict == "worse").sum() > less
    first: Any = next(combine.answer(run))
    assert (first.given["what"], first.given["less"], first.given["n"]) == ("forward pass", less, len(times))
    assert first.given["ratio"].value == one(table, WINDOW, "latency/forward").value


def test_smoke_claims_nothing(tmp_path: Path) -> None:
    run = planted(tmp_path, effort="smoke")
    assert combine.TABLE.frame(run).verdict.isna().all()
    assert not any("{less}" in each.words for each in combine.answer(run))


def test_a_failed_variant_takes_its_combination_with_it(tmp_path: Path) -> None:
    run = planted(tmp_path, fails="dense[window]")
    made = combine.TABLE.frame(run)
    failed, other = one(made, WINDOW, "latency/forward"), one(made, CONVOLUTION, "latency/forward")
    assert (failed.status, other.status) == ("failed", "ok")
    assert "planted failure" in failed.reason
    assert failed.isna()[["value", "verdict"]].all()
    row: Any = next(row for row in combine.tables(run)[0].rows if row[0] == "forward pass")
    assert (row[3], row[4].value, row[5].status) == ("failed", pytest.approx(4.0, rel=0.01), "failed")


@pytest.mark.parametrize(
    "variants",
    [
        [{"model": "dense", "mixer": MIXERS}],
        [{"model": "dense"}, {"model": "mod", "capacity": 0.125, "mixer": "window"}],
    ],
)
def test_without_four_corners_there_is_nothing(tmp_path: Path, variants: Any) -> None:
    run = planted(tmp_path, variants=variants, slower={}, losses={})
    assert combine.TABLE.frame(run).empty
    assert combine.tables(run) == list(combine.answer(run)) == []
    assert combine.in_place(run) is None


@pytest.mark.slow
def test_drift_that_processes_share_cancels() -> None:
    """Processes differ tenfold, the ratio of ratios does not: its interval covers 0.8 in nine of ten draws or more."""
    rng, covered = np.random.default_rng(0), 0
    blocks = list(range(4))

    def side(share: float, speed: float) -> dict[str, list[float]]:
        wall = [speed * share * float(np.exp(rng.normal(0, 0.02))) for _ in blocks]
        columns = {"block": blocks, "round": blocks, "input": [0] * 4, "calls": [1] * 4, "position": [0] * 4}
        return {**{key: list(map(float, value)) for key, value in columns.items()}, "wall_s": wall, "cpu_s": wall}

    for _ in range(60):
        one, other = [], []
        for _ in range(6):
            speed = float(np.exp(rng.normal(0, 1)))
            anchor, skips, mixes, both = (side(share, speed) for share in (1.0, 0.4, 0.5, 0.25))
            one.append(ProcessSamples(both, mixes, anchor, {}))
            other.append(ProcessSamples(skips, None, anchor, {}))
        effect = numbers_of_pairs(*(numbers(each, one_thread=False) for each in (one, other))).contrast().effect
        quantiles = numbers_of_pairs(*(numbers(each, one_thread=False, averaged=False) for each in (one, other)))
        assert quantiles.contrast().wall == (effect, None, None)
        covered += present(effect.low) < np.log(0.8) < present(effect.high)
    assert covered >= 54
