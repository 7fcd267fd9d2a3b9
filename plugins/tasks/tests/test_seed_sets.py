"""Sets of seeds of the same models are pooled: the newest does not replace the older, and each is one interim analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from in_process import command_line
from planted_tasks import MOD, planted
from present import present

from modbench.harness.core.errors import UsageError
from modbench.harness.stats import effects
from modbench.harness.stats.interim import analysis_at
from modbench.plugins.tasks import exact_two_proportions
from modbench.plugins.tasks import question as tasks
from modbench.plugins.tasks.seed_sets import SeedSets
from modbench.reports.tables.load import Loaded, load

TWELVE, MORE, MANY = tuple(range(3, 15)), tuple(range(15, 27)), tuple(range(100, 200))


@pytest.mark.parametrize(
    ("sets", "planned", "sides", "number", "fractions"),
    [
        pytest.param([TWELVE], 1, [TWELVE], 1, (1.0,), id="one set"),
        pytest.param([TWELVE, MORE], 1, [TWELVE + MORE], 2, (0.5, 1.0), id="each set is an analysis"),
        pytest.param([TWELVE, MORE], 1, [MORE, TWELVE + MORE], 1, (1.0,), id="a set that a variant lacks is none"),
        pytest.param([TWELVE], 2, [TWELVE], 1, (0.5, 1.0), id="the first of two that are planned"),
        pytest.param([TWELVE, MORE], 2, [TWELVE + MORE], 2, (0.5, 1.0), id="the second of them"),
        pytest.param([(1, 2, 3), MANY], 1, [(1, 2, 3, *MANY)], 1, (1.0,), id="so early that it spends nothing"),
    ],
)
def test_which_analysis_seeds_are(
    sets: list[tuple[int, ...]], planned: int, sides: list[tuple[int, ...]], number: int, fractions: tuple[float, ...]
) -> None:
    made = SeedSets(tuple(sets), planned).analysis(*sides)
    assert (made.number, made.fractions) == (number, fractions)
    assert (made.level_at() == pytest.approx(0.05)) == (fractions == (1.0,))


def test_counts_exclude_no_difference_where_their_p_value_is_at_most_five_per_cent() -> None:
    analysis = SeedSets((TWELVE, MORE)).analysis(TWELVE + MORE)
    for mine in (3, 5, 9):
        found = exact_two_proportions.compare(mine, 24, 12, 24, analysis)
        once = exact_two_proportions.compare(mine, 24, 12, 24)
        assert found.excludes_0 == (present(found.p) <= 0.05), mine
        assert present(found.p) > present(once.p)
        assert present(found.low) <= present(once.low)


# --- two runs on the same task with other seeds

OLDER, NEWER = range(6), range(6, 12)
# MoD is as good as dense in the older set; in the newer one it is worse by 40 of 1,000, give or take 26.
DENSE = (800, 820, 810, 790, 805, 815, 800, 820, 810, 790, 805, 815)
APART = (30, -40, 25, 20, -25, -10, -10, -66, -15, -60, -30, -59)
RIGHT = (
    DENSE,
    [dense + apart for dense, apart in zip(DENSE, APART, strict=True)],
    [dense + 100 + seed for seed, dense in enumerate(DENSE)],
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of the older and the newer run."""
    folder = tmp_path_factory.mktemp("runs")
    planted(folder / "older", OLDER, RIGHT)
    planted(folder / "newer", NEWER, RIGHT)
    return folder / "older", folder / "newer"


def row_of(loaded: Loaded, variant: str = MOD) -> Any:
    return loaded.pair(variant, "task/copy")


def test_the_newest_set_does_not_replace_the_older_one(runs: tuple[Path, Path]) -> None:
    older, newer = runs
    alone, both = row_of(load(newer)), load(newer, pool=[older])
    assert (alone.verdict, alone.ci_high < 0) == ("worse", True)
    row = row_of(both)
    assert row.difference == pytest.approx(sum(APART) / 12_000)
    assert row.verdict == "inconclusive"
    other = row_of(load(older, pool=[newer]))
    assert [other.difference, other.ci_low, other.p_adjusted] == pytest.approx(
        [row.difference, row.ci_low, row.p_adjusted]
    ), "the order in which runs are named changes nothing"
    case: Any = both.case(MOD, "task/copy")
    assert (case.n, case.seed) == (12, "0 1 2 3 4 5 6 7 8 9 10 11")


def test_each_set_is_one_look(runs: tuple[Path, Path]) -> None:
    older, newer = runs
    both, apart = load(newer, pool=[older]), [each / 1000 for each in APART]
    row, found = row_of(both), effects.over_processes(apart, analysis=analysis_at(2, (6, 12)))
    assert (row.ci_low, row.ci_high) == pytest.approx((found.low, found.high))
    assert row.ci_low < present(effects.over_processes(apart).low)
    assert "interim analysis 2 of 2" in row.reason
    assert row_of(both, "depth_predictor").verdict == "better"
    _, mod, _ = tasks.TABLE.frame(both).itertuples()
    assert (mod.seeds, mod.interim_analysis, mod.interim_analyses) == (12, 2, 2)
    (warned,) = tasks.doubts(both)
    assert (warned.given["n"], warned.given["planned"]) == (2, 1)
    assert not [*tasks.doubts(load(newer))]


def test_a_first_look_of_two_that_are_planned_is_judged_strictly(tmp_path: Path) -> None:
    """The newer set alone has a p of 0.01, which is not enough for the first look of two."""
    loaded = planted(tmp_path / "run", NEWER, RIGHT, tasks={"interim_analyses": 2})
    assert row_of(loaded).verdict == "inconclusive"
    assert "interim analysis 1 of 2" in row_of(loaded).reason
    assert row_of(loaded, "depth_predictor").verdict == "better"


def test_report_prints_the_pooled_numbers(runs: tuple[Path, Path], tmp_path: Path) -> None:
    older, newer = runs
    done = command_line("report", newer, "--pool", older, "--format", "json", "-o", tmp_path, "-v")
    assert done.returncode == 0, done.stderr
    assert "-2.0±" in done.stdout


@pytest.mark.parametrize(
    ("changes", "whole", "said"),
    [
        (None, True, "both trained seed 6"),
        ({"tasks": {"steps": 77}}, True, "trained none of the cases"),
        ({"tasks": {"steps": 77}}, False, "is incomplete"),
        ({"effort": "smoke"}, True, "smoke run"),
    ],
)
def test_what_cannot_be_pooled_is_refused(
    runs: tuple[Path, Path], tmp_path: Path, changes: dict[str, Any] | None, whole: bool, said: str
) -> None:
    _, newer = runs
    other = newer if changes is None else planted(tmp_path / "run", (0,), **changes).path
    if not whole:
        next((other / "jobs").glob("train_on_task-*")).unlink()
    with pytest.raises(UsageError, match=said):
        load(newer, pool=[other])
