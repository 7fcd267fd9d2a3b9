"""Run folders of the previous schema are read through one function; older and damaged ones are refused in words.

`schema2/` is a run that modbench wrote at commit 08cacb3, with the tables that it made of it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from modbench.harness.core import catalogue
from modbench.harness.core.errors import UsageError
from modbench.harness.core.labels import Label
from modbench.harness.results.notes.counting import CountNotes
from modbench.harness.results.notes.findings import PeakFinding
from modbench.harness.results.notes.training import TrainNotes
from modbench.harness.results.reading import DamagedError
from modbench.harness.results.record_files import read_record
from modbench.harness.results.records import SCHEMA, Record
from modbench.harness.results.run_folder import read
from modbench.harness.results.upgrade import upgraded
from modbench.reports.page import render

OLD = Path(__file__).parent / "schema2"
# What a later schema may change: words, and columns that did not exist.
WORDS = {"reason", "labels", "baseline_labels"}
NEW = {"mean_ratio", "mean_ci_low", "mean_ci_high", "attainable", "realised_ci_low", "realised_ci_high"}
# Rates come from mean times since schema 5; before, from the median.
RATES = ("tokens_per_s", "mfu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "run"))


@pytest.mark.parametrize("name", ["cases", "comparisons"])
def test_an_old_run_has_the_same_numbers_and_verdicts(folder: Path, name: str) -> None:
    render.write(folder)
    before, now = pd.read_csv(OLD / f"{name}.csv"), pd.read_csv(folder / f"{name}.csv")
    kept = [column for column in before.columns if column not in WORDS]
    # Another scipy differs in the twelfth digit of a quantile.
    same = ~before.metric.str.startswith(RATES)
    if "realised" in before:  # since schema 5 null where less than 10 % was promised
        little = (before.ideal - 1).abs() < 0.1
        assert now.realised[little].isna().all()
        before.loc[little, "realised"] = float("nan")
    pd.testing.assert_frame_equal(now.loc[same, kept], before.loc[same, kept], rtol=1e-9, atol=0)
    assert set(now.columns) - set(before.columns) <= WORDS | NEW


@pytest.mark.parametrize("name", ["cases", "comparisons"])
def test_warnings_moved_from_the_reason_to_the_labels(folder: Path, name: str) -> None:
    render.write(folder)
    before, now = pd.read_csv(OLD / f"{name}.csv"), pd.read_csv(folder / f"{name}.csv")
    found = 0
    for old, new in zip(before.itertuples(), now.itertuples(), strict=True):
        labels = ";".join(str(getattr(new, column, "")) for column in ("labels", "baseline_labels"))
        for label in (Label.NOT_AUTOREGRESSIVE, Label.SAW_FUTURE):
            found += label in str(old.reason)
            assert (label in str(old.reason)) == (label in labels), (old, new)
    assert found > 5


def test_every_kind_of_note_is_read(folder: Path) -> None:
    records = {record.unit.made_in: record for record in read(str(folder)).records}
    assert isinstance(records["peak"].findings, PeakFinding)
    assert isinstance(records["count"].outcomes[0].notes, CountNotes)
    assert records["count"].environment is not None
    assert records["count"].environment.threads == 1
    notes = [outcome.notes for outcome in records["train"].outcomes]
    assert all(isinstance(each, TrainNotes) for each in notes)
    tasks = [r for r in read(str(folder)).records if r.unit.comparison.arms[0].task and r.unit.made_in == "train"]
    assert tasks
    assert all(o.noted(TrainNotes).answers is not None for record in tasks for o in record.outcomes)
    assert all(record.died is None for record in records.values())


# What schema 2 noted where the run above has no such unit.
NOTED: dict[str, dict[str, Any]] = {
    "lr/best": {"seed": 0, "rule": 1e-3, "rates": [0.5, 1.0], "losses": [2.0, None], "at_edge": True},
    "memory/largest_seq_len": {"budget_bytes": 10**9, "forecast": None, "forecast_reason": "a user's model"},
    "memory/rss_peak": {"forecast": 1e6, "forecast_reason": None},
    "memory/peak_allocated": {"forecast": 1e6, "forecast_reason": None, "alloc_retries": 2},
    "latency/compile": {"cache": "cold: an empty folder of its own"},
    "energy/total": {"idle_W": 60.0, "power_W": 300.0, "per": 1, "how": "NVML counter, gross"},
}


@pytest.mark.parametrize("metric", NOTED)
def test_notes_of_every_pass_keep_their_content(folder: Path, metric: str) -> None:
    file = next((folder / "units").glob("memory-*"))
    body = json.loads(file.read_text())
    outcome = {"case": "c", "metric": metric, "unit": "B", "status": "ok", "samples": {"value": [1.0]}}
    file.write_text(json.dumps(body | {"outcomes": [outcome | {"notes": NOTED[metric]}]}))
    notes = Record.model_validate(upgraded(json.loads(file.read_text()), file)).outcomes[0].notes
    assert isinstance(notes, catalogue.pass_of(catalogue.metrics()[metric]).notes)
    assert {name: getattr(notes, name) for name in NOTED[metric]} == NOTED[metric]


def test_a_process_that_died_says_so(folder: Path) -> None:
    """In schema 2 an empty environment meant it; now a field does."""
    file = next((folder / "units").glob("memory-*"))
    body = json.loads(file.read_text())
    for outcome in body["outcomes"]:
        outcome |= {"status": "failed", "kind": "oom", "reason": "killed", "samples": {}, "notes": {}}
    file.write_text(json.dumps(body | {"environment": {}}))
    died = read_record(file).died
    assert died is not None
    assert (died.kind, died.reason, died.again) == ("oom", "killed", False)


def test_what_is_written_is_read_back(folder: Path) -> None:
    """Every record of a run, in today's schema: the same record."""
    for record in read(str(folder)).records:
        assert record.schema_version == SCHEMA
        assert Record.model_validate_json(record.model_dump_json()) == record


