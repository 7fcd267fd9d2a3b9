"""What a run can be written as: which files, where, and JSON that holds the tables and follows its schema.

What is written, `tests/goldens` hold; Markdown, `test_markdown.py`.
"""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from in_process import succeeded

import modbench
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.formats.json import VERSION, Report, type_of
from modbench.reports.html_report import render
from modbench.reports.tables.cases import CASES
from modbench.reports.tables.comparisons import COMPARISONS, MORE
from modbench.reports.tables.load import Loaded, load

SCHEMA = Path(modbench.__file__).parent / "schemas" / "report.schema.json"
Modbench = Callable[..., subprocess.CompletedProcess[str]]
FORMATS = ("csv", "md", "json")
METRICS = ["flops/forward", "latency/forward", "memory/peak_allocated", "bpb/val"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A run in which one of the variants fails."""
    plan = planted_plan("draft", metrics=METRICS, processes=3, rounds=2)
    return load(planted_run(tmp_path_factory.mktemp("formats"), plan, fails="moe"))


@pytest.fixture(scope="module")
def written(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """File name to content, in every format but the page."""
    files = render.views(loaded, FORMATS, tmp_path_factory.mktemp("views"))
    return {file.name: file.read_text(encoding="utf-8") for file in files}


def test_equal_runs_make_equal_bytes(loaded: Loaded, written: dict[str, str], tmp_path: Path) -> None:
    again = render.views(load(loaded.path), FORMATS, tmp_path)
    assert {file.name: file.read_text(encoding="utf-8") for file in again} == written


def test_the_json_report_holds_the_tables_and_follows_its_schema(written: dict[str, str]) -> None:
    data = json.loads(written["report.json"])
    assert data["schema_version"] == VERSION
    assert json.loads(Report.model_validate_json(written["report.json"]).model_dump_json()) == data
    for name in ("cases", "comparisons"):
        table = pd.read_csv(io.StringIO(written[f"{name}.csv"]), dtype=str, keep_default_na=False)
        rows = pd.DataFrame(data[name], dtype=object)[[*table]].fillna("").astype(str)
        pd.testing.assert_frame_equal(rows, table)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert set(schema["required"]) <= set(data) <= set(schema["properties"])
    assert set(data["comparisons"][0]) == set(schema["$defs"]["PairRow"]["properties"])
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: checked with pydantic alone")
    jsonschema.validate(data, schema)


def test_every_column_has_one_type_in_the_schema() -> None:
    """A new column of a table belongs into one of the sets in `_schema.py`."""
    assert {type_of(column) for column in (*CASES, *COMPARISONS, *MORE)} == {int, float, bool, str}


def test_a_run_folder_that_was_moved_away_is_not_made_again(tmp_path: Path) -> None:
    """Whoever moves it while a run ends finds one folder, not a second one that holds the views alone."""
    loaded = load(planted_run(tmp_path, planted_plan("smoke")))
    (tmp_path / "run").rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError, match=r"cases\.csv"):
        render.views(loaded)
    assert not (tmp_path / "run").exists()


# --- the command


def test_the_command_writes_the_formats_that_are_named_where_they_are_wanted(
    loaded: Loaded, modbench: Modbench, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in loaded.path.rglob("*") if path.is_file()}
    done = succeeded(modbench("report", loaded.path, "--format", "md, md,json", "-o", tmp_path / "out"))
    assert done.stdout.splitlines() == [str(tmp_path / "out" / name) for name in ("report.md", "report.json")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.json", "report.md"]
    assert {path: path.read_bytes() for path in loaded.path.rglob("*") if path.is_file()} == before
    done = modbench("report", loaded.path, "--format", "json", "--json", "-o", tmp_path / "out")
    assert json.loads(done.stdout)["files"] == [str(tmp_path / "out" / "report.json")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "markdown"), "unknown format 'markdown'. Known: csv, html, json, md"),
        (("--format", ""), "--format needs at least one of csv, html"),
        (("-o", " "), "--out '' names no folder"),
    ],
)
def test_mistakes_are_said(loaded: Loaded, modbench: Modbench, arguments: tuple[str, ...], said: str) -> None:
    done = modbench("report", loaded.path, *arguments)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
