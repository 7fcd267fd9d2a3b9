"""`modbench.load`: a run as tidy tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import ended, measured_here
from resealed import reseal

import modbench
from modbench.extend import planted_plan, planted_run
from modbench.harness.core.errors import NothingMeasuredError, UsageError
from modbench.plugins.python.frames import LOSSES, SAMPLES, Results
from modbench.plugins.python.runs import Planned
from modbench.reports.html_report import render
from modbench.reports.questions.machine_check import NOTHING
from modbench.reports.terminal import printed_run

pytestmark = pytest.mark.slow

VARIANTS = [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("frames")
    metrics = ["flops/forward", "latency/forward", "bpb/val"]
    planted_run(
        folder, planted_plan("draft", metrics=metrics, variants=VARIANTS, processes=4, rounds=2, seeds=[0, 1, 2])
    )
    for file in (folder / "run" / "jobs").glob("train-*.json"):
        body = json.loads(file.read_text())
        body["outcomes"][0]["notes"] |= {
            "curve": {"step": [0, 1, 2], "tokens": [10, 20, 30], "loss": [3.0, None, 2.0], "wall_s": [0.1, 0.2, 0.3]},
            "looks": {"step": [2], "loss": [2.5]},
        }
        reseal(file, body)
    (folder / "run" / "report.html").touch()  # no test reads it
    made = modbench.load(folder / "run")
    render.views(made.loaded, ["csv"])
    return made


def test_tables_are_those_of_the_csv_files(results: Results) -> None:
    for name, table in (("cases", results.cases), ("comparisons", results.comparisons)):
        file = pd.read_csv(results.path / f"{name}.csv")
        assert len(file) == len(table)
        assert list(file) == [column for column in table if column not in {"primary", "aa_control"}]
    assert results.comparisons.primary.all()


def test_every_sample_has_a_row_and_leads_to_the_value(results: Results) -> None:
    samples = results.samples
    assert list(samples)[: len(SAMPLES)] == list(SAMPLES)
    times = samples[samples.metric == "latency/forward"]
    raw = [
        len(outcome.samples["wall_s"])
        for record in results.run.records
        for outcome in record.outcomes
        if outcome.metric == "latency/forward"
    ]
    assert len(times) == sum(raw) > 0
    assert (times.value == times.wall_s).all()
    assert set(times.process) == {0, 1, 2, 3}
    assert not times[["round", "block", "position", "cpu_s"]].isna().any(axis=None)
    one = times[times.case_id == "dense[T64-B1-fp32-cpu1]"]  # in every block: others are told from it
    by_process = one.groupby("process").value.apply(lambda values: np.median(np.log(values)))
    row = results.cases[(results.cases.case_id == one.case_id.iloc[0]) & (results.cases.unit == "s")].iloc[0]
    assert math.exp(by_process.mean()) == pytest.approx(row.value)
    counted = samples[samples.metric == "flops/forward"]
    assert counted.wall_s.isna().all()
    assert (counted.value > 0).all()


def test_losses_are_training_curves(results: Results) -> None:
    losses = results.losses
    assert list(losses) == list(LOSSES)
    assert set(losses.seed) == {0, 1, 2}
    one = losses[(losses.variant == "dense") & (losses.seed == 1)]
    assert one[["kind", "step", "loss_nat"]].to_numpy().tolist() == [
        ["train", 0, 3.0],
        ["train", 2, 2.0],
        ["held_out", 2, 2.5],
    ]
    assert one.tokens.isna().tolist() == [False, False, True]


def test_the_tables_are_the_readers_own(results: Results) -> None:
    before = results.loaded.cases.value.copy()
    results.cases["value"] = 0.0
    assert results.loaded.cases.value.equals(before)


def test_a_run_without_records_has_empty_tables(results: Results, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "run.json").write_text((results.path / "run.json").read_text())
    empty = modbench.load(tmp_path)
    assert empty.samples.empty
    assert list(empty.samples) == list(SAMPLES)
    assert empty.losses.empty
    assert "jobs missing" in repr(empty)


def test_what_is_no_run_is_said() -> None:
    with pytest.raises(UsageError, match="not a run folder"):
        modbench.load("nowhere")
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = modbench.lode  # type: ignore[attr-defined]


def test_a_notebook_shows_the_answer_a_table_and_a_figure_in_less_than_30_kb(results: Results) -> None:
    html = results._repr_html_()
    assert len(html.encode()) < 30_000
    assert "MoD 0.125 is faster than dense" in html
    assert "1.60×" in html
    assert html.count("<svg ") == 1
    assert "report.html" in html
    assert len(repr(results)) < 200
    assert len(repr(results.loaded)) < 200


def test_printed_it_is_what_the_terminal_shows(results: Results) -> None:
    said = str(results)
    assert "MoD 0.125 is faster than dense" in said
    assert said.endswith(f"report   {results.report}")
    assert results.report is not None
    results.report.unlink()
    assert results.report is None
    assert str(results).endswith(f"modbench report {results.path} writes it")
    assert f"modbench report {results.path} " in results._repr_html_()


@pytest.mark.parametrize(
    ("changes", "figures"),
    [
        ({"grid": {"seq_len": [16 * i for i in range(1, 15)]}, "metrics": ["flops/forward", "latency/forward"]}, 1),
        ({"metrics": ["flops/forward"], "variants": VARIANTS}, 0),
        ({"metrics": ["loss/val"], "variants": VARIANTS}, 0),
    ],
)
def test_any_run_is_shown_in_little_room(changes: dict[str, Any], figures: int, tmp_path: Path) -> None:
    planted_run(tmp_path, planted_plan("smoke", processes=1, rounds=1, **changes))
    html = modbench.load(tmp_path / "run")._repr_html_()
    assert len(html.encode()) < 30_000
    assert html.count("<svg ") == figures


def test_one_model_alone_has_no_empty_line_and_is_counted_in_the_singular(tmp_path: Path) -> None:
    made = planted_plan(
        "smoke", metrics=["flops/forward"], train=None, variants=[{"model": "dense"}], grid={"seq_len": [64]}
    )
    (job,) = made.jobs
    planted_run(tmp_path, made, certificate=None, leave_out=job.name)
    alone = modbench.load(tmp_path / "run")
    assert "How sure" not in alone._repr_html_()
    assert "Nothing was measured: " in alone._repr_html_()
    assert repr(alone).endswith("1 variant, 1 case, 1 job, 1 job missing>")
    assert "1 cell skipped." in str(alone)
    assert str(alone.run.incomplete).endswith(": 1 job has no record.")
    assert printed_run.opening(made).startswith("planted: 1 case in 1 job on cpu, ")
    assert repr(Planned(made)).endswith("smoke, 1 case, 1 job>")


def test_where_nothing_was_measured_that_is_said_first_and_raised(tmp_path: Path) -> None:
    made = planted_plan("draft", metrics=["latency/forward"], train=None, variants=[{"model": "dense"}])
    folder = planted_run(tmp_path, made, fails="dense")
    ended(folder)
    measured_here(folder)
    said = f"{NOTHING}: 2 cells failed"
    assert modbench.load(folder)._repr_html_().startswith(f"<div><div>⚠ {said}")
    with pytest.raises(NothingMeasuredError, match="planted failure") as raised:
        modbench.resume(folder, quiet=True)
    assert raised.value.exit_code == 1
    assert not modbench.load(folder).cases.empty


def test_titles_of_variants(results: Results) -> None:
    variant = results.loaded.variants[1].variant
    assert "Ours" in {*modbench.load(results.path, title={variant: "Ours"}).cases.title}
    with pytest.raises(UsageError, match="takes a dict"):
        modbench.load(results.path, title="x")  # type: ignore[arg-type]
