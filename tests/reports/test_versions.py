"""Numbers that several versions of a user's file made: labelled everywhere, and no verdict where one number mixes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from resealed import reseal

from modbench import planted_runs
from modbench.harness.core.labels import Label
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.reports.html_report import render
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import compare_runs, machine_check
from modbench.reports.tables.load import Loaded, load

BUILD = "def build(config):\n    import parts\n    return parts.made(config)\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "state"))
    (tmp_path / "mine.py").write_text(BUILD)
    (tmp_path / "parts.py").write_text("WIDE = 4\n")
    return tmp_path


def ran(folder: Path, monkeypatch: pytest.MonkeyPatch, version_of: dict[str, str], by_default: str = "a") -> Loaded:
    """A planted run of dense and a user's model; `version_of` has the version of parts.py by a part of the unit's name."""
    made = planted_runs.planted_plan(
        "draft",
        processes=3,
        variants=[{"model": "dense"}, {"model": "mine.py:build"}],
        metrics=["flops/forward", "latency/forward"],
        train=None,
    )
    (mine,) = {case.variant for case in made.cases} - {"dense"}
    monkeypatch.setitem(planted_runs.PLANTED, mine, 0.5)
    monkeypatch.setattr(planted_runs, "case_cost", lambda case: case_cost(case.model_copy(update={"model": "dense"})))
    folder.mkdir()
    run = planted_runs.planted_run(folder, made)
    for file in (run / "jobs").glob("*.json"):
        version = next((each for part, each in version_of.items() if part in file.stem), by_default)
        body = json.loads(file.read_text())
        reseal(file, body | {"code": {"mine.py": "c" * 64, "parts.py": version * 64}})
    return load(run)


def labelled(loaded: Loaded) -> set[tuple[str, str, int]]:
    """Model, metric and length of the numbers that wear the label."""
    worn = loaded.cases[loaded.cases.labels.fillna("").str.contains(Label.CODE_CHANGED)]
    return set(zip(worn.model, worn.metric, worn.seq_len, strict=True))


MINE = {("mine.py:build", metric, t) for metric in ("flops/forward", "latency/forward") for t in (64, 128)}


def test_a_run_of_one_version_wears_no_label(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = ran(here / "one", monkeypatch, {})
    assert labelled(loaded) == set()
    assert loaded.pairs.verdict.notna().any()
    assert not any("changed after" in line for line in map(plain, machine_check.warnings(loaded)))


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_processes_of_two_versions_are_labelled_and_have_no_verdict(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = ran(here / "one", monkeypatch, {"T64-B1-fp32-cpu1-process0": "b"})
    times = loaded.pairs[loaded.pairs.metric == "latency/forward"].set_index("seq_len")
    assert labelled(loaded) == MINE
    assert times.labels.str.contains(Label.CODE_CHANGED).all()
    assert times.verdict.notna()[128]
    assert times.verdict.isna()[64]
    assert "several versions of parts.py" in times.reason[64]
    assert any("parts.py changed after" in line for line in map(plain, machine_check.warnings(loaded)))
    render.write(loaded.path)
    for name in ("report.html", "cases.csv", "comparisons.csv"):
        assert Label.CODE_CHANGED in (loaded.path / name).read_text()


def test_cells_of_two_versions_in_one_table_are_labelled(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every number is of one version: each has its verdict, and the label says that they may not be read side by side."""
    loaded = ran(here / "one", monkeypatch, {"T128": "b"})
    assert labelled(loaded) == MINE
    assert loaded.pairs[loaded.pairs.metric == "latency/forward"].verdict.notna().all()


def test_what_failed_mixes_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in a file was mended, and its failed units ran again."""
    loaded = ran(here / "one", monkeypatch, {"count-T64": "b"})
    assert labelled(loaded)
    file = next((loaded.path / "jobs").glob("count-T64*"))
    body = json.loads(file.read_text())
    for outcome in body["outcomes"]:
        if outcome["case"].startswith("mine"):
            outcome |= {"status": "failed", "kind": "error", "reason": "a bug", "samples": {}, "notes": {}}
    reseal(file, body)
    assert labelled(load(loaded.path)) == set()


def test_two_runs_may_differ_in_their_code(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = ran(here / "one", monkeypatch, {}), ran(here / "other", monkeypatch, {}, "b")
    assert labelled(one) == labelled(other) == set()
    found = compare_runs.differences([one, other])
    assert [(each.section, each.what) for each in found if "parts" in each.what] == [("code", "file parts.py")]
