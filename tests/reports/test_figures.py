"""Figures as inline SVG: any name can be drawn, marks say what they stand for, names do not overlap, text has contrast."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from planted_peaks import planted

from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import CountNotes
from modbench.harness.machine.roofline.work import Listed, Work
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports import wording
from modbench.reports.figures import style
from modbench.reports.figures.point_labels import label
from modbench.reports.figures.style import INK, Mark, Marks, new_figure, to_svg
from modbench.reports.html_report import render
from modbench.reports.html_report.layout import THEME
from modbench.reports.markup.html import _key as key_of
from modbench.reports.tables.load import load
from modbench.reports.tables.values import Tables


def svg(text: str = "a", identity: str = "one", marks: Marks | None = None, draw: Any = None) -> str:
    figure, (axis,) = new_figure(2, 2)
    drawn: Any = axis
    drawn.set_title(text, color=INK)
    if draw is not None:
        draw(axis)
    return to_svg(figure, identity, text, *([] if marks is None else [marks]))


@pytest.mark.parametrize("text", ["cost $^{$", '<b>&"bold"</b>', "ünïcode ×"])
def test_any_name_can_be_drawn(text: str) -> None:
    """Dollar signs start no formula, and markup is escaped."""
    made = svg(text)
    assert "<b>" not in made
    assert text.partition("<")[0].partition("&")[0] in made


def test_figures_take_their_colours_from_the_page_and_share_no_ids() -> None:
    one, two = svg("a", "one"), svg("a", "two")
    assert ("var(--ink)" in one, INK in one, "<style" in one) == (True, False, False)
    assert ('id="one-' in one, "one-" in two) == (True, False)
    assert one == svg("a", "one")


def test_figures_do_not_depend_on_settings_that_lie_about() -> None:
    """matplotlib reads `matplotlibrc` in the current folder, which may be a stranger's; with LaTeX it would start a program."""
    import matplotlib as mpl

    whole = svg("a")
    with mpl.rc_context({"text.usetex": True, "axes.linewidth": 40.0, "axes.facecolor": "red"}):
        style.prepare.cache_clear()  # as in a process that has drawn nothing yet
        assert svg("a") == whole


# --- marks


def test_every_mark_has_its_text_and_a_figure_is_one_stop() -> None:
    """Markers of a line, members of a collection, and bars; in the order in which they were named."""
    marks, evil = Marks(), '"><script>&'

    def draw(axis: Any) -> None:
        (line,) = axis.plot([1, 2], [1, 2], "s")
        marks.name(line, Mark(evil, "mod[c0.125]"), Mark("second"))
        marks.name(axis.scatter([1, 2, 3], [3, 3, 3]), *(Mark(f"dot {i}") for i in range(3)))
        for i, bar in enumerate(axis.barh([5, 6], [1, 2])):
            marks.name(bar, Mark(f"bar {i}"))
        axis.plot([1, 2], [2, 1])  # says nothing

    made = svg(marks=marks, draw=draw)
    pattern = r'<(?:use|path) class="mark" data-mark="(\d)" role="img" tabindex="(-?\d)" aria-label="([^"]*)"'
    texts = ["&#34;&gt;&lt;script&gt;&amp;", "second", "dot 0", "dot 1", "dot 2", "bar 0", "bar 1"]
    stops = ["0", *["-1"] * 6]
    assert sorted(re.findall(pattern, made)) == [(str(i), stops[i], text) for i, text in enumerate(texts)]
    assert re.findall(r'data-variant="([^"]*)"', made) == ["mod[c0.125]"]
    assert (made.startswith('<svg role="group"'), svg().startswith('<svg role="img"')) == (True, True)


def test_a_mark_that_was_not_drawn_is_an_error() -> None:
    """A point without a number is not drawn: its text would go to its neighbour."""
    marks = Marks()
    with pytest.raises(ValueError, match="2 marks were named"):
        svg(
            marks=marks,
            draw=lambda axis: marks.name(axis.plot([1, float("nan")], [1, 2], "o")[0], Mark("a"), Mark("b")),
        )


