"""Marks of a figure that say what they stand for, on hover and focus; keys: marks and names of variants."""

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
from modbench.reports.figures.style import Mark, Marks, new_figure, to_svg
from modbench.reports.html_report import render
from modbench.reports.markup.html import _key as key_of
from modbench.reports.tables.load import load
from modbench.reports.tables.values import Tables

EVIL = '<script>alert(1)</script>"$'


def drawn(marks: Marks, draw: Any) -> str:
    figure, (axis,) = new_figure(2, 2)
    draw(axis)
    return to_svg(figure, "one", "a figure", marks)


def test_every_mark_has_its_text_and_a_figure_is_one_stop() -> None:
    """Markers of a line, members of a collection, and bars; in the order in which they were named."""
    marks = Marks()

    def draw(axis: Any) -> None:
        (line,) = axis.plot([1, 2], [1, 2], "s")
        marks.name(line, Mark("first", "mod[c0.125]"), Mark("second"))
        marks.name(axis.scatter([1, 2, 3], [3, 3, 3]), *(Mark(f"dot {i}") for i in range(3)))
        for i, bar in enumerate(axis.barh([5, 6], [1, 2])):
            marks.name(bar, Mark(f"bar {i}"))
        axis.plot([1, 2], [2, 1])  # says nothing

    made = drawn(marks, draw)
    found = sorted(
        re.findall(
            r'<(?:use|path) class="mark" data-mark="(\d)" role="img" tabindex="(-?\d)" aria-label="([^"]*)"', made
        )
    )
    assert [text for *_, text in found] == ["first", "second", "dot 0", "dot 1", "dot 2", "bar 0", "bar 1"]
    assert [number for number, *_ in found] == [str(i) for i in range(7)]
    assert [stop for _, stop, _ in found] == ["0"] + ["-1"] * 6
    assert re.findall(r'data-variant="([^"]*)"', made) == ["mod[c0.125]"]
    assert made.startswith('<svg role="group"')


def test_a_strangers_text_stays_text() -> None:
    marks = Marks()
    made = drawn(marks, lambda axis: marks.name(axis.plot([1], [1], "o")[0], Mark('"><script>&', '"x')))
    assert "<script>" not in made
    assert 'aria-label="&#34;&gt;&lt;script&gt;&amp;" data-variant="&#34;x"' in made


@pytest.mark.slow
@pytest.mark.plugin("recommend")
def test_a_variants_name_stays_text_in_every_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's model is called after its file, and a folder may be a stranger's."""
    metrics = [
        "flops/forward",
        "latency/forward",
        "latency/prefill",
        "latency/decode",
        "memory/peak_allocated",
        "bpb/val",
    ]
    variants = [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}]
    planted_run(
        tmp_path,
        planted_plan("draft", metrics=metrics, variants=variants, grid={"seq_len": [64]}, processes=1, rounds=2),
    )
    own = Tables.counted

    def counted(self: Tables, case: Case) -> CountNotes:
        work = Listed(work=(Work(kind="product", size=(1, 64, 64, 64)),))
        return own(self, case).model_copy(update={"forward_operators": work})

    loaded = load(tmp_path / "run")
    loaded.tables.rooflines["fp32"] = planted()
    monkeypatch.setattr(Tables, "counted", counted)
    monkeypatch.setitem(wording._NAMES, "mod", EVIL)
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


def test_a_mark_that_was_not_drawn_is_an_error() -> None:
    """A point without a number is not drawn: its text would go to its neighbour."""
    marks = Marks()
    with pytest.raises(ValueError, match="2 marks were named"):
        drawn(marks, lambda axis: marks.name(axis.plot([1, float("nan")], [1, 2], "o")[0], Mark("a"), Mark("b")))


def test_a_figure_without_named_marks_is_an_image() -> None:
    assert drawn(Marks(), lambda axis: axis.plot([1], [1], "o")).startswith('<svg role="img"')


# --- keys


def names_in_key(*variants: Mapping[str, object]) -> list[str]:
    """The names in the key of a suite's variants."""
    plan = planted_plan("draft", metrics=["flops/forward"], variants=list(variants), train=None)
    cases = {case.variant: case for case in plan.cases}.values()
    return [re.sub(r"\s+", " ", each).strip() for each in re.findall(r"</svg>(.*?)</span>", str(key_of(list(cases))))]


def test_variants_that_look_different_are_named() -> None:
    assert names_in_key({"model": "dense"}, {"model": "mod", "capacity": [0.125, 0.25]}) == [
        "dense",
        "MoD 0.125",
        "MoD 0.25",
    ]


def test_many_variants_of_one_look_are_counted() -> None:
    """Integrated MoDE has one mark at all capacities; the names begin alike."""
    many = {"model": "mode_integrated", "choice": "token", "capacity": [0.25, 0.5], "no_op": ["zero", "identity"]}
    assert names_in_key({"model": "dense"}, many) == ["dense", "MoDE integrated (4 variants)"]


def test_names_that_have_nothing_in_common_are_others() -> None:
    """Models that the report does not know share a mark."""
    case = planted_plan("draft", metrics=["flops/forward"], train=None).cases[0]
    cases = [case.model_copy(update={"model": model}) for model in ("one", "two", "three")]
    assert "others (3 variants)" in str(key_of(cases))


def test_no_variants_no_key() -> None:
    assert str(key_of([])) == ""
