"""`modbench figure`: a figure of the page alone, as wide as a paper wants it, with its data."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from in_process import succeeded
from markupsafe import Markup
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text
from sections_of import drawn, shown

from modbench.extend import planted_plan, planted_run
from modbench.harness.registry import catalogue
from modbench.plugins.paper import canvas as paper
from modbench.reports.blocks import Figure
from modbench.reports.figures import style
from modbench.reports.html_report import render
from modbench.reports.markup import html
from modbench.reports.section import sections
from modbench.reports.tables.load import Loaded, load

pytestmark = pytest.mark.slow

Modbench = Callable[..., subprocess.CompletedProcess[str]]
METRICS = ["flops/forward", "latency/forward", "latency/train_step", "memory/peak_allocated", "loss/val", "bpb/val"]


def run(folder: Path, **suite: Any) -> Path:
    return planted_run(folder, planted_plan("draft", **{"metrics": METRICS, "processes": 3, "rounds": 2} | suite))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(run(tmp_path_factory.mktemp("figures")))


def alone(loaded: Loaded, name: str) -> Figure:
    """The only figure of a section, as the page draws it; `render.figure_named` draws those above it too."""
    with style.numbered(loaded.variants):
        (made,) = drawn(catalogue.load("sections", name), loaded)
    return made


# --- which


@pytest.mark.usefixtures("undrawn")
def test_the_page_shows_the_figures_that_can_be_had_alone(loaded: Loaded, modbench: Modbench) -> None:
    """Which are those that the command lists, in the order of the page."""
    names = []
    for name, section in sections():
        made = section.render(loaded) or ()
        blocks = [] if isinstance(made, Markup) else [*made]
        drawings = [each for each in blocks if isinstance(each, Figure)]
        assert str(html.written(blocks) or made).count("<figure") == len(drawings), name
        assert section.draws or not drawings, name
        names += [drawing.name for drawing in drawings]
    assert {"map", "theoretical", "memory"} <= set(names)
    assert len(set(names)) == len(names)
    assert [line.split()[0] for line in modbench("figure", loaded.path).stdout.splitlines()] == names


@pytest.mark.plugin("sweeps")
def test_nothing_is_drawn_of_what_was_not_measured(tmp_path: Path) -> None:
    """FLOPs alone: no time, no memory, no loss."""
    counted = load(run(tmp_path, metrics=["flops/forward"], train=None))
    assert [name for name, section in sections() if drawn(section, counted)] == []
    assert not any(shown(catalogue.load("sections", name), counted) for name in ("memory", "theoretical", "exchange"))


# --- the file


@pytest.mark.parametrize(("width", "inches", "rows"), [("text", 6.9, 1), ("column", 3.3, 2)])  # its axes wrap
def test_a_figure_is_as_wide_as_the_paper_wants(width: str, inches: float, rows: int, loaded: Loaded) -> None:
    page = html.figure(render.figure_named(loaded, "map"))
    with paper.canvas(width):
        drawing = render.figure_named(loaded, "map")
        (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", paper.saved(drawing, "pdf"))
    assert float(box) == pytest.approx(72 * inches, abs=0.01)
    assert len({round(axis.get_position().y1, 2) for axis in drawing.figure.axes}) == rows
    assert max(text.get_fontsize() for axis in drawing.figure.axes for text in axis.texts) == 8.0
    assert html.figure(render.figure_named(loaded, "map")) == page  # which is as before


def test_a_figure_has_the_same_bytes_in_any_process(loaded: Loaded, tmp_path: Path) -> None:
    """What is written depends neither on the date nor on the order of sets."""
    with paper.canvas("column"):
        drawing = alone(loaded, "memory")
        made = {kind: paper.saved(drawing, kind) for kind in paper.FORMATS}
    assert struct.unpack(">I", made["png"][16:20])[0] == round(3.3 * paper.DPI)
    figure = ("figure", str(loaded.path), "memory", "--width", "column", "--format", ",".join(paper.FORMATS))
    environment = os.environ | {"PYTHONHASHSEED": "1", "SOURCE_DATE_EPOCH": "100000000"}
    command = [sys.executable, "-m", "modbench", *figure, "-o", str(tmp_path / "other")]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    assert {kind: (tmp_path / f"other.{kind}").read_bytes() for kind in paper.FORMATS} == made


# --- labels


SHARES = (0.125, 0.25, 0.375, 0.5, 0.75)
LONG = {f"mod[c{share}]": f"mymod:build capacity{share}" for share in SHARES}
LONG |= {"mod[c0.25]": "Our router with a fairly long name for a figure", "dense": "Baseline, as published"}


@pytest.fixture(scope="module")
def titled(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Variants with long names that lie near each other, in time, memory and loss."""
    matched = {"model": "dense", "match": {"variant": "mod", "capacity": 0.125}}
    variants = [{"model": "dense"}, matched, {"model": "mod", "capacity": list(SHARES)}]
    metrics = [each for each in METRICS if each != "latency/train_step"]
    return load(run(tmp_path_factory.mktemp("titled"), metrics=metrics, variants=variants), title=LONG)


