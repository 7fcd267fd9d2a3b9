"""Writers: numbers and intervals by kind, tables in a given width, foreign text, and labels that no output may lose."""

from __future__ import annotations

import dataclasses
import html
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modbench.harness.core import units
from modbench.harness.core.labels import LOOKED_AHEAD, Label
from modbench.harness.domain.case import Case
from modbench.harness.stats.reason import Reason
from modbench.planted_runs import planted_plan
from modbench.reports import reasons
from modbench.reports.blocks import (
    ILLUSTRATION,
    Estimate,
    Finding,
    Listed,
    Note,
    Sentence,
    Table,
    known,
)
from modbench.reports.data_table import DataTable
from modbench.reports.data_table import text as column
from modbench.reports.markup import data, markdown, short, text
from modbench.reports.markup import html as write_html
from modbench.reports.markup.number_format import half, plain
from modbench.reports.reasons import WORDS

FINITE = st.floats(min_value=1e-6, max_value=1e6)


@pytest.fixture(scope="module")
def case() -> Case:
    return planted_plan("draft").cases[1]


@pytest.mark.parametrize(
    ("made", "written"),
    [
        (Estimate(1.618, 1.6, 1.65, "ratio"), "1.62× [1.60–1.65]"),
        (Estimate(None, 1.02, None, "ratio"), "more than 1.02×"),
        (Estimate(1.1, 1.02, None, "ratio"), "1.10× [above 1.02]"),
        (Estimate(None, 0.82, 1.06, "ratio"), "0.820× to 1.06×"),
        (Estimate(1.81, 1.72, 1.9, "ratio", "s"), "1.81× [1.72–1.90]"),
        (Estimate(1.786, kind="ratio", unit="FLOP"), "56 %"),
        (Estimate(0.74, kind="ratio", unit="B"), "135 %"),
        (Estimate(1.25, 1.2, 1.3, "ratio", "J"), "80 % [77–83]"),
        (Estimate(1.002, kind="ratio", unit="B"), "99.8 %"),
        (Estimate(None, 1.25, 2.0, "ratio", "FLOP"), "50 % to 80 %"),
        (Estimate(0.0123, 0.012, 0.0126, unit="s"), "12.3 ms [12.0–12.6]"),
        (Estimate(2.5e6, unit="param"), "2.50 M"),
        (Estimate(3.77194, unit="nat"), "3.772 nats"),
        (Estimate(-0.0109, -0.031, 0.0094, "difference", "bit/B"), "-0.011 [-0.031, +0.009]"),
        (Estimate(0.392, 0.381, 0.42, "share"), "39.2 % [38.1–42.0]"),
        (Estimate(0.0226, unit="ratio"), "2.3 %"),
        (Estimate(0.053, kind="difference", unit="%"), "+5.3 %"),
        (Estimate(388.9, 331.7, 426.2, "count"), "389 [332–426]"),
        (Estimate(0.00041, kind="p"), "0.00041"),
        (Estimate(1234567, kind="count"), "1,234,567"),
        (Estimate(None), "–"),
    ],
)
def test_a_number_is_written_by_its_kind(made: Estimate, written: str) -> None:
    assert plain(made) == written


@pytest.mark.parametrize(
    ("made", "written"),
    [
        (Estimate.of(1.1, 1.0, 1.16, kind="ratio"), "±.08"),
        (Estimate.of(2.0, 1.0, 4.0, kind="ratio"), "±1.50"),
        (Estimate.of(1.1, float("nan"), 1.0, kind="ratio"), ""),
    ],
)
def test_the_half_of_an_interval_is_short(made: Estimate, written: str) -> None:
    assert half(made) == written


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.0123, "s", "12.3 ms"),
        (4.2e-7, "s", "0.420 µs"),
        (922_000, "FLOP", "922 kFLOP"),
        (0.647, "ratio", "64.7%"),
        (0.9996, "1", "1.00"),
        (-0.0123, "1", "-0.0123"),
        (None, "s", "–"),
    ],
)
def test_a_number_has_three_digits_and_its_unit(value: float | None, unit: str, said: str) -> None:
    assert units.human(value, unit) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ((-3,), "0 s"),
        ((59.6,), "1 min 00 s"),
        ((7200,), "2 h 00 min"),
        ((12, 95), "12 to 95 s"),
        ((1552, 5935), "26 to 99 min"),
        ((60, 31_000), "up to 8.6 h"),
    ],
)
def test_a_duration_is_written_as_people_say_it(seconds: tuple[float, ...], said: str) -> None:
    assert (units.human_span if len(seconds) > 1 else units.human_duration)(*seconds) == said


