"""`modbench figure`: a figure of the page alone, as wide as a paper wants it, in real colours, with its data."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from in_process import succeeded
from markupsafe import Markup
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.text import Text
from sections_of import drawn, shown

from modbench.extend import planted_plan, planted_run
from modbench.harness.registry import catalogue
from modbench.plugins.paper import canvas as paper
from modbench.reports.blocks import Figure
from modbench.reports.figures import point_labels, style
from modbench.reports.figures.axes import ratio_axis
from modbench.reports.html_report import render
from modbench.reports.markup import html
from modbench.reports.section import sections
from modbench.reports.tables.load import Loaded, load
from modbench.reports.wording import short

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


def test_colours_are_those_of_the_light_theme_and_fonts_lie_in_the_file(loaded: Loaded) -> None:
    light = paper.light_colors()
    assert set(style.VARIABLES.values()) <= set(light)
    with paper.canvas("text"):
        drawing = render.figure_named(loaded, "map")
        svg, pdf = paper.saved(drawing, "svg").decode(), paper.saved(drawing, "pdf")
    colours = set(re.findall(r"#[0-9a-f]{6}", svg))
    assert not colours & set(style.VARIABLES)
    assert colours & {light[f"--map-{i}"] for i in range(9)}
    assert {"#ffffff", light["--muted"]} <= colours
    assert not re.search(r"var\(--|<text", svg)  # letters are outlines
    assert (b"/FontFile2" in pdf, b"/Type3" in pdf) == (True, False)
    assert not re.search(rb"CreationDate|Creator|Producer", pdf)


# --- what is narrow


def test_a_narrow_figure_names_its_variants_breaks_long_labels_and_leaves_ticks_out(loaded: Loaded) -> None:
    """Variants that the page names above a figure are named in it; one legend, however many formats."""
    with paper.canvas("column"):
        drawing = alone(loaded, "theoretical")
        height, axis = drawing.figure.get_figheight(), drawing.figure.axes[0]
        axis.set_xlabel("a label that nobody could fit into the width of a column of a paper, whatever they tried")
        low, high = axis.get_xlim()
        at = [low * (high / low) ** (i / 40) for i in range(41)]
        axis.set_xticks(at, [f"{value:.3f}" for value in at])
        for kind in ("svg", "pdf"):
            paper.saved(drawing, kind)
        drawing.figure.draw_without_rendering()
        box = axis.xaxis.label.get_window_extent()
        ticks = [label.get_window_extent() for label in axis.get_xticklabels() if label.get_visible()]
    assert axis.get_xlabel().count("\n") in {1, 2}
    assert 0 <= box.x0 < box.x1 <= drawing.figure.bbox.x1
    assert 2 <= len(ticks) < 20
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(sorted(ticks, key=lambda each: float(each.x0))))
    (legend,) = drawing.figure.legends
    assert [text.get_text().strip() for text in legend.get_texts()] == [short(case) for case in loaded.variants_shown]
    assert drawing.figure.get_figheight() > height


def test_a_figure_that_a_column_squeezes_is_said_so(
    loaded: Loaded, modbench: Modbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["modbench.plugins.paper.command"], "NARROW", 3.3)
    for more, width, said in (
        ((), "text", "as wide as the text"),
        (("--width", "column"), "column", "--width text shows more"),
    ):
        done = succeeded(modbench("figure", loaded.path, "memory", "-o", tmp_path / "x.svg", "--json", *more))
        assert (json.loads(done.stdout)["width"], said in done.stderr) == (width, True)


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


def test_a_label_without_a_free_place_is_in_the_key(titled: Loaded) -> None:
    figure, (axis,) = style.new_figure(2.0, 2.0)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    marks = [(0.5, 0.5, "a label"), (0.2, 0.2, "a label that is wider than all of the axes together"), (0.9, 0.9, "b")]
    assert point_labels.label(axis, marks) == [1]
    assert {text.get_text() for text in axis.texts} == {"a label", "b"}
    assert figure.axes == [axis]
    with paper.canvas("column"), style.numbered(titled.variants):
        keyed = replace(render.figure_named(titled, "map"), key=titled.variants)
        paper.saved(keyed, "svg")
        (legend,) = keyed.figure.legends
        lines = [mark for mark in legend.legend_handles if isinstance(mark, Line2D)]
        looks = [style.look(case) for case in titled.variants]
    assert [(mark.get_marker(), mark.get_color()) for mark in lines] == [(look.marker, look.color) for look in looks]


@pytest.mark.parametrize("high", [1.03, 1.1, 1.3, 1.5, 2.0, 3.1, 4.0, 9.0, 70.0, 900.0])
@pytest.mark.parametrize("low", [0.97, 0.85, 0.6, 0.3, 0.05])
def test_an_axis_of_ratios_has_three_ticks(low: float, high: float) -> None:
    _, (axis,) = style.new_figure(3, 2)
    ratio_axis(axis, "x", (low, high))
    assert 3 <= len(axis.get_xticks()) <= 9


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
        ("combine", "unknown figure 'combine'"),
        ("map --format gif", "unknown format of figures 'gif'"),
        ("map --format ,", "--format needs at least one of pdf, svg, png"),
        ("map --width page", "unknown width 'page'"),
        ("map --format svg -o x.pdf", "'x.pdf' ends in .pdf, which --format svg does not name"),
        ("map --out=", "--out '' names no file"),
        ("-o x.pdf", "--out needs the NAME"),
        ("--width text", "--width needs the NAME"),
        # The data beside a figure are a CSV, as the tables of a run are.
        ("map -o RUN/cases.svg", "in a run folder"),
        ("map -o RUN/.", "in a run folder"),
    ],
)
def test_mistakes_are_said_and_nothing_is_written(
    loaded: Loaded, modbench: Modbench, words: str, said: str, tmp_path: Path
) -> None:
    done = modbench("figure", loaded.path, *words.replace("RUN", str(loaded.path)).split(), cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert list(tmp_path.iterdir()) == []
    assert not (loaded.path / "cases.svg").exists()
