"""Run folders of schemas 9 and 10 are read through one function, and not continued; others and damaged ones are refused in words.

The runs are those that the goldens are made from (`tests/goldens`), which were stored in schema 10.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted import left, planted_suite

from modbench.harness.core.errors import UsageError
from modbench.harness.domain.evidence import LaunchCount
from modbench.harness.domain.records import SCHEMA
from modbench.harness.execution.unit import planned
from modbench.harness.registry import catalogue
from modbench.harness.results.reading import DamagedError
from modbench.harness.results.run_folder import read
from modbench.harness.results.sealed_records import as_record, read_record
from modbench.harness.results.upgrade import EARLIEST, upgraded
from modbench.reports import demo

GOLDENS = Path(__file__).parents[1] / "goldens"
Modbench = Callable[..., subprocess.CompletedProcess[str]]


def unpacked(folder: Path, golden: str) -> Path:
    folder.mkdir()
    demo.unpack(folder, GOLDENS / golden / "run.json.xz")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return unpacked(tmp_path / "run", "tasks")


def files(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def as_schema_9(folder: Path) -> None:
    """Let a run be as release 0.2.0 wrote it."""
    for file in (folder / "run.json", *(folder / "units").glob("*.json")):
        body = json.loads(file.read_text())
        body.pop("code", None)
        file.write_text(json.dumps(body | {"schema_version": 9}))


@pytest.mark.parametrize("golden", ["tasks", "gpu"])
def test_a_run_of_schema_9_or_10_is_read(tmp_path: Path, golden: str) -> None:
    """Of schema 9 it is not known what code its units ran."""
    folder = unpacked(tmp_path / "run", golden)
    ten = read(str(folder))
    assert (ten.schema, ten.missing, ten.damaged) == (10, [], [])
    assert {record.schema_version for record in ten.records} == {SCHEMA}
    assert all(as_record(json.loads(record.model_dump_json()), folder) == record for record in ten.records)
    as_schema_9(folder)
    nine = read(str(folder))
    assert (nine.schema, nine.missing, nine.damaged) == (9, [], [])
    assert nine.plan == ten.plan
    assert nine.records == [record.model_copy(update={"code": None}) for record in ten.records]


# What passes note where the runs above have no such unit.
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
    file = next((folder / "units").glob("train-*"))
    outcome = {"case": "c", "metric": metric, "unit": "B", "status": "ok", "samples": {"value": [1.0]}}
    body = json.loads(file.read_text()) | {"outcomes": [outcome | {"notes": NOTED[metric]}]}
    notes = as_record(upgraded(body, file), file).outcomes[0].notes
    assert isinstance(notes, catalogue.pass_of(catalogue.metrics()[metric]).notes)
    assert {name: getattr(notes, name) for name in NOTED[metric]} == NOTED[metric]


@pytest.mark.parametrize(
    ("name", "version", "which"),
    [
        ("run.json", EARLIEST - 1, "older"),
        ("run.json", SCHEMA + 1, "newer"),
        ("units", SCHEMA + 1, "newer"),
    ],
)
def test_other_schemas_are_refused_with_what_to_do(folder: Path, version: int | None, which: str, name: str) -> None:
    file = folder / name if name == "run.json" else next((folder / name).glob("count-*"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": version}))
    with pytest.raises(UsageError, match=f"{file.name}: schema {version}.*the {which} modbench.*measure again"):
        read(str(folder))


@pytest.mark.slow
@pytest.mark.parametrize("schema", [9, 10])
@pytest.mark.usefixtures("undrawn")
def test_a_run_of_an_earlier_schema_is_not_continued(folder: Path, schema: int, modbench: Modbench) -> None:
    next((folder / "units").glob("train-*")).unlink()
    if schema == 9:
        as_schema_9(folder)
    before = files(folder)
    done = modbench("resume", folder)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"schema {schema} is read" in done.stderr
    with pytest.raises(UsageError, match=f"schema {schema} .*not continued"):
        planned(folder, "any unit")
    assert files(folder) == before
    assert modbench("report", folder).returncode == 4  # a unit is missing


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
        ("train-dense", ["outcomes", 0, "notes", "curve"], {"loss": 5}, r"outcomes.0: notes.curve"),
        ("train-dense", ["outcomes", 0, "notes", "mood"], "good", r"notes.mood: .*not permitted"),
        ("train-dense", ["outcomes", 0, "notes", "answers", "by_kind"], [1], r"notes.answers.by_kind: .*dictionary"),
        ("count-", ["outcomes"], 7, r"outcomes: .*tuple"),
        ("count-", ["schema_version"], None, r"schema_version: None is"),
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


def test_what_a_pilot_of_schema_10_decided_is_read(tmp_path: Path) -> None:
    """What searches and confirmations decided is in the goldens."""
    made = planted_suite("standard", metrics=["latency/forward"], pilot_launches=4, rounds=3, most_launches=9)
    folder = left(tmp_path, made)
    now = read(str(folder))
    (folder / "launches").mkdir()
    for file in (folder / "decisions").iterdir():
        body = json.loads(file.read_text())
        (folder / "launches" / file.name).write_text(json.dumps({"series": body["group"], **body["found"]}))
        file.unlink()
    for file in (folder / "run.json", *(folder / "units").iterdir()):
        body = json.loads(file.read_text()) | {"schema_version": 10}
        for unit in [body["unit"]] if "unit" in body else body["plan"]["units"]:
            del unit["group"], unit["rule"]
            unit["row"] = ""
        body.get("plan", {}).pop("groups", None)
        if "unit" in body:
            del body["digest"], body["token"]
        file.write_text(json.dumps(body))
    then = read(str(folder))
    assert then.found(LaunchCount) == now.found(LaunchCount) != {}
    unsealed = [record.model_copy(update={"digest": "", "token": ""}) for record in now.records]
    assert (then.missing, then.undecided, then.records) == ([], (), unsealed)
    assert {name: each.asked for name, each in then.decisions.items()} == {
        name: each.asked for name, each in now.decisions.items()
    }
    broken = next((folder / "launches").iterdir())
    broken.write_text(broken.read_text().replace('"made"', '"maid"'))
    with pytest.raises(DamagedError, match="not match its schema"):
        read(str(folder))
