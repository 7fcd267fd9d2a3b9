"""The answer about a user's model with several settings: the fastest that is told apart, at each length, not the first one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from planted_compare import OWN, own_run
from present import present

from modbench.harness.results import run_folder
from modbench.reports.formats import json as report_json
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import summary, user_models
from modbench.reports.questions.compare_axis import compare_by
from modbench.reports.tables.load import Loaded, load
from modbench.reports.terminal import answer_so_far, compare, printed_run

BEST, CALLED = "mine:build[capacity0.125]", "mine:build capacity0.125"
ALL_ALIKE = {f"mine:build[capacity{share}]": 1.0 for share in (0.5, 0.25, 0.125)}
WITH_DENSE = [{"model": "dense"}, *OWN["variants"]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answered(loaded: Loaded) -> tuple[str, int]:
    """Whom the last sentence of the answer names, and of how many comparisons the first one speaks."""
    said: Any = summary.answer(loaded)
    return plain(said[-1].given["variant"]), said[0].given.get("all")


def told(loaded: Loaded) -> dict[tuple[str, int], str | None]:
    return {(each.metric, each.seq_len): each.variant for each in user_models.best_settings(loaded)}


def test_the_fastest_setting_is_the_answer_and_not_the_first(here: Path) -> None:
    loaded = own_run(here, {"variants": WITH_DENSE})
    assert loaded.variants[1].variant != BEST
    assert answered(loaded) == (f"{CALLED}, the fastest of 3 settings,", 2)
    assert told(loaded) == {("latency/forward", 64): BEST, ("latency/forward", 128): BEST}
    assert present(user_models.first_variant(loaded)).variant == BEST
    # All outputs have it.
    assert {each.variant for each in report_json.report(loaded).best_settings} == {BEST}
    assert [each["variant"] for each in printed_run.as_json(loaded, here, None)["best_settings"]] == [BEST] * 2
    columns = compare.axis_as_dict(loaded, compare_by(loaded, "capacity"))["columns"]
    assert {row["case_id"].partition("-T")[0] for each in columns for row in each["rows"] if row["best"]} == {BEST[:-1]}


def test_it_is_named_length_by_length(here: Path) -> None:
    """At 64 tokens another one is the fastest; at 128 none is told apart; the first is the anchor, which has no ratio."""
    faster, slower = {"mine:build[capacity0.25]": 0.5}, {"mine:build[capacity0.125]": 0.5}
    grid = {"seq_len": [64, 128, 256, 512], "dtype": ["fp32"]}
    loaded = own_run(here, {"grid": grid}, slower=ALL_ALIKE, at={64: faster, 256: slower, 512: slower})
    assert [variant and variant.partition("[")[2] for variant in told(loaded).values()] == [
        "capacity0.25]",
        None,
        "capacity0.125]",
        "capacity0.125]",
    ]
    assert answered(loaded)[0].startswith(CALLED)  # of several the one at the longest length


def test_where_none_is_told_apart_all_settings_are_the_answer(here: Path) -> None:
    loaded = own_run(here, {"variants": WITH_DENSE}, slower=ALL_ALIKE)
    assert set(told(loaded).values()) == {None}
    assert answered(loaded) == ("mine:build (3 settings, none is the fastest)", 3 * 2)


def test_where_the_anchor_is_the_fastest_the_others_are_compared_with_it(here: Path) -> None:
    variants = [{"model": "mine.py:build", "options": {"capacity": [0.125, 0.25, 0.5]}}]
    loaded = own_run(here, {"variants": variants})
    assert set(told(loaded).values()) == {BEST} == {loaded.variants[0].variant}
    assert answered(loaded) == ("mine:build (3 settings, none is the fastest)", 2 * 2)


def test_a_smoke_run_and_a_model_with_one_setting_name_none(here: Path) -> None:
    smoke = own_run(here, {"variants": WITH_DENSE, "effort": "smoke", "processes": 1})
    assert user_models.best_settings(smoke) == []
    assert answered(smoke)[0].startswith("mine:build (3 settings")
    one = own_run(here, {"variants": [{"model": "dense"}, {"model": "mine.py:build"}]}, name="one", slower={})
    assert user_models.best_settings(one) == []
    assert answered(one)[0] == "mine:build"


def test_while_a_run_goes_on_the_anchors_aa_control_is_no_setting(here: Path) -> None:
    loaded = own_run(here, {"aa_control": True})
    processes = [
        job for job in loaded.run.plan.jobs if job.made_in == "time" and job.comparison.grid_point.seq_len == 128
    ]
    assert any(case.aa_control for case in processes[0].comparison.variants)
    part: Any = answer_so_far.part_of(run_folder.read(str(loaded.path)), processes)
    assert [(each.settings, each.variant) for each in user_models.best_settings(part)] == [(3, BEST)]


def test_the_head_names_a_baseline_that_is_only_the_first_setting(here: Path) -> None:
    loaded = own_run(here)
    heads = [
        " ".join(printed_run.closing(run, here, None).partition("\n\n")[0].split())
        for run in (loaded, load(loaded.path, BEST), own_run(here, {"variants": WITH_DENSE}, name="dense"))
    ]
    assert ["the first setting" in head for head in heads] == [True, False, False]
    assert "mine:build capacity0.5" in heads[0]
