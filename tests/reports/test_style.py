"""Figures as inline SVG, and the format of numbers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from modbench.harness.core.units import human, human_duration, human_span, three_digits
from modbench.planted_runs import planted_plan
from modbench.reports import wording
from modbench.reports.figures import style
from modbench.reports.figures.point_labels import label
from modbench.reports.figures.style import INK, new_figure, to_svg
from modbench.reports.html_report.layout import THEME


def svg(text: str, identity: str = "one") -> str:
    figure, (axis,) = new_figure(2, 2)
    drawn: Any = axis
    drawn.set_title(text, color=INK)
    return to_svg(figure, identity, text)


@pytest.mark.parametrize("text", ["cost $^{$", '<b>&"bold"</b>', "ünïcode ×"])
def test_any_name_can_be_drawn(text: str) -> None:
    """Dollar signs start no formula, and markup is escaped."""
    made = svg(text)
    assert "<b>" not in made
    assert text.partition("<")[0].partition("&")[0] in made


def test_names_have_no_keys_of_a_configuration() -> None:
    variants = [
        {"model": "dense"},
        {"model": "mode_integrated", "choice": "token", "experts_top_k": [1, 2], "capacity": 0.5},
    ]
    names = {
        case.variant: wording.name(case)
        for case in planted_plan("draft", variants=variants).cases
        if case.model != "dense"
    }
    assert names == {f"mode_integrated[c0.5-experts_top_k{k}]": f"MoDE integrated 0.5 top-{k}" for k in (1, 2)}


def test_figures_take_their_colours_from_the_page_and_share_no_ids() -> None:
    one, two = svg("a", "one"), svg("a", "two")
    assert "var(--ink)" in one
    assert INK not in one
    assert "<style" not in one
    assert 'id="one-' in one
    assert "one-" not in two
    assert one == svg("a", "one")


def test_figures_do_not_depend_on_settings_that_lie_about() -> None:
    """matplotlib reads `matplotlibrc` in the current folder, which may be a stranger's; with LaTeX it would start a program."""
    import matplotlib as mpl

    whole = svg("a")
    with mpl.rc_context({"text.usetex": True, "axes.linewidth": 40.0, "axes.facecolor": "red"}):
        style.prepare.cache_clear()  # as in a process that has drawn nothing yet
        assert svg("a") == whole


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.0123, "s", "12.3 ms"),
        (4.2e-7, "s", "0.420 µs"),
        (61.0, "s", "61.0 s"),
        (922_000, "FLOP", "922 kFLOP"),
        (1.946157e9, "FLOP", "1.95 GFLOP"),
        (80 * 2**30, "B", "80.0 GiB"),
        (1023, "B", "1020 B"),
        (0, "B", "0 B"),
        (3.5, "nat", "3.50 nats"),
        (0.647, "ratio", "64.7%"),
        (278.127, "1", "278"),
        (float("nan"), "s", "–"),
        (None, "s", "–"),
    ],
)
def test_numbers_read_as_people_write_them(value: float | None, unit: str, said: str) -> None:
    assert human(value, unit) == said


@pytest.mark.parametrize(("value", "said"), [(0.9996, "1.00"), (99.96, "100"), (-0.0123, "-0.0123"), (1234.5, "1230")])
def test_three_digits(value: float, said: str) -> None:
    assert three_digits(value) == said


def test_durations() -> None:
    assert human_duration(59.6) == "1 min 00 s"
    assert human_duration(8) == "8 s"
    assert human(4.06e18, "FLOP") == "4.06 EFLOP"
    assert human_duration(7199) == "119 min 59 s"
    assert human_duration(7200) == "2 h 00 min"
    assert human_duration(1192 * 86_400) == "1,192 days"
    assert human_span(12, 95) == "12 to 95 s"
    assert human_span(62, 62) == "1 min 02 s"
    assert human_span(1552, 5935) == "26 to 99 min"
    assert human_span(1700, 31_000) == "0.5 to 8.6 h"
    assert human_span(60, 31_000) == "up to 8.6 h"
    assert human_span(0, 4_000_000) == "up to 1,111.1 h"
    assert human_duration(-3) == "0 s"


def test_a_long_name_keeps_its_ends_in_a_figure() -> None:
    case = planted_plan("draft", metrics=["flops/forward"], train=None).cases[0]
    long = case.model_copy(
        update={"model": "my_models.py:build_a_very_special_transformer", "variant_parts": ("c0.125",)}
    )
    assert wording.name(long) == "my_models:build_a_very_special_transformer 0.125"
    assert wording.short(long) == "my_models:build_a_ve…ormer 0.125"
    assert wording.short(case) == wording.name(case)


def test_names_of_marks_that_lie_on_each_other_do_not() -> None:
    made, axes = new_figure(6.0, 4.0)
    drawn: Any = made
    axis: Any = axes[0]
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
    sheet = THEME.read_text(encoding="utf-8")
    block = sheet.partition("prefers-color-scheme: dark")[0 if theme == "light" else 2]
    colors = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", block))
    pairs = [("--ink", "--paper"), ("--muted", "--paper"), ("--muted", "--ground"), ("--accent", "--paper")]
    pairs += [("--warn", "--warn-ground"), ("--warn", "--paper")]
    pairs += [(f"--map-ink-{i}", f"--map-{i}") for i in range(9)]
    for pair in pairs:
        light, dark = sorted((luminance(colors[name]) for name in pair), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, pair


def luminance(color: str) -> float:
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
