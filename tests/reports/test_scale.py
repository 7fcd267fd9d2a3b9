"""Reports and plans of many cases: work grows with their number, pages stay small, files are spread over folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted import stored
from sections_of import shown

from modbench import planted_runs
from modbench.harness.core.errors import UsageError
from modbench.harness.planning.plan import Plan
from modbench.harness.results import layout, run_folder
from modbench.harness.results.run_folder import RunFolder, planned_job
from modbench.harness.results.workspace import Workspace, artifact
from modbench.harness.stats import effects, paired
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.html_report import render
from modbench.reports.sections import numbers
from modbench.reports.tables import comparisons
from modbench.reports.tables import load as loading
from modbench.reports.tables.load import load, subsample_evenly
from modbench.reports.terminal import printed_run

MEASURED = ["flops/forward", "latency/forward", "memory/peak_allocated"]


def grown(lengths: int, capacities: int, **changes: Any) -> Plan:
    variants = [
        {"model": "dense"},
        {"model": "mod", "capacity": [(i + 1) / (capacities + 1) for i in range(capacities)]},
    ]
    grid = {"seq_len": [64 + 8 * i for i in range(lengths)]}
    return planted_plan(
        "draft", metrics=MEASURED, variants=variants, grid=grid, train=None, processes=3, rounds=3, **changes
    )


@pytest.fixture(autouse=True)
def _known_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    """MoD at any capacity takes as long as the anchor."""
    variants = {f"mod[c{(i + 1) / n:g}]": 1.0 for n in range(2, 21) for i in range(n - 1)}
    monkeypatch.setattr(planted_runs, "PLANTED", variants | planted_runs.PLANTED)


def counted(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, int]:
    """How often a report compares, and rows it makes."""
    calls = {"compare": 0, "effect": 0}

    def compare(*args: Any, **named: Any) -> Any:
        calls["compare"] += 1
        return own_compare(*args, **named)

    def over_processes(*args: Any, **named: Any) -> Any:
        calls["effect"] += 1
        return own_effect(*args, **named)

    own_compare, own_effect = paired.between, effects.over_processes
    with monkeypatch.context() as patch:
        patch.setattr(paired, "between", compare)
        patch.setattr(effects, "over_processes", over_processes)
        loaded = load(folder)
    return calls | {"pairs": len(loaded.pairs), "cases": len(loaded.cases)}


@pytest.mark.slow
def test_work_grows_with_the_number_of_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many capacities, twice as many make twice the rows and comparisons, not four times."""
    monkeypatch.setattr(comparisons, "MOST_PAIRS", 0)
    found = []
    for capacities in (9, 19):  # 10 and 20 variants
        planted_run(tmp_path / str(capacities), grown(2, capacities))
        found.append(counted(monkeypatch, tmp_path / str(capacities) / "run"))
    few, many = found
    for name in few:
        assert many[name] <= 2.2 * few[name], name
    assert many["pairs"] == 2 * 19 * len(MEASURED)


@pytest.mark.slow
def test_all_pairs_where_they_are_few_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted_run(tmp_path, grown(2, 4))
    run = tmp_path / "run"
    every = load(run).pairs
    assert len(every) == 2 * 10 * len(MEASURED)
    monkeypatch.setattr(comparisons, "MOST_PAIRS", 10)
    few = load(run).pairs
    assert len(few) == 2 * 4 * len(MEASURED)
    # What the answer is made from does not depend on the other pairs.
    assert few.to_csv() == every[every.primary].to_csv()
    assert load(run, all_pairs=True).pairs.to_csv() == every.to_csv()
    # Against another baseline the pairs with the anchor stay.
    other = load(run, "mod[c0.4]").pairs
    rest = other[~other.primary]
    assert set(rest.baseline_variant) == {"dense"}
    assert set(rest.variant) == {"mod[c0.2]", "mod[c0.6]", "mod[c0.8]"}


@pytest.mark.slow
def test_a_matched_stays_paired_with_the_variant_that_it_was_solved_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted_run(tmp_path, planted_plan("draft", metrics=MEASURED, train=None))
    whole = load(tmp_path / "run")
    monkeypatch.setattr(comparisons, "MOST_PAIRS", 0)
    loaded = load(tmp_path / "run")
    others = loaded.pairs[~loaded.pairs.primary & ~loaded.pairs.aa_control]
    assert set(zip(others.variant, others.baseline_variant, strict=True)) == {("mod[c0.125]", "dense-f0.58")}
    assert len(whole.pairs) > len(loaded.pairs)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_page_of_many_cases_shows_some_and_says_how_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(planted_run(tmp_path, grown(15, 3)))
    page, every = render.html(loaded), shown(numbers.TABLE, loaded)
    assert "show 12 of 15 lengths" in page
    assert page.count('<div class="tiles"') == 3 * 12
    assert "more rows, at" not in every
    monkeypatch.setattr(numbers, "MOST_PAIRS", 20)
    few = shown(numbers.TABLE, loaded)
    assert f"{len(loaded.pairs[loaded.pairs.primary]) - 20} more rows, at" in few
    assert few.count("<tr") < every.count("<tr")
    assert "12 of 15 lengths" in printed_run.closing(loaded, tmp_path / "report.html", None).replace("\n", " ")


def test_evenly_keeps_the_ends() -> None:
    assert subsample_evenly(range(5), 12) == [0, 1, 2, 3, 4]
    shown = subsample_evenly(range(2000), loading.MOST_LENGTHS)
    assert (len(shown), shown[0], shown[-1]) == (12, 0, 1999)


@pytest.mark.slow
def test_files_of_many_jobs_are_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run, side by side and spread: the same tables; no file lies loose."""
    made = planted_plan("draft", metrics=MEASURED, train=None, aa_control=True)
    stored(tmp_path / "flat", made)
    flat = tmp_path / "flat" / "run"
    assert json.loads((flat / "run.json").read_text())["layout"] == "together"
    assert not (flat / layout.MARK).exists()
    monkeypatch.setattr(layout, "MOST_TOGETHER", 3)
    stored(tmp_path / "spread", made)
    spread = tmp_path / "spread" / "run"
    body = json.loads((spread / "run.json").read_text())
    assert body["layout"] == "spread"
    assert all(grid_point.is_dir() for grid_point in (spread / "jobs").iterdir())
    assert len(list((spread / "jobs").glob("*/*.json"))) == len(made.jobs)
    for name in ("cases.csv", "comparisons.csv"):
        assert (spread / name).read_bytes() == (flat / name).read_bytes()
    read = run_folder.read(str(spread))
    assert read.plan == made
    assert not read.missing
    # Processes share their comparison: 24,000 jobs would not fit into memory otherwise.
    assert len({id(job.comparison) for job in read.plan.jobs}) < len(made.jobs)
    assert planned_job(spread, made.jobs[-1].name) == made.jobs[-1]
    here = Workspace(spread, made.jobs[0].name)
    here.keep({"routing": {"a": 1}})
    assert artifact(spread, made.jobs[0].name) == {"routing": {"a": 1}}
    assert here.checkpoint.parent.parent == spread / "checkpoints"
    assert here.record_of(made.jobs[0].name) == RunFolder(spread).record(made.jobs[0])


@pytest.mark.slow
def test_a_layout_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MOST_TOGETHER", 3)
    planted_run(tmp_path, planted_plan("draft", metrics=MEASURED, train=None))
    run = tmp_path / "run"
    (run / layout.MARK).unlink()
    with pytest.raises(UsageError, match=r"layout\.json"):
        run_folder.read(str(run))