def test_a_run_of_schema_7_has_models_without_options(folder: Path) -> None:
    def without(body: Any) -> Any:  # JSON of any kind
        if isinstance(body, dict):
            return {key: without(value) for key, value in body.items() if key != "options"}
        return [without(each) for each in body] if isinstance(body, list) else body

    for record in read(str(folder)).records:
        body = without(json.loads(record.model_dump_json())) | {"schema_version": 7}
        assert "options" not in json.dumps(body)
        now = Record.model_validate(upgraded(body, folder))
        assert (now, now.schema_version) == (record, SCHEMA)
        assert all(case.options == () for case in now.unit.comparison.arms)
    run = json.loads((folder / "run.json").read_text())
    assert "started_in" not in run
    assert read(str(folder)).started_in is None


def test_a_run_of_schema_9_does_not_say_what_code_its_units_ran(folder: Path) -> None:
    """Null is not known, and no file: nothing is claimed of it."""
    for record in read(str(folder)).records:
        assert record.code is None
        body = json.loads(record.model_dump_json()) | {"schema_version": 9}
        del body["code"]
        now = Record.model_validate(upgraded(body, folder))
        assert (now, now.schema_version, now.code) == (record, SCHEMA, None)


@pytest.mark.parametrize(
    ("name", "version", "which"),
    [
        ("run.json", 1, "older"),
        ("run.json", SCHEMA + 1, "newer"),
        ("run.json", None, "older"),
        ("units", 1, "older"),
        ("units", SCHEMA + 1, "newer"),
    ],
)
def test_other_schemas_are_refused_with_what_to_do(folder: Path, version: int | None, which: str, name: str) -> None:
    file = folder / name if name == "run.json" else next((folder / name).glob("count-T16*"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": version}))
    with pytest.raises(UsageError, match=f"{file.name}: schema {version}.*the {which} modbench.*measure again"):
        read(str(folder))


def damaged(file: Path, place: list[str | int], value: object) -> None:
    """Put a value into a unit's file."""
    body: Any = json.loads(file.read_text())
    inside = body
    for step in place[:-1]:
        inside = inside[step]
    inside[place[-1]] = value
    file.write_text(json.dumps(body))


@pytest.mark.parametrize(
    ("unit", "place", "value", "said"),
    [
        (
            "count-T16",
            ["outcomes", 0, "notes", "causality", "change"],
            "far",
            r"outcomes.0: notes.causality.change: .*number",
        ),
        ("count-T16", ["outcomes", 0, "notes", "modules", 2, "counter"], [], r"notes.modules.2.counter: .*number"),
        ("count-T16", ["outcomes", 0, "notes", "mood"], "good", r"notes.mood: .*not permitted"),
        ("memory-", ["outcomes", 0, "notes", "forecast"], {}, r"notes.forecast: .*number"),
        ("train-dense_T16", ["outcomes", 0, "notes", "curve", "loss"], 5, r"notes.curve.loss: .*list"),
        ("train-dense_copy", ["outcomes", 0, "notes", "by_kind"], [1], r"notes.answers.by_kind: .*dictionary"),
        ("peak-", ["environment", "peak", "flop_per_s"], "fast", r"findings.flop_per_s: .*number"),
        ("peak-", ["outcomes"], 7, r"schema version"),
        ("peak-", ["schema_version"], None, r"schema_version: None is"),
    ],
)
def test_damage_is_refused_with_its_place(
    folder: Path, unit: str, place: list[str | int], value: object, said: str
) -> None:
    file = next((folder / "units").glob(f"{unit}*"))
    damaged(file, place, value)
    with pytest.raises(DamagedError, match=said) as error:
        read_record(file)
    (found,) = read(str(folder)).damaged
    assert str(found.error) == str(error.value)
    assert file.name in str(found.error)


def test_schema_3_is_read_as_it_is(folder: Path) -> None:
    """A run of schema 3 differs from today's only in its number: its suite has no grid for decode metrics."""
    today = read(str(folder))
    for file in (folder / "run.json", *(folder / "units").glob("*.json")):
        body = upgraded(json.loads(file.read_text()), file)
        if "plan" in body:
            body["plan"]["suite"].pop("decode_grid", None)
        file.write_text(json.dumps(body | {"schema_version": 3}))
    again = read(str(folder))
    assert again.plan == today.plan
    assert again.plan.suite.decode_grid is None
    assert again.records == today.records
