"""Doubts are one list: what a run's terminal output, page, Markdown and JSON say of them is the same."""

from __future__ import annotations

import html
import re

import pytest

from modbench.planted_runs import EVERY_VARIANT, planted_plan, planted_run
from modbench.reports.formats import json, md
from modbench.reports.html_report import render
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import found_warnings, machine_check, summary
from modbench.reports.tables.load import Loaded, load
from modbench.reports.terminal import printed_run


@pytest.fixture(scope="module")
def restless(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A run in which the machine disturbed a third of all blocks: no time is noisy for it, and no label says so."""
    made = planted_plan("draft", metrics=["latency/forward", "loss/val"], processes=4, rounds=6, seeds=[0])
    return load(planted_run(tmp_path_factory.mktemp("restless"), made, waits=EVERY_VARIANT, waits_every=3))


def words(said: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html.unescape(said)).split())


@pytest.mark.usefixtures("undrawn")
def test_blocks_that_were_noisy_are_said_wherever_doubts_are(restless: Loaded) -> None:
    said = "of its blocks were noisy (preempted: "
    found = next(each for each in found_warnings.doubts(restless) if said in each.findings[0][0])
    assert (found.label, found.timed) == ("", True)
    assert "noisy" not in " ".join(map(plain, machine_check.warnings(restless)))
    assert f"{found.cells} values noisy" in map(plain, summary.doubts(restless))
    outputs = {
        "page": render.html(restless),
        "Markdown": md.markdown(restless),
        "JSON": str(json.report(restless).doubts),
    }
    assert [name for name, output in outputs.items() if said not in words(output)] == []


@pytest.mark.usefixtures("undrawn")
def test_each_output_has_the_whole_list(restless: Loaded) -> None:
    every = [*map(plain, summary.doubts(restless))]
    assert every
    outputs = {
        "terminal": printed_run.closing(restless, "page", None, verbose=True),
        "page": render.html(restless),
        "Markdown": md.markdown(restless).replace("\\", ""),
    }
    for name, output in outputs.items():
        assert [said for said in every if said not in words(output)] == [], name
    assert list(json.report(restless).cautions) == every
