"""Reports and plans of many cases: pairs that are left out, pages that stay small, files are spread over folders."""

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
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.html_report import render
from modbench.reports.sections import numbers
from modbench.reports.tables import comparisons
from modbench.reports.tables import load as loading
from modbench.reports.tables.load import load, subsample_evenly
from modbench.reports.terminal import printed_run

pytestmark = pytest.mark.slow

MEASURED = ["flops/forward", "latency/forward", "memory/peak_allocated"]


def grown(lengths: int, capacities: int) -> Plan:
    """Dense, and MoD at so many capacities."""
    mod = {"model": "mod", "capacity": [(i + 1) / (capacities + 1) for i in range(capacities)]}
    suite: dict[str, Any] = {
        "variants": [{"model": "dense"}, mod],
        "grid": {"seq_len": [*range(64, 64 + 8 * lengths, 8)]},
    }
    return planted_plan("draft", metrics=MEASURED, train=None, processes=3, rounds=3, **suite)


@pytest.fixture(autouse=True)
def _known_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    """MoD at any capacity takes as long as the baseline."""
    variants = {f"mod[c{(i + 1) / n:g}]": 1.0 for n in range(2, 21) for i in range(n - 1)}
    monkeypatch.setattr(planted_runs, "PLANTED", variants | planted_runs.PLANTED)


def test_all_pairs_where_they_are_few_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = planted_run(tmp_path, grown(2, 4))
    every = load(run).pairs
    monkeypatch.setattr(comparisons, "MOST_PAIRS", 10)
    few = load(run).pairs
    assert (len(every), len(few)) == (2 * 10 * len(MEASURED), 2 * 4 * len(MEASURED))
    # What the answer is made from does not depend on the other pairs.
    assert few.to_csv() == every[every.primary].to_csv()
    assert load(run, all_pairs=True).pairs.to_csv() == every.to_csv()
    # Against another baseline the pairs with the suite's stay.
    other = load(run, "mod[c0.4]").pairs
    rest = other[~other.primary]
    assert set(rest.baseline_variant) == {"dense"}
    assert set(rest.variant) == {"mod[c0.2]", "mod[c0.6]", "mod[c0.8]"}


def test_a_matched_baseline_stays_paired_with_the_variant_that_it_was_solved_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparisons, "MOST_PAIRS", 0)
    pairs = load(planted_run(tmp_path, planted_plan("draft", metrics=MEASURED, train=None))).pairs
    others = pairs[~pairs.primary & ~pairs.aa_control]
    assert set(zip(others.variant, others.baseline_variant, strict=True)) == {("mod[c0.125]", "dense-f0.58")}


@pytest.mark.usefixtures("undrawn")
def test_a_page_of_many_cases_shows_some_and_says_how_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(planted_run(tmp_path, grown(15, 3)))
    page, every = render.html(loaded), shown(numbers.TABLE, loaded)
    assert ("show 12 of 15 lengths" in page, page.count('<div class="tiles"')) == (True, 3 * 12)
    monkeypatch.setattr(numbers, "MOST_PAIRS", 20)
    few, left = shown(numbers.TABLE, loaded), f"{len(loaded.pairs[loaded.pairs.primary]) - 20} more rows, at"
    assert (left in few, "more rows, at" in every, few.count("<tr") < every.count("<tr")) == (True, False, True)
    assert "12 of 15 lengths" in printed_run.closing(loaded, tmp_path / "report.html", None).replace("\n", " ")
    assert subsample_evenly(range(5), 12) == [0, 1, 2, 3, 4]
    some = subsample_evenly(range(2000), loading.MOST_LENGTHS)
    assert (len(some), some[0], some[-1]) == (12, 0, 1999)


def test_files_of_many_jobs_are_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run, side by side and spread: the same tables; no file lies loose."""
    made = planted_plan("draft", metrics=MEASURED, train=None, aa_control=True)
    for name, most in (("together", layout.MOST_TOGETHER), ("spread", 3)):
        monkeypatch.setattr(layout, "MOST_TOGETHER", most)
        stored(tmp_path / name, made)
        body = json.loads((tmp_path / name / "run" / "run.json").read_text())
        assert (body["layout"], (tmp_path / name / "run" / layout.MARK).exists()) == (name, name == "spread")
    flat, spread = tmp_path / "together" / "run", tmp_path / "spread" / "run"
    assert all(grid_point.is_dir() for grid_point in (spread / "jobs").iterdir())
    assert len(list((spread / "jobs").glob("*/*.json"))) == len(made.jobs)
    for name in ("cases.csv", "comparisons.csv"):
        assert (spread / name).read_bytes() == (flat / name).read_bytes()
    read = run_folder.read(str(spread))
    assert (read.plan, [*read.missing]) == (made, [])
    # Processes share their comparison: 24,000 jobs would not fit into memory otherwise.
    assert len({id(job.comparison) for job in read.plan.jobs}) < len(made.jobs)
    assert planned_job(spread, made.jobs[-1].name) == made.jobs[-1]
    here = Workspace(spread, made.jobs[0].name)
    here.keep({"routing": {"a": 1}})
    assert artifact(spread, made.jobs[0].name) == {"routing": {"a": 1}}
    assert here.checkpoint.parent.parent == spread / "checkpoints"
    assert here.record_of(made.jobs[0].name) == RunFolder(spread).record(made.jobs[0])
    (spread / layout.MARK).unlink()  # a layout that does not fit is refused
    with pytest.raises(UsageError, match=r"layout\.json"):
        run_folder.read(str(spread))
