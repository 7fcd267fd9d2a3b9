"""`modbench.load`: a run as tidy tables."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from planted import ended, measured_here
from resealed import reseal

import modbench
from modbench.extend import planted_plan, planted_run
from modbench.harness.core.errors import NothingMeasuredError
from modbench.plugins.python.frames import LOSSES, SAMPLES, Results
from modbench.reports.html_report import render
from modbench.reports.questions.machine_check import NOTHING

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
    made = modbench.load(folder / "run")
    render.views(made.loaded, ["csv"])
    return made


def test_tables_are_those_of_the_csv_files_and_the_readers_own(results: Results) -> None:
    for name, table in (("cases", results.cases), ("comparisons", results.comparisons)):
        file = pd.read_csv(results.path / f"{name}.csv")
        assert len(file) == len(table)
        assert list(file) == [column for column in table if column not in {"primary", "aa_control"}]
    assert results.comparisons.primary.all()
    before = results.loaded.cases.value.copy()
    own = Results(results.loaded).cases
    own["value"] = 0.0
    assert results.loaded.cases.value.equals(before)


def test_every_sample_has_a_row_and_leads_to_the_value(results: Results) -> None:
    samples = results.samples
    assert list(samples)[: len(SAMPLES)] == list(SAMPLES)
    times = samples[samples.metric == "latency/forward"]
    outcomes = [each for record in results.run.records for each in record.outcomes if each.metric == "latency/forward"]
    assert len(times) == sum(len(each.samples["wall_s"]) for each in outcomes) > 0
    assert (times.value == times.wall_s).all()
    assert set(times.process) == {0, 1, 2, 3}
    assert not times[["round", "block", "position", "cpu_s"]].isna().any(axis=None)
    one = times[times.case_id == "dense[T64-B1-fp32-cpu1]"]  # in every block: others are told from it
    by_process = one.groupby("process").value.apply(lambda values: values.map(math.log).median())
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
    told = [["train", 0, 3.0], ["train", 2, 2.0], ["held_out", 2, 2.5]]
    assert one[["kind", "step", "loss_nat"]].to_numpy().tolist() == told
    assert one.tokens.isna().tolist() == [False, False, True]


def test_a_run_without_records_has_empty_tables(results: Results, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "run.json").write_text((results.path / "run.json").read_text())
    empty = modbench.load(tmp_path)
    assert (len(empty.samples), list(empty.samples), len(empty.losses)) == (0, list(SAMPLES), 0)
    assert "jobs missing" in repr(empty)


def test_where_nothing_was_measured_that_is_said_first_and_raised(tmp_path: Path) -> None:
    made = planted_plan("draft", metrics=["latency/forward"], train=None, variants=[{"model": "dense"}])
    folder = planted_run(tmp_path, made, fails="dense")
    ended(folder)
    measured_here(folder)
    found = modbench.load(folder)
    assert found._repr_html_().startswith(f"<div><div>⚠ {NOTHING}: 2 cells failed")
    assert not found.cases.empty
    with pytest.raises(NothingMeasuredError, match="planted failure") as raised:
        modbench.resume(folder, quiet=True)
    assert raised.value.exit_code == 1