@pytest.mark.parametrize("width", [None, "text"])
@pytest.mark.plugin("recommend")
def test_labels_are_never_printed_over_each_other(
    titled: Loaded, width: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each name is whole, beside its mark or row, or else in the key."""
    monkeypatch.setattr(Canvas, "savefig", lambda *_, **__: None)  # where labels lie is known before a file is written
    named, names = {"map", "memory", "pareto", "pareto-memory"}, set[str]()
    with paper.canvas(width) if width else contextlib.nullcontext(), style.numbered(titled.variants):
        for _, drawing in render.drawn(titled):
            names.add(drawing.name)
            if width:
                paper.saved(drawing, "svg")
            assert paper.printed_over(drawing) == [], drawing.name
            assert paper.cut_off(drawing) == [], drawing.name
            texts = "".join(re.sub(r"\s", "", text.get_text()) for text in drawing.figure.findobj(Text))
            lost = [variant for variant, title in LONG.items() if re.sub(r"\s", "", title) not in texts]
            in_key = {case.variant for case in drawing.key} | ({"dense"} if drawing.name == "map" else set())
            assert drawing.name not in named or {*lost} <= in_key, drawing.name
    assert {*named, "theoretical"} <= names


# --- the command


def test_the_command_writes_the_figure_and_its_data(loaded: Loaded, modbench: Modbench, tmp_path: Path) -> None:
    done = succeeded(modbench("figure", loaded.path, "map", "-o", tmp_path / "paper" / "speed.svg"))
    assert sorted(path.name for path in (tmp_path / "paper").iterdir()) == ["speed.csv", "speed.svg"]
    assert len(pd.read_csv(tmp_path / "paper" / "speed.csv")) == 16
    assert ("Purple is faster" in done.stdout, done.stderr) == (True, "")  # the caption, to be pasted; not squeezed
    asked = "speedup_map", "--baseline", "MoD 0.125", "--format", "pdf", "--json"
    succeeded(modbench("figure", loaded.path, *asked))
    assert (loaded.path / "figures" / "map.pdf").read_bytes().startswith(b"%PDF")
    assert set(pd.read_csv(loaded.path / "figures" / "map.csv").baseline_variant) == {"mod[c0.125]"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("mapp", "unknown figure 'mapp'. Did you mean 'map'? Known: "),
        ("map --format gif", "unknown format of figures 'gif'"),
        ("map --format svg -o x.pdf", "'x.pdf' ends in .pdf, which --format svg does not name"),
        # The data beside a figure are a CSV, as the tables of a run are.
        ("map -o RUN/cases.svg", "in a run folder"),
    ],
)
def test_mistakes_are_said_and_nothing_is_written(
    loaded: Loaded, modbench: Modbench, words: str, said: str, tmp_path: Path
) -> None:
    done = modbench("figure", loaded.path, *words.replace("RUN", str(loaded.path)).split(), cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert list(tmp_path.iterdir()) == []
    assert not (loaded.path / "cases.svg").exists()
