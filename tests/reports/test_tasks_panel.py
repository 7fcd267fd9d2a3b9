"""Tasks on the page: accuracies, their intervals, and shortcuts that reach as much without solving the task."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted_tasks import RIGHT, planted

from modbench.harness.flops.closed_form import case_cost
from modbench.harness.planning import plan
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.stats import effects
from modbench.reports.page import render
from modbench.reports.panels import tiles
from modbench.reports.questions import first_screen, tasks
from modbench.reports.terminal import summary
from modbench.reports.writers.number_format import plain


def test_three_seeds_give_an_interval_over_seeds(tmp_path: Path) -> None:
    (task,) = tasks.results(planted(tmp_path / "run"))
    dense, mod, gate = task.arms
    wanted = effects.over_launches([0.990, 0.992, 0.994])
    assert (dense.value.value, dense.value.low, dense.value.high) == (wanted.value, wanted.low, wanted.high)
    assert mod.as_trained == pytest.approx(0.405)
    assert dense.as_trained is None
    assert dense.whole == pytest.approx(0.496)
    assert gate.depth_by_kind == {"copy": 2.5}
    assert dense.by_kind == {"copy": (3000, 2976)}
    assert (task.majority, task.shortcut) == (0.07, ("last symbol", 0.35))
    assert task.beyond_shortcut(dense)
    assert not task.beyond_shortcut(mod)  # its mean is above, its interval is not


def test_one_seed_has_the_binomial_interval_and_says_so(tmp_path: Path) -> None:
    loaded = planted(tmp_path / "run", seeds=(0,))
    row = loaded.cases[loaded.cases.arm == "mod[c0.125]"].iloc[0]
    assert (row.ci_low, row.ci_high) == pytest.approx(effects.share_interval(300, 1000))
    assert "1000 questions of one seed" in row.reason


def test_a_task_that_a_filter_left_out_is_not_counted(tmp_path: Path) -> None:
    loaded = planted(tmp_path / "run", filtered=("task/recall",))
    assert "accuracy on 1 task at" in plain(first_screen.asked(loaded))


def test_differences_are_paired_over_seeds(tmp_path: Path) -> None:
    row = planted(tmp_path / "run").pair("depth_predictor", "task/copy")
    assert row is not None
    assert row.difference == pytest.approx(0.810 - 0.992)
    assert row.verdict == "worse"


def test_a_gate_calls_a_falling_accuracy_worse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modbench.reports.questions.gate import gate

    base = planted(tmp_path / "base")
    monkeypatch.setitem(RIGHT, "dense", (890, 892, 894))
    monkeypatch.setitem(RIGHT, "depth_predictor", (900, 910, 920))
    findings = gate.gate(planted(tmp_path / "now"), base).findings
    found = {each.what.partition("[")[0]: each for each in findings if each.metric != "labels"}
    assert found["dense"].verdict == "worse"
    assert found["depth_predictor"].verdict == "better"


def test_the_page_shows_every_arm_and_who_failed(tmp_path: Path) -> None:
    planted(tmp_path / "run", fails="mod[c0.125]")
    render.write(tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    for words in ("What can they still do?", "35 % (last symbol)", "▲ 99.2 %", "loss nan at step 3", "copy 2.50"):
        assert words in page


def test_the_terminal_tells_accuracies_beside_the_shortcut(tmp_path: Path) -> None:
    """At any length of a task; half of a t-interval over three seeds is 0.5 points for dense."""
    told = summary.closing(planted(tmp_path / "run", fails="mod[c0.125]"), tmp_path, None)
    rows = {line.split("  ")[0].strip(): line.split()[-2:] for line in told.splitlines()}
    assert "accuracy" in rows
    assert rows["dense"] == ["±0.5", "%"]
    assert rows["MoD 0.125"][-1] == "failed"
    assert rows["best shortcut"][-2:] == ["35", "%"]
    assert "values at" not in told


def test_every_arm_spends_what_the_anchor_spends() -> None:
    suite = parse_suite(
        {
            "name": "tasks",
            "metrics": ["task/copy", "task/recall"],
            "shape": {"d_model": 32, "n_layers": 4},
            "arms": [{"model": "dense"}, {"model": "mod"}, {"model": "depth_branches"}],
            "tasks": {"steps": 300},
        },
        "test",
    )
    made = plan.make_plan(suite, device="cpu")
    spent: dict[str, list[float]] = {}
    for unit in made.units:
        if unit.made_in == "train":
            (case,) = unit.comparison.arms
            cost = case_cost(case)
            assert cost is not None
            assert unit.protocol.train is not None
            spent.setdefault(case.task, []).append(unit.protocol.train.steps * cost.train_step)
    assert set(spent) == {"copy", "recall"}
    for flops in spent.values():
        assert flops == pytest.approx([flops[0]] * 3, rel=0.01)


def test_a_run_of_tasks_alone_has_no_tiles(tmp_path: Path) -> None:
    """There is nothing to show in them: no chips over empty tiles."""
    assert tiles.render(planted(tmp_path / "run")) is None
