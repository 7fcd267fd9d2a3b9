"""Tasks, planted: accuracies with their intervals and shortcuts; counts, exact verdicts and the seeds that would decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planted_tasks import RIGHT, planted
from present import present

from modbench.commands.plan.forecast import as_text, forecast
from modbench.harness.planning import plan
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.stats import effects
from modbench.plugins.tasks import exact_two_proportions
from modbench.plugins.tasks import question as tasks
from modbench.plugins.tasks.table import TABLE, task_of
from modbench.reports.blocks import Finding
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import summary
from modbench.reports.questions.gate import gate
from modbench.reports.tables.load import Loaded
from modbench.reports.terminal import printed_run

FIVE = (0, 1, 2, 3, 4)
COUNTED = {"counted": ["copy"]}


def rows_of(loaded: Loaded) -> list[Any]:
    """Rows of solved.csv, in the plan's order of variants."""
    return list(tasks.TABLE.frame(loaded).itertuples(index=False))


def found_in(loaded: Loaded) -> list[Finding]:
    """What is found of each variant but the baseline."""
    return [each.found for each in tasks.results(loaded)][1:]


def plant(monkeypatch: pytest.MonkeyPatch, dense: list[int], mod: list[int], gate: list[int]) -> None:
    for variant, right in zip(("dense", "mod[c0.125]", "depth_predictor"), (dense, mod, gate), strict=True):
        monkeypatch.setitem(RIGHT, variant, tuple(right))


def test_a_planted_failure_is_called_worse_by_the_exact_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, [990, 1000, 995, 1000, 991], [550, 610, 600, 400, 570], [1000, 560, 1000, 990, 1000])
    loaded = planted(tmp_path / "run", FIVE, tasks=COUNTED)
    dense, mod, gate = rows_of(loaded)
    assert (dense.solved, dense.seeds, dense.solved_from) == (5, 5, pytest.approx(0.8375))
    assert (mod.solved, mod.seeds, mod.baseline_solved, mod.baseline_seeds) == (0, 5, 5, 5)
    assert (mod.verdict, mod.p) == ("worse", pytest.approx(2 / 4**5))
    assert (mod.difference, mod.ci_low) == (-1.0, -1.0)
    assert mod.ci_high < 0
    assert (gate.solved, gate.verdict) == (4, "inconclusive")
    assert gate.seeds_needed == exact_two_proportions.seeds_needed(0.8, 1.0, 0.025)
    row: Any = loaded.pair("mod[c0.125]", "task/copy")
    assert row.verdict == "worse"
    assert row.reason.startswith("all or nothing:")
    assert row.ci_low != row.ci_low  # no t-interval: not a number
    mean: Any = loaded.case("mod[c0.125]", "task/copy")
    assert (mean.value, mean.n) == (pytest.approx(0.546), 5)
    assert mean.ci_low != mean.ci_low
    assert "0 of 5" in mean.reason
    assert [plain(each) for each in summary.answer(loaded)] == [
        "MoD 0.125 against dense: copy ▼ worse.",
        "depth predictor against dense: copy ? inconclusive.",
    ]


