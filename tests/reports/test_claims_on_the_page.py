"""The page claims nothing twice, and nothing without a verdict or a number: no colour, no tile."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest

from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.figures.style import bin_of
from modbench.reports.html_report import render
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.machine_check import machine_check, warnings
from modbench.reports.sections import tiles
from modbench.reports.tables.load import Loaded, load

VARIANTS = [{"model": "dense"}, {"model": "mod", "capacity": [0.125, 0.5]}]
SUITE: dict[str, Any] = {
    "metrics": ["flops/forward", "latency/forward", "memory/peak_allocated"],
    "variants": VARIANTS,
    "processes": 3,
    "rounds": 2,
    "train": None,
}
CONTROLLED = SUITE | {"aa_control": True}


def run(folder: Path, effort: str = "draft", suite: dict[str, Any] | None = None, **how: Any) -> Loaded:
    return load(planted_run(folder, planted_plan(effort, **suite or SUITE), **how))


def read(loaded: Loaded) -> str:
    """The page as it is read: without styles, scripts, and what explains how to read it."""
    page = render.html(loaded).partition("<body>")[2]
    unread = r'<script.*?</script>|<details class="reading">.*?</details>'
    return html.unescape(re.sub(unread, "", page, flags=re.DOTALL))


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("how", "warned", "word"),
    [
        ({}, "", "fit"),
        ({"certificate": None}, "no verdicts", ""),
        ({"certificate": None, "effort": "smoke"}, "", ""),
        ({"suite": CONTROLLED, "slower": {"dense-aa": 1.08}}, "A/A control differs", ""),
        ({"suite": CONTROLLED, "certificate": None, "equal at one length alone": True}, "", "inconclusive"),
    ],
    ids=["fit", "unchecked", "smoke", "unequal A/A controls", "inconclusive A/A control"],
)
def test_what_is_known_of_the_machine_is_said_once(how: dict[str, Any], warned: str, word: str, tmp_path: Path) -> None:
    undecided = how.pop("equal at one length alone", False)
    loaded = run(tmp_path, **how)
    if undecided:
        loaded.pairs.loc[loaded.pairs.index[loaded.pairs.aa_control][0], "verdict"] = "inconclusive"
    text = re.sub(r"<details.*?</details>", "", read(loaded), flags=re.DOTALL)  # what a reader sees first
    top = [each for each in map(plain, warnings(loaded)) if "A/A control differs" in each or "no verdicts" in each]
    assert [warned in each for each in top] == [True] * bool(warned)
    assert [text.count(each) for each in top] == [1] * bool(warned)
    assert warned or plain(machine_check(loaded)[1]) in text
    assert not word or machine_check(loaded)[0] == word


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "claims"),
    [({}, True), ({"certificate": None}, False), ({"certificate": None, "effort": "smoke"}, False)],
    ids=["fit", "unchecked", "smoke"],
)
def test_without_a_verdict_there_is_no_colour_of_one(how: dict[str, Any], claims: bool, tmp_path: Path) -> None:
    page = read(run(tmp_path, **how))
    colours = set(re.findall(r"var\((--map-\d)\)", page))
    assert "--map-4" in colours
    assert (len(colours) > 1) is claims
    timed = dict(re.findall(r'<div class="tile( open)?">\s*<h3>(Forward pass|Forward FLOPs)', page))
    assert timed == ({"": "Forward FLOPs"} if claims else {" open": "Forward pass", "": "Forward FLOPs"})


@pytest.mark.parametrize(
    ("verdict", "shade"),
    [("better", 7), ("better_open", 7), ("worse_open", 7), ("equivalent", 4), ("inconclusive", 4), (None, 4)],
)
def test_a_colour_shows_a_direction(verdict: str | None, shade: int) -> None:
    assert bin_of(1.6, verdict) == shade


def test_a_matched_baseline_that_failed_is_no_choice(tmp_path: Path) -> None:
    matched = [VARIANTS[0], {"model": "dense", "match": {"variant": "mod", "capacity": 0.125}}, VARIANTS[1]]
    page = str(
        tiles.render(
            run(tmp_path, suite=SUITE | {"variants": matched, "metrics": ["latency/forward"]}, fails="dense-f0.58")
        )
    )
    assert '<div class="set" data-variant="mod[c0.125]"' in page
    assert not re.search('data-at=|data-group="against"', page)
