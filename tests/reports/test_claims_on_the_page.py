"""The page claims nothing twice, and nothing without a verdict: no colour, no large number in ink."""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from resealed import reseal_with

from modbench.planted_runs import planted_plan, planted_run
from modbench.reports import demo
from modbench.reports.figures.style import bin_of
from modbench.reports.html_report import render
from modbench.reports.markup import html as writers_html
from modbench.reports.markup.number_format import plain
from modbench.reports.questions.machine_check import machine_check, warnings
from modbench.reports.tables.load import Loaded, load

METRICS = ["flops/forward", "latency/forward", "memory/peak_allocated"]
VARIANTS = [{"model": "dense"}, {"model": "mod", "capacity": [0.125, 0.5]}]
STATUS: dict[str, dict[str, Any]] = {
    "fit": {},
    "inconclusive A/A control": {"certificate": None, "suite": {"aa_control": True}},
    "unchecked": {"certificate": None},
    "unequal A/A controls": {"suite": {"aa_control": True}, "slower": {"dense-aa": 1.08}},
    "smoke": {"certificate": None, "suite": {"effort": "smoke"}},
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Loaded, str]]:
    """Make each run and its page once."""

    @functools.cache
    def made(name: str) -> tuple[Loaded, str]:
        loaded = run(tmp_path_factory.mktemp("run"), name)
        if name in {"inconclusive A/A control", "unequal A/A controls"}:  # of which only words are looked at
            with mock.patch.object(writers_html, "to_svg", return_value="<svg></svg>"):
                return loaded, body(loaded)
        return loaded, body(loaded)

    return made


Shown = Callable[[str], tuple[Loaded, str]]


def run(folder: Path, name: str) -> Loaded:
    how = dict(STATUS[name])
    suite = {"metrics": METRICS, "variants": VARIANTS, "processes": 3, "rounds": 2, "train": None} | how.pop(
        "suite", {}
    )
    made = load(planted_run(folder, planted_plan(str(suite.pop("effort", "draft")), **suite), **how))
    if name == "inconclusive A/A control":  # equal at one length alone
        made.pairs.loc[made.pairs.index[made.pairs.aa_control][0], "verdict"] = "inconclusive"
    return made


def body(loaded: Loaded) -> str:
    """The page as it is read: without styles, scripts, and what explains how to read it."""
    page = render.html(loaded).partition("<body>")[2]
    return html.unescape(
        re.sub(r'<script.*?</script>|<details class="reading">.*?</details>', "", page, flags=re.DOTALL)
    )


@pytest.mark.parametrize("name", STATUS)
def test_what_is_known_of_the_machine_is_said_once(name: str, shown: Shown) -> None:
    loaded, page = shown(name)
    text = re.sub(r"<details.*?</details>", "", page, flags=re.DOTALL)  # what a reader sees first
    top = [each for each in map(plain, warnings(loaded)) if "A/A control differs" in each or "no verdicts" in each]
    assert len(top) == (name in {"unchecked", "unequal A/A controls"})
    if top:  # it stands there instead
        assert text.count(top[0]) == 1
    else:
        assert (machine_check(loaded)[0] == "inconclusive") is (name == "inconclusive A/A control")
        assert plain(machine_check(loaded)[1]) in text


@pytest.mark.usefixtures("undrawn")
def test_a_gpu_is_named_only_where_one_was_asked_for(shown: Shown, tmp_path: Path) -> None:
    assert "GPU" not in shown("fit")[1].partition("</header>")[0]
    loaded = run(tmp_path, "fit")
    object.__setattr__(loaded.run.plan, "device", "cuda")
    assert "GPU: " in body(loaded).partition("</header>")[0]


def colours(page: str) -> set[str]:
    return set(re.findall(r"var\((--map-\d)\)", page))


@pytest.mark.parametrize("name", ["unchecked", "smoke"])
def test_without_a_verdict_there_is_no_colour_of_one(name: str, shown: Shown) -> None:
    _, page = shown(name)
    assert colours(page) == {"--map-4"}
    timed = re.findall(r'<div class="tile( open)?">\s*<h3>(Forward pass|Forward FLOPs)', page)
    assert {title: state for state, title in timed} == {"Forward pass": " open", "Forward FLOPs": ""}


def test_with_one_there_is(shown: Shown) -> None:
    _, page = shown("fit")
    assert colours(page) > {"--map-4"}
    assert 'class="tile open"' not in page


@pytest.mark.parametrize(
    ("verdict", "shade"),
    [("better", 7), ("better_open", 7), ("worse_open", 7), ("equivalent", 4), ("inconclusive", 4), (None, 4)],
)
def test_a_colour_shows_a_direction(verdict: str | None, shade: int) -> None:
    assert bin_of(1.6, verdict) == shade


@pytest.mark.proof  # of a planted smoke run see above
def test_no_section_of_a_smoke_run_has_the_colour_of_a_verdict(tmp_path: Path) -> None:
    """All sections of `quick`: the run that ships, as if its effort had been smoke: its verdicts lose their colours."""
    demo.unpack(tmp_path, demo.SHIPPED["quick"])
    reseal_with(tmp_path / "run.json", lambda body: body["plan"]["suite"].update(effort="smoke"))
    assert colours(body(load(tmp_path))) == {"--map-4"}


@pytest.mark.usefixtures("undrawn")
def test_the_first_screen_has_no_line_for_what_is_not_known(tmp_path: Path) -> None:
    suite = planted_plan("draft", metrics=["flops/forward"], variants=VARIANTS, train=None)
    page = body(load(planted_run(tmp_path, suite))).partition("Summary")[2].partition("</section>")[0]
    assert re.findall(r"<p[^>]*>(?:\w+: )?–?</p>", page) == []
    assert "Sure" not in page
