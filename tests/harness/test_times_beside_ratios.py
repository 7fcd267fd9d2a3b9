"""Times that stand beside a ratio: their quotient is that ratio, on a machine that changes from block to block, too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from present import present

from modbench.harness.core.labels import Label
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.blocks import Estimate, Finding
from modbench.reports.tables.load import Loaded, load
from modbench.reports.terminal import printed_run

LURCHES = 0.3


@pytest.fixture(scope="module")
def lurching(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a machine whose blocks differ by 30 %, of both kinds of metrics that come from times."""
    metrics = ["latency/forward", "latency/train_step", "tokens_per_s/train_step", "flops/forward"]
    made = planted_plan("draft", metrics=metrics, processes=4, rounds=4, train=None)
    return planted_run(tmp_path_factory.mktemp("lurching"), made, lurches=LURCHES)


def quotients(loaded: Loaded) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Of each pair the quotient of the two values, above 1 where the case is better, and the ratio."""
    found, rows = {}, loaded.pairs[(loaded.pairs.status == "ok") & loaded.pairs.ratio.notna() & loaded.pairs.paired]
    every: list[Any] = [*rows.itertuples()]
    for row in every:
        speedup = loaded.values[row.baseline_case_id, row.metric] / loaded.values[row.case_id, row.metric]
        quotient = speedup if row.unit == "s" else 1 / speedup
        found[row.case_id, row.baseline_case_id, row.metric] = (quotient, row.ratio)
    return found


@pytest.mark.parametrize("baseline", [None, "mod[c0.125]"])
def test_the_quotient_of_two_times_is_their_ratio(lurching: Path, baseline: str | None) -> None:
    loaded = load(lurching, baseline, all_pairs=True)
    found = quotients(loaded)
    assert len(found) > 50
    for pair, (quotient, ratio) in found.items():
        # Rates come from undisturbed means, whose correction for noise is one of each side.
        assert quotient == pytest.approx(ratio, rel=1e-9), pair
    assert "~" not in printed_run.closing(loaded, "page", None)


def test_a_time_is_of_the_processes_from_which_its_ratio_comes(lurching: Path) -> None:
    """Two of four processes, as where the other two have no record of the variant."""
    loaded = load(lurching)
    metric = loaded.tables.metrics["latency/forward"]
    case = next(each for each in loaded.plan.cases if each.variant == "mod[c0.125]")
    cell = loaded.tables.cell(case.id, metric.key)
    anchor = loaded.tables.anchor(case, metric)
    whole = loaded.tables.value(case, metric).estimate.n
    for number in (2, 3):
        process = loaded.tables.value(case, metric).processes[number]
        process.variants = {variant: each for variant, each in process.variants.items() if variant != anchor.id}
    loaded.tables._values.clear()
    assert (whole, len(cell.outcomes), loaded.tables.value(case, metric).estimate.n) == (4, 4, 2)
    times = [loaded.tables.value(side, metric).estimate.value for side in (anchor, case)]
    effect = loaded.tables.contrast(metric, case, anchor).wall.effect
    assert times[0] - times[1] == pytest.approx(effect.value, rel=1e-9)


@pytest.mark.plugin("machine")
def test_the_waterfall_ends_at_the_time_that_tables_have(lurching: Path) -> None:
    from modbench.plugins.machine.waterfall import section as waterfall

    loaded, metric = load(lurching), "latency/forward"
    case = next(each for each in loaded.variants if each.variant == "mod[c0.125]")
    row: Any = loaded.pair(case.variant, metric, loaded.lengths[-1])
    base, own = (loaded.value(each.variant, metric, loaded.lengths[-1]) for each in (loaded.baseline, case))
    made = Finding(case, loaded.baseline, case.grid_point, typical=Estimate(1 / row.ratio, kind="share"))
    found = waterfall.Fall(made, present(base), 0.5, {}, predicted=False)
    assert found.measured * found.seconds == pytest.approx(own)
    assert "ms" in waterfall._total(found, found.measured)
    # A share of CPU times is none of a wall time.
    assert "ms" not in waterfall._total(replace(found, found=replace(made, labels=(Label.BY_CPU,))), found.measured)
