"""Tasks, planted: accuracies with their intervals and shortcuts; counts, exact verdicts and the seeds that would decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planted_tasks import MOD, planted
from present import present

from modbench.harness.planning import plan
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.stats import effects
from modbench.plugins.tasks import question as tasks
from modbench.plugins.tasks.exact_two_proportions import seeds_needed
from modbench.plugins.tasks.table import task_of
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.gate import gate
from modbench.reports.tables.load import Loaded

FIVE = (0, 1, 2, 3, 4)
COUNTED: dict[str, Any] = {"counted": ["copy"]}


def rows_of(loaded: Loaded) -> list[Any]:
    """Rows of solved.csv, in the plan's order of variants: dense, MoD, predictor of depth."""
    return list(tasks.TABLE.frame(loaded).itertuples(index=False))


def test_a_planted_failure_is_called_worse_by_the_exact_test(tmp_path: Path) -> None:
    right = [[990, 1000, 995, 1000, 991], [550, 610, 600, 400, 570], [1000, 560, 1000, 990, 1000]]
    loaded = planted(tmp_path / "run", FIVE, right, tasks=COUNTED)
    dense, mod, depth = rows_of(loaded)
    assert (dense.solved, dense.seeds, dense.solved_from) == (5, 5, pytest.approx(0.8375))
    assert (mod.solved, mod.seeds, mod.baseline_solved, mod.baseline_seeds) == (0, 5, 5, 5)
    assert (mod.verdict, mod.p, mod.difference, mod.ci_low) == ("worse", pytest.approx(2 / 4**5), -1.0, -1.0)
    assert mod.ci_high < 0
    assert (depth.solved, depth.verdict, depth.seeds_needed) == (4, "inconclusive", seeds_needed(0.8, 1.0, 0.025))
    row: Any = loaded.pair(MOD, "task/copy")
    assert row.verdict == "worse"
    assert row.reason.startswith("all or nothing:")
    mean: Any = loaded.case(MOD, "task/copy")
    assert (mean.value, mean.n) == (pytest.approx(0.546), 5)
    assert "0 of 5" in mean.reason
    assert pd.isna([row.ci_low, mean.ci_low]).all(), "no t-interval of runs that are here or there"


def test_three_seeds_among_two_variants_decide_nothing_whatever_they_show(tmp_path: Path) -> None:
    _, mod, depth = rows_of(planted(tmp_path / "run", right=[[1000] * 3, [500] * 3, [1000] * 3], tasks=COUNTED))
    assert (mod.p, mod.p_adjusted) == (pytest.approx(0.03125), pytest.approx(0.0625))
    assert (mod.verdict, mod.seeds_needed) == ("inconclusive", 4)
    assert (depth.verdict, depth.seeds_needed, depth.difference) == ("inconclusive", pd.NA, 0)


def test_a_first_look_that_decides_nothing_asks_for_more_seeds_than_were_made(tmp_path: Path) -> None:
    """Four would do for a single look at none against all."""
    right = [[1000] * 5, [500] * 5, [1000] * 5]
    _, mod, _ = rows_of(planted(tmp_path / "run", FIVE, right, tasks=COUNTED | {"interim_analyses": 2}))
    assert (mod.solved, mod.verdict, mod.seeds_needed) == (0, "inconclusive", 6)


def test_a_failed_variant_has_a_row_and_takes_no_other_with_it(tmp_path: Path) -> None:
    loaded = planted(tmp_path / "run", tasks=COUNTED, fails=MOD)
    dense, mod, depth = rows_of(loaded)
    assert (mod.status, mod.solved, mod.verdict, mod.baseline_variant) == ("failed", pd.NA, None, None)
    assert (dense.solved, depth.solved, depth.baseline_solved) == (3, 0, 3)
    assert [*map(plain, present(tasks.table(loaded)).rows[1])] == ["MoD 0.125", "failed"]
    base = rows_of(planted(tmp_path / "base", tasks=COUNTED, fails="dense"))
    assert {(each.baseline_variant, each.reason) for each in base[1:]} == {("dense", "the baseline has no value")}


def test_one_seed_has_the_binomial_interval_and_says_so(tmp_path: Path) -> None:
    loaded = planted(tmp_path / "run", seeds=(0,))
    row: Any = loaded.case(MOD, "task/copy")
    assert (row.ci_low, row.ci_high) == pytest.approx(effects.share_interval(300, 1000))
    assert "questions of one seed" in row.reason
    assert not any(each.found.typical.value for each in tasks.results(loaded)[1:])


@pytest.mark.parametrize("right", [(830, 840, 845), (990, 500, 995)], ids=["close to 83.8 %", "far from it"])
def test_the_suite_and_not_the_results_says_whether_runs_are_counted(tmp_path: Path, right: tuple[int, ...]) -> None:
    for counted in (False, True):
        loaded = planted(tmp_path / f"run{counted}", right=[right] * 3, tasks=COUNTED if counted else {})
        assert {each.counts.counted for each in tasks.results(loaded)} == {counted}
        assert {each.test is not None for each in tasks.results(loaded)[1:]} == {counted}
        row: Any = loaded.pair(MOD, "task/copy")
        assert (row.reason is not None) is counted


def test_a_gate_fails_on_a_falling_accuracy(tmp_path: Path) -> None:
    base = planted(tmp_path / "base")
    now = planted(tmp_path / "now", right=[(890, 892, 894), (300, 500, 400), (900, 910, 920)])
    findings = gate.gate(base, now).findings
    found = {each.what.partition("[")[0]: each.verdict for each in findings if each.metric != "labels"}
    assert (found["dense"], found["depth_predictor"]) == ("fail", "pass")


def test_every_variant_spends_what_the_anchor_spends() -> None:
    suite = {
        "name": "tasks",
        "metrics": ["task/copy", "task/recall"],
        "shape": {"d_model": 32, "n_layers": 4},
        "variants": [{"model": "dense"}, {"model": "mod"}, {"model": "depth_branches"}],
        "tasks": {"steps": 300},
    }
    made = plan.make_plan(parse_suite(suite, "test"), device="cpu")
    spent: dict[str, list[float]] = {"copy": [], "recall": []}
    for job in made.jobs:
        if job.made_in == "train_on_task":
            (case,) = job.comparison.variants
            steps = present(job.protocol.train).steps
            spent[task_of(case)].append(steps * present(case_cost(case)).train_step)
    for flops in spent.values():
        assert flops == pytest.approx([flops[0]] * 3, rel=0.01)
