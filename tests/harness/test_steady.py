"""Is a variant still getting faster or slower? Tested over all processes of a comparison, of which one may drift by chance."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from planted import stored
from present import present
from scipy import stats

from modbench.harness.stats import trend_test
from modbench.planted_runs import planted_plan


def drifting(rng: random.Random, processes: int, blocks: int, drift: float, noise: float = 0.02) -> list[list[float]]:
    return [[drift * i / (blocks - 1) + rng.gauss(0, noise) for i in range(blocks)] for _ in range(processes)]


def test_a_drift_in_every_process_is_found_and_one_process_decides_nothing() -> None:
    rng = random.Random(0)
    said = present(trend_test.drifting(drifting(rng, 10, 6, 0.06), variants=8))
    assert said.code == "drifts"
    assert said.given["change"] == pytest.approx(0.06, abs=0.01)
    alone = [[0.01 * i for i in range(6)], *drifting(rng, 9, 6, 0.0)]
    assert trend_test.unsteady({"a": alone[0]})
    assert trend_test.drifting(alone, variants=8) is None
    assert (
        trend_test.drifting([[0.0001 * i for i in range(6)]] * 10, variants=8) is None
    )  # certain, and too small to matter


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "blocks"), [(10, 6), (8, 2)])
def test_noise_is_called_a_drift_no_more_often_than_the_level(processes: int, blocks: int) -> None:
    """400 comparisons of eight variants: at most about one in a hundred has a variant that is called not steady by chance."""
    rng = random.Random(1)
    called = sum(
        any(trend_test.drifting(drifting(rng, processes, blocks, 0.0, noise=0.05), variants=8) for _ in range(8))
        for _ in range(400)
    )
    assert called / 400 <= 0.025


def test_the_distribution_of_s_is_exact() -> None:
    """Of one process it is that of Kendall's tau; of many, the normal one is near."""
    for effects_ in ([0.3, 0.1, 0.2, 0.5, 0.6, 0.9], [0.1, 0.2, 0.3, 0.4, 0.6, 0.5, 0.7]):
        wanted = stats.kendalltau(range(len(effects_)), effects_, method="exact").pvalue
        assert trend_test.pooled([effects_])[1] == pytest.approx(wanted)
    assert trend_test._p_value(30, (6,) * 10) == pytest.approx(math.erfc(29 / math.sqrt(2 * 10 * 28.333)), rel=0.05)


def test_a_drifting_variant_has_no_time_in_the_report(tmp_path: Path) -> None:
    frame = stored(tmp_path, planted_plan("draft", metrics=["latency/forward"]), drifts="moe")
    timed = frame[frame.baseline_variant == "dense"].set_index("variant")
    assert timed.loc["moe"].reason.str.contains("not_steady: ").all()
    assert (timed.loc["mod[c0.125]"].status == "ok").all()
    alone = stored(tmp_path / "one", planted_plan("draft", metrics=["latency/forward"]), drifts="moe", drifts_in=(0,))
    assert (alone[(alone.variant == "moe") & (alone.baseline_variant == "dense")].status == "ok").all()