@pytest.mark.slow
@pytest.mark.plugin("recommend")
def test_a_variants_name_stays_text_in_every_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's model is called after its file, and a folder may be a stranger's."""
    timed = [f"latency/{workload}" for workload in ("forward", "prefill", "decode")]
    suite: dict[str, Any] = {
        "metrics": ["flops/forward", *timed, "memory/peak_allocated", "bpb/val"],
        "variants": [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}],
        "grid": {"seq_len": [64]},
        "processes": 1,
        "rounds": 2,
    }
    loaded, own = load(planted_run(tmp_path, planted_plan("draft", **suite))), Tables.counted

    def counted(self: Tables, case: Case) -> CountNotes:
        work = Listed(work=(Work(kind="product", size=(1, 64, 64, 64)),))
        return own(self, case).model_copy(update={"forward_operators": work})

    loaded.tables.rooflines["fp32"] = planted()
    monkeypatch.setattr(Tables, "counted", counted)
    monkeypatch.setitem(wording._NAMES, "mod", '<script>alert(1)</script>"$')
    page = render.html(loaded)
    for title in (
        "Did fewer FLOPs become less time?",
        "From which length on is each variant faster?",
        "How much memory does it take?",
        "How fast are prefill, decode and requests?",
    ):
        assert title in page
    assert page.count("&lt;script&gt;") > 20
    assert page.count("<script>") == 1  # its own


# --- names


@pytest.mark.parametrize(
    ("variants", "names"),
    [
        ([{"model": "mod", "capacity": [0.125, 0.25]}], ["MoD 0.125", "MoD 0.25"]),
        (  # integrated MoDE has one mark at all capacities; the names begin alike
            [{"model": "mode_integrated", "choice": "token", "capacity": [0.25, 0.5], "no_op": ["zero", "identity"]}],
            ["MoDE integrated (4 variants)"],
        ),
    ],
)
def test_variants_of_one_look_are_counted_in_a_key(variants: list[Mapping[str, Any]], names: list[str]) -> None:
    plan = planted_plan("draft", metrics=["flops/forward"], variants=[{"model": "dense"}, *variants], train=None)
    cases = [*{case.variant: case for case in plan.cases}.values()]
    found = re.findall(r"</svg>(.*?)</span>", str(key_of(cases)))
    assert [re.sub(r"\s+", " ", each).strip() for each in found] == ["dense", *names]
    unlike = [cases[0].model_copy(update={"model": model}) for model in ("one", "two", "three")]
    assert "others (3 variants)" in str(key_of(unlike))  # models that the report does not know share a mark
    assert str(key_of([])) == ""


def test_a_name_has_no_keys_of_a_configuration_and_a_long_one_keeps_its_ends() -> None:
    mode = {"model": "mode_integrated", "choice": "token", "experts_top_k": [1, 2], "capacity": 0.5}
    plan = planted_plan("draft", metrics=["flops/forward"], variants=[{"model": "dense"}, mode], train=None)
    dense, *cases = plan.cases[:3]
    assert [wording.name(case) for case in cases] == ["MoDE integrated 0.5 top-1", "MoDE integrated 0.5 top-2"]
    ours = {"model": "my_models.py:build_a_very_special_transformer", "variant_parts": ("c0.125",)}
    long = dense.model_copy(update=ours)
    assert wording.name(long) == "my_models:build_a_very_special_transformer 0.125"
    assert (wording.short(long), wording.short(dense)) == ("my_models:build_a_ve…ormer 0.125", wording.name(dense))


def test_names_of_marks_that_lie_on_each_other_do_not() -> None:
    drawn: Any
    drawn, (axis,) = new_figure(6.0, 4.0)
    marks = [(0.5, 1.0 + 0.001 * i, f"a model with a rather long name {i}") for i in range(12)]
    for x, y, _ in marks:
        axis.plot([x], [y], "o")
    axis.set_ylim(0.8, 1.2)
    label(axis, marks)
    drawn.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axis.texts]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    lines = "\n".join(text.get_text() for text in axis.texts).split("\n")
    assert sorted(lines) == sorted(name for _, _, name in marks)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast(theme: str) -> None:
    """WCAG 2.2 AA: at least 4.5 to 1 for body and caption colours on their background, and for every map cell."""
    sheet = THEME.read_text(encoding="utf-8").partition("prefers-color-scheme: dark")[0 if theme == "light" else 2]
    colors = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", sheet))
    pairs = [("--ink", "--paper"), ("--muted", "--paper"), ("--muted", "--ground"), ("--accent", "--paper")]
    pairs += [("--warn", "--warn-ground"), ("--warn", "--paper"), *((f"--map-ink-{i}", f"--map-{i}") for i in range(9))]
    for pair in pairs:
        light, dark = sorted((luminance(colors[name]) for name in pair), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, pair


def luminance(color: str) -> float:
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
