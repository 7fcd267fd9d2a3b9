"""Doubts are one list, the same in the terminal, on the page, in Markdown and in JSON; failures name their logs."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest

from modbench.planted_runs import EVERY_VARIANT, planted_plan, planted_run
from modbench.reports.formats import json as report_json
from modbench.reports.formats import md
from modbench.reports.html_report import render
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import found_warnings, summary
from modbench.reports.sections.failures_and_warnings import failures
from modbench.reports.tables import job_files
from modbench.reports.tables.load import load
from modbench.reports.terminal import printed_run


def words(said: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html.unescape(said)).split())


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_each_output_has_the_whole_list(tmp_path: Path) -> None:
    """The machine disturbed a third of all blocks: no time is noisy for it, and no label says so."""
    made = planted_plan("draft", metrics=["latency/forward", "loss/val"], processes=4, rounds=6, seeds=[0])
    loaded = load(planted_run(tmp_path, made, waits=EVERY_VARIANT, waits_every=3))
    noisy = "of its blocks were noisy (preempted: "
    (found,) = (each for each in found_warnings.doubts(loaded) if noisy in each.findings[0][0])
    assert (found.label, found.timed) == ("", True)
    every = [*map(plain, summary.doubts(loaded))]
    assert f"{found.cells} values noisy" in every
    whole = {"page": render.html(loaded), "Markdown": md.markdown(loaded).replace("\\", "")}
    answers = whole | {"terminal": printed_run.closing(loaded, "page", None, verbose=True)}
    for name, text in answers.items():
        assert [said for said in every if said not in words(text)] == [], name
    assert all(noisy in words(text) for text in (*whole.values(), str(report_json.report(loaded).doubts)))
    assert list(report_json.report(loaded).cautions) == every


@pytest.mark.parametrize("ending", job_files.ENDINGS)
def test_a_failure_names_its_log(tmp_path: Path, ending: str) -> None:
    """A run of one job, in which MoD failed."""
    variants, grid = [{"model": "dense"}, {"model": "mod", "capacity": 0.125}], {"seq_len": [64]}
    suite: dict[str, Any] = {"variants": variants, "grid": grid, "train": None, "processes": 1, "rounds": 1}
    run = planted_run(tmp_path, planted_plan("smoke", metrics=["latency/forward"], **suite), fails="mod[c0.125]")
    (file,) = (run / "jobs").glob("time-*.json")
    job = file.stem
    (run / "logs").mkdir(exist_ok=True)
    (run / "logs" / f"{job}{ending}").write_text("Traceback")
    loaded = load(run)
    closing = printed_run.closing(loaded, run / "report.html", None)
    assert "planted failure" in closing
    assert any(f"{run}/logs/{job}{ending}" in line for line in closing.splitlines())  # whole, so that it can be copied
    (found,) = failures(loaded)
    assert (found.metrics, found.reason.endswith(f"see logs/{job}{ending}")) == (("latency/forward",), True)
