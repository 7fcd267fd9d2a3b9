"""Figures as inline SVG: any name can be drawn, marks say what they stand for, names stay text."""

from __future__ import annotations

import re
from typing import Any

import pytest

from modbench.reports.figures import style
from modbench.reports.figures.style import INK, Mark, Marks, new_figure, to_svg


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
