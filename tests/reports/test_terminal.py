"""The text that a run ends with: what the docs show, the answer while a run goes on, what is marked, and colours."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from present import of_type, present
from resealed import reseal_with

from modbench.harness.core.labels import LOOKED_AHEAD
from modbench.harness.results import run_folder
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports import demo
from modbench.reports.blocks import Finding
from modbench.reports.sections import break_even as break_even_section
from modbench.reports.tables.cases import looked_ahead
from modbench.reports.tables.load import Loaded, load
from modbench.reports.terminal import answer_so_far, printed_run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
METRICS = ["latency/forward", "flops/forward", "memory/peak_allocated", "bpb/val", "loss/val", "loss/val_causal"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    made = planted_plan("draft", metrics=METRICS, grid={"seq_len": [64, 128, 256]}, processes=3)
    return load(planted_run(tmp_path_factory.mktemp("terminal"), made))


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """The run that is shipped, which says nothing of that."""
    folder = tmp_path_factory.mktemp("quick")
    demo.unpack(folder, demo.SHIPPED["quick"])
    reseal_with(folder / "run.json", lambda body: body["environment"].pop("shipped"))
    return load(folder)


def closing(loaded: Loaded, *, verbose: bool = False) -> str:
    return printed_run.closing(loaded, Path("report.html"), 61.0, verbose=verbose)


# --- as it is printed


@pytest.mark.parametrize("page", ["README.md", "docs/reading-a-report.md"])
def test_the_documentation_shows_the_run_that_ships(page: str, quick: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs, of two machines or days, can give opposite answers: what `modbench demo quick` shows stands everywhere."""
    monkeypatch.setenv("COLUMNS", "80")
    blocks = re.findall(r"```text\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    (block,) = (each for each in blocks if "forward pass, ms" in each)
    shown = [line for line in block.splitlines() if line and not line.startswith(("[…", "quick on ", "report "))]
    assert [line for line in shown if line not in closing(quick).splitlines()] == []


# --- while a run goes on


def test_a_verdict_while_the_run_goes_on_is_that_of_the_report(tmp_path: Path) -> None:
    """Whatever is measured later."""
    suite = planted_plan("draft", metrics=METRICS, grid={"seq_len": [64, 128]}, processes=3, aa_control=True)
    loaded = load(planted_run(tmp_path, suite))
    columns = ["case_id", "ratio", "ci_low", "ci_high", "theoretical", "verdict", "p_adjusted", "labels", "reason"]
    jobs = loaded.run.plan.jobs
    for series in dict.fromkeys(job.series for job in jobs if job.facts.timed and job.series):
        processes = [job for job in jobs if job.series == series]
        run, length = tmp_path / series, processes[0].comparison.grid_point.seq_len
        shutil.copytree(loaded.path, run)
        for job in jobs:
            if job.series != series and job.made_in != "count":
                (run / "jobs" / f"{job.name}.json").unlink()
        part = present(answer_so_far.part_of(run_folder.read(str(run)), processes))
        final = loaded.comparisons[loaded.comparisons.metric == "latency/forward"]
        made, final = (
            rows[columns].fillna("").reset_index(drop=True)
            for rows in (part.comparisons, final[final.seq_len == length])
        )
        pd.testing.assert_frame_equal(made, final, check_dtype=False)
        (line, *_) = answer_so_far.answer(run, processes)
        assert line.startswith(f"forward pass at T = {length:,}: MoD 0.125 is faster than ")


# --- what is marked


def changed(loaded: Loaded, cases: pd.DataFrame | None = None, pairs: pd.DataFrame | None = None) -> Loaded:
    """The run with other tables."""
    return dataclasses.replace(
        loaded, cases=loaded.cases if cases is None else cases, pairs=loaded.pairs if pairs is None else pairs
    )


@pytest.mark.parametrize(
    ("pair", "marked"),
    [
        ({}, True),
        ({"ci_low": 0.9}, False),  # 1 / 1.1 lies within the interval: nothing is contradicted
        ({"ci_low": math.nan}, True),
        ({"ci_low": math.nan, "ci_high": math.nan, "ratio": 0.92}, False),
    ],
)
def test_a_ratio_that_its_two_times_contradict_is_marked(loaded: Loaded, pair: dict[str, float], marked: bool) -> None:
    """Planted: MoD 0.125 is 1.6× as fast. As if its time were of other processes, in which dense was not timed."""
    assert "~" not in closing(loaded)
    at, of_pair = (
        (rows.metric == "latency/forward") & (rows.seq_len == 256) & (rows.variant == "mod[c0.125]")
        for rows in (loaded.cases, loaded.pairs)
    )
    cases, pairs = loaded.cases.copy(), loaded.pairs.copy()
    cases.loc[at, "value"] = 1.1 * present(loaded.value("dense", "latency/forward", 256))
    pairs.loc[of_pair, [*pair]] = [*pair.values()]
    text = closing(changed(loaded, cases, pairs))
    assert ("~ not the quotient of the two times" in " ".join(text.split())) is marked
    assert len(re.findall(r" ~\d\.\d\d×", text)) == marked


@pytest.mark.parametrize(("known", "metric"), [(True, "loss/val_causal"), (False, "bpb/val")])
def test_a_loss_that_is_not_known_causally_is_that_of_training_and_marked(
    known: bool, metric: str, quick: Loaded
) -> None:
    pairs: Any = quick.pairs.copy()
    if not known:
        causal = (pairs.metric == "loss/val_causal") & (pairs.variant == "moe")
        pairs.loc[causal, ["status", "difference"]] = ["skipped", math.nan]
    table = present(break_even_section.table(changed(quick, pairs=pairs)))
    cell = of_type(Finding, table.rows[-1][list(table.head).index("loss")])
    row = pairs[(pairs.metric == metric) & (pairs.variant == "moe") & pairs.primary].iloc[0]
    assert cell.typical.value == pytest.approx(row.difference / (math.log(2) if known else 1))
    assert bool(LOOKED_AHEAD.intersection((*cell.labels, *cell.against_labels))) is looked_ahead(row) is not known