def test_what_a_t_interval_would_have_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense finds the rule in four of five seeds; three seeds among two variants decide nothing, whatever they show."""
    plant(monkeypatch, [1000, 1000, 1000], [500, 500, 500], [1000, 1000, 1000])
    _, mod, gate = rows_of(planted(tmp_path / "run", tasks=COUNTED))
    assert (mod.p, mod.p_adjusted) == (pytest.approx(0.03125), pytest.approx(0.0625))
    assert (mod.verdict, mod.seeds_needed) == ("inconclusive", 4)
    assert (gate.verdict, gate.seeds_needed, gate.difference) == ("inconclusive", pd.NA, 0)


def test_a_failed_variant_has_a_row_and_takes_no_other_with_it(tmp_path: Path) -> None:
    loaded = planted(tmp_path / "run", FIVE[:3], tasks=COUNTED, fails="mod[c0.125]")
    dense, mod, gate = rows_of(loaded)
    assert (mod.status, mod.solved, mod.verdict, mod.baseline_variant) == ("failed", pd.NA, None, None)
    assert (dense.solved, gate.solved, gate.baseline_solved) == (3, 0, 3)
    assert [*map(plain, present(tasks.table(loaded)).rows[1])] == ["MoD 0.125", "failed"]
    base = rows_of(planted(tmp_path / "base", FIVE[:3], tasks=COUNTED, fails="dense"))
    assert {(each.baseline_variant, each.reason) for each in base[1:]} == {("dense", "the baseline has no value")}


def test_an_interval_without_zero_may_decide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MoD's differences have a p of 0.05 alone, and two variants were compared."""
    dense = [840, 835, 830, 838, 832]
    mod = [right - less for right, less in zip(dense, (12, 25, 5, 20, 1), strict=True)]
    plant(monkeypatch, dense, mod, [841, 834, 831, 837, 832])
    loaded = planted(tmp_path / "run", FIVE)
    row: Any = loaded.pair("mod[c0.125]", "task/copy")
    assert row.ci_high < 0
    assert row.verdict == "inconclusive"
    assert plain(found_in(loaded)[0].beside()) == "-1.3 points [-2.5, -0.0] ? inconclusive"


def test_the_plan_says_what_it_can_decide(tmp_path: Path) -> None:
    made = planted(tmp_path / "run", tasks=COUNTED).run.plan
    (said,) = TABLE.forecast_in_words(TABLE.forecast(made.suite, made.comparisons))
    assert said in " ".join(printed_run.opening(made).split())
    predicted = forecast(made)
    assert predicted["solved"]["pairs"] == 2
    assert said in " ".join(as_text(predicted).split())


def test_one_seed_has_the_binomial_interval_and_says_so(tmp_path: Path) -> None:
    loaded = planted(tmp_path / "run", seeds=(0,))
    row = loaded.cases[loaded.cases.variant == "mod[c0.125]"].iloc[0]
    assert (row.ci_low, row.ci_high) == pytest.approx(effects.share_interval(300, 1000))
    assert "questions of one seed" in row.reason
    assert not any(each.typical.value for each in found_in(loaded))


def test_a_task_that_a_filter_left_out_is_not_counted(tmp_path: Path) -> None:
    loaded = planted(tmp_path / "run", filtered=("task/recall",))
    assert "accuracy on 1 task at" in plain(summary.asked(loaded))


def test_a_gate_fails_on_a_falling_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = planted(tmp_path / "base")
    monkeypatch.setitem(RIGHT, "dense", (890, 892, 894))
    monkeypatch.setitem(RIGHT, "depth_predictor", (900, 910, 920))
    findings = gate.gate(base, planted(tmp_path / "now")).findings
    found = {each.what.partition("[")[0]: each for each in findings if each.metric != "labels"}
    assert found["dense"].verdict == "fail"
    assert found["depth_predictor"].verdict == "pass"


def test_every_variant_spends_what_the_anchor_spends() -> None:
    suite = parse_suite(
        {
            "name": "tasks",
            "metrics": ["task/copy", "task/recall"],
            "shape": {"d_model": 32, "n_layers": 4},
            "variants": [{"model": "dense"}, {"model": "mod"}, {"model": "depth_branches"}],
            "tasks": {"steps": 300},
        },
        "test",
    )
    made = plan.make_plan(suite, device="cpu")
    spent: dict[str, list[float]] = {}
    for job in made.jobs:
        if job.made_in == "train_on_task":
            (case,) = job.comparison.variants
            cost = present(case_cost(case))
            spent.setdefault(task_of(case), []).append(present(job.protocol.train).steps * cost.train_step)
    assert set(spent) == {"copy", "recall"}
    for flops in spent.values():
        assert flops == pytest.approx([flops[0]] * 3, rel=0.01)