@given(st.floats(allow_nan=True, allow_infinity=False) | st.none() | st.text())
def test_a_cell_without_a_number_is_none(cell: object) -> None:
    found = known(cell)
    assert (found is None) == (not isinstance(cell, float) or cell != cell)  # noqa: PLR0124  # NaN


def test_a_sentence_keeps_foreign_text_as_it_is(case: Case) -> None:
    said = Sentence(
        "{who} took {what}, {more}.", who="{what} %s {0}", what=Estimate(2.0, unit="s"), more=Listed([case, 3], most=1)
    )
    assert plain(said) == f"{{what}} %s {{0}} took 2.00 s, {plain(case)} and 1 more."
    assert "<b>" not in write_html.inline(Sentence("{x}", x="<b>"))
    assert markdown.inline(Sentence("{x}", x="*a*")) == r"\*a\*"


LABELLED = DataTable[Any](
    "t", "findings", [column("labels", "their labels", lambda row: Listed(row.labels))], lambda _: []
)
Write = Callable[[Table], str]
WRITERS: dict[str, Write] = {
    "text": lambda table: "\n".join([*(lines := text.table(table, 200)), *short.explained(lines)]),
    "html": lambda table: str(write_html.written([table])),
    "markdown": lambda table: markdown.within([markdown.block(table)]),
    "csv": lambda table: data.csv(LABELLED.of([table.rows[0][1]])),
}
READ = ("text", "html", "markdown")
BLOCKS: tuple[Callable[[Note], str], ...] = (
    lambda note: text.written([note], 10**6),
    lambda note: html.unescape(str(write_html.written([note]))),
    lambda note: markdown.within([markdown.block(note)]).replace("\\", ""),
)


LABELS = [*sorted(Label), ILLUSTRATION]


def labelled(case: Case, label: str, verdict: str | None = "better") -> Table:
    """A table with one finding that has this label: a loss where it is about one, else a time."""
    of_loss = label in {*LOOKED_AHEAD, ILLUSTRATION}
    made = Estimate(1.5, 1.4, 1.6, *(("difference", "bit/B") if of_loss else ("ratio", "s")))
    return Table(
        "t",
        ("variant", "x"),
        [[case, Finding(case, case, typical=made, verdict=verdict, labels=(label,) * bool(label))]],
    )


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("label", LABELS)
def test_no_writer_loses_a_label(name: str, label: str, case: Case) -> None:
    """Each label reaches a cell, in words or as a mark that is explained."""
    written, without = (WRITERS[name](labelled(case, each)) for each in (label, ""))
    sign = label
    if name == "text":
        sign = "c1.50" if label == Label.BY_CPU else short.MARKS.get(label, short.LABELLED)
    assert (sign in written, sign in without) == (True, False)


@pytest.mark.parametrize("code", WORDS)
def test_every_reason_reaches_every_output(code: str) -> None:
    """With what it is given: a number of its kind, a text, or another reason."""
    words, kinds = WORDS[code], reasons.KINDS
    names = [name for _, name, _, _ in string.Formatter().parse(words) if name]
    said = reasons.sentence(
        Reason(code, **{name: 0.25 if name in kinds else f"g{at}" for at, name in enumerate(names)})
    )
    written = [write(Note(said)) for write in BLOCKS]
    for at, name in enumerate(names):
        shown = plain(Estimate(0.25, kind=kinds[name], unit="%")) if name in kinds else f"g{at}"
        assert all(shown.rstrip(" %×") in each for each in written)
    assert all(words.partition("{")[0].partition("[")[0].partition("`")[0] in each for each in written)


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("label", sorted(LOOKED_AHEAD))
def test_what_a_loss_saw_says_nothing_of_a_time(name: str, label: str, case: Case) -> None:
    made = Finding(case, case, typical=Estimate(1.5, 1.4, 1.6, "ratio", "s"), verdict="better")
    labelled = dataclasses.replace(made, labels=(label,))
    written, without = (WRITERS[name](Table("t", ("variant", "x"), [[case, each]])) for each in (labelled, made))
    assert written == without
