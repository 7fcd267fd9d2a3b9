"""Two runs on the same task with other seeds are pooled: the newest does not replace the older, and each is one look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from in_process import command_line
from planted_tasks import RIGHT, planted
from present import present

from modbench.harness.core.errors import UsageError
from modbench.harness.stats import effects
from modbench.harness.stats.interim import analysis_at
from modbench.reports.markup.number_format import plain
from modbench.reports.tables.load import Loaded, load

tasks = pytest.importorskip("modbench.plugins.tasks.question", reason="the plug-in is absent")

KEY, MOD = "task/copy", "mod[c0.125]"
OLDER, NEWER = (0, 1, 2, 3, 4, 5), (6, 7, 8, 9, 10, 11)
# MoD is as good as dense in the older set; in the newer one it is worse by 40 of 1,000, give or take 26.
DENSE = (800, 820, 810, 790, 805, 815, 800, 820, 810, 790, 805, 815)
APART = (30, -40, 25, 20, -25, -10, -10, -66, -15, -60, -30, -59)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of the older and the newer run."""
    folder = tmp_path_factory.mktemp("runs")
    right = {
        "dense": DENSE,
        MOD: tuple(dense + apart for dense, apart in zip(DENSE, APART, strict=True)),
        "depth_predictor": tuple(dense + 100 + seed for seed, dense in enumerate(DENSE)),
    }
    with pytest.MonkeyPatch.context() as patch:
        for variant, correct in right.items():
            patch.setitem(RIGHT, variant, correct)
        planted(folder / "older", OLDER)
        planted(folder / "newer", NEWER)
    return folder / "older", folder / "newer"


def row_of(loaded: Loaded, variant: str = MOD) -> Any:
    return loaded.pair(variant, KEY)


def test_the_newest_set_does_not_replace_the_older_one(runs: tuple[Path, Path]) -> None:
    older, newer = runs
    alone: Any = row_of(load(newer))
    assert (alone.verdict, alone.ci_high < 0) == ("worse", True)
    both = load(newer, pool=[older])
    row = row_of(both)
    assert row.difference == pytest.approx(sum(APART) / 12_000)
    assert row.verdict == "inconclusive"
    other = row_of(load(older, pool=[newer]))  # the order in which runs are named changes nothing
    assert (row.difference, row.ci_low, row.p_adjusted) == pytest.approx(
        (other.difference, other.ci_low, other.p_adjusted)
    )
    case: Any = both.case(MOD, KEY)
    assert (case.n, case.seed) == (12, " ".join(map(str, OLDER + NEWER)))


def test_each_set_is_one_look(runs: tuple[Path, Path]) -> None:
    older, newer = runs
    both = load(newer, pool=[older])
    row, apart = row_of(both), [each / 1000 for each in APART]
    found = effects.over_processes(apart, analysis=analysis_at(2, (6, 12)))
    assert (row.ci_low, row.ci_high) == pytest.approx((found.low, found.high))
    once = effects.over_processes(apart)
    assert row.ci_low < present(once.low)
    assert "interim analysis 2 of 2" in row.reason
    better = row_of(both, "depth_predictor")
    assert better.verdict == "better"
    mod: Any = next(each for each in tasks.TABLE.frame(both).itertuples() if each.variant == MOD)
    assert (mod.seeds, mod.interim_analysis, mod.interim_analyses) == (12, 2, 2)


def test_the_report_says_what_was_pooled_and_that_it_was_not_planned(runs: tuple[Path, Path]) -> None:
    older, newer = runs
    both = load(newer, pool=[older])
    said = [plain(each) for each in tasks.pooled(both)]
    assert f"seeds of 6 of {older} and 6 of {newer}" in said
    assert any("interim analysis 2 of 2" in each for each in said)
    (warned,) = tasks.doubts(both)
    assert (warned.given["n"], warned.given["planned"]) == (2, 1)
    assert not [*tasks.doubts(load(newer))]


def test_report_prints_the_pooled_numbers(runs: tuple[Path, Path], tmp_path: Path) -> None:
    older, newer = runs
    done = command_line("report", newer, "--pool", older, "--format", "json", "-o", tmp_path, "-v")
    assert done.returncode == 0, done.stderr
    assert "-2.0±" in done.stdout
    assert json.loads((tmp_path / "report.json").read_text())


def test_what_cannot_be_pooled_is_refused(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, newer = runs
    for variant in RIGHT:
        monkeypatch.setitem(RIGHT, variant, DENSE)
    with pytest.raises(UsageError, match="both trained seed 6"):
        load(newer, pool=[newer])
    planted(tmp_path / "steps", (0,), tasks={"steps": 77})
    with pytest.raises(UsageError, match="trained none of the cases"):
        load(newer, pool=[tmp_path / "steps"])
    planted(tmp_path / "smoke", (0,), effort="smoke")
    with pytest.raises(UsageError, match="smoke run"):
        load(newer, pool=[tmp_path / "smoke"])
    next((tmp_path / "steps" / "jobs").glob("train_on_task-*")).unlink()
    with pytest.raises(UsageError, match="is incomplete"):
        load(newer, pool=[tmp_path / "steps"])
    done = command_line("report", newer, "--pool", newer)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_first_look_of_two_that_are_planned_is_judged_strictly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newer set alone has a p of 0.01, which is not enough for the first look of two."""
    monkeypatch.setitem(RIGHT, "dense", DENSE)
    monkeypatch.setitem(RIGHT, MOD, tuple(dense + apart for dense, apart in zip(DENSE, APART, strict=True)))
    monkeypatch.setitem(RIGHT, "depth_predictor", tuple(dense + 100 for dense in DENSE))
    loaded = planted(tmp_path / "run", NEWER, tasks={"interim_analyses": 2})
    assert row_of(loaded).verdict == "inconclusive"
    assert "interim analysis 1 of 2" in row_of(loaded).reason
    assert row_of(loaded, "depth_predictor").verdict == "better"
    assert "interim analysis 1 of 2" in plain([*tasks.pooled(loaded)][-1])


@pytest.mark.parametrize("close", [False, True])
def test_the_suite_and_not_the_results_says_whether_runs_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, close: bool
) -> None:
    """Whether runs lie near the line from which a task is solved (83.8 %) or far from it."""
    right = (830, 840, 845) if close else (990, 500, 995)
    for variant in RIGHT:
        monkeypatch.setitem(RIGHT, variant, right)
    for counted in (False, True):
        loaded = planted(tmp_path / f"run{counted}", tasks={"counted": ["copy"] if counted else []})
        assert {each.counts.counted for each in tasks.results(loaded)} == {counted}
        assert {each.test is not None for each in tasks.results(loaded)[1:]} == {counted}
        assert (row_of(loaded).reason is not None) is counted


def test_a_task_that_is_none_cannot_be_counted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tasks\.counted: unknown task 'cpoy'. Did you mean 'copy'"):
        planted(tmp_path / "run", tasks={"counted": ["cpoy"]})
