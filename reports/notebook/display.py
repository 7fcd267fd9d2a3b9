"""A run in a notebook: the answer in words, a table, a figure and a link to the report, in less than 30 kB."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from modbench.harness.core.masking import masked
from modbench.harness.core.printable import escaped
from modbench.reports.figures.ratio_figure import MOST_ROWS, Bar, ratio_figure
from modbench.reports.sentences import first_screen, machine
from modbench.reports.tables.load import Loaded, evenly
from modbench.reports.terminal.arm_tables import APART_MARK, APART_WORDS, TABLES, columns
from modbench.reports.wording.arm_names import name, short
from modbench.reports.wording.words import TIMED, is_number

# Arms and lengths of the table at most, and tables.
MOST_ARMS, MOST_LENGTHS, MOST_TABLES = 16, 6, 2
# Characters of all sentences about doubts.
MOST_SAID = 4000


def html(loaded: Loaded, page: Path | None) -> str:
    """Return the run as one element of HTML.

    Args:
        loaded: the run.
        page: its report, if it was written.
    """
    told = first_screen.head(loaded)
    said = [*(f"⚠ {each}" for each in machine.warnings(loaded)), told.asked, told.answer, *told.details]
    titled = (("How sure", told.sure), ("What to doubt", told.doubts))
    doubts = [f"{title}: {' '.join(sentences)}"[:MOST_SAID] for title, sentences in titled if sentences]
    failed = len(set(loaded.failed.case_id))
    doubts += [f"{failed} case{'s' * (failed != 1)} failed: the report says why."] * bool(failed)
    where = f"report: {page}" if page else f"modbench report {loaded.path} writes its page"
    link = f'<a href="{escape(str(page))}">{escape(where)}</a>' if page else escape(where)
    tables = _tables(loaded)
    doubts += [APART_WORDS] * (f" {APART_MARK}" in "".join(tables))
    parts = [_lines(said), *tables, _figure(loaded), _lines(doubts), f"<div>{link}</div>"]
    return masked(escaped(f"<div>{''.join(parts)}</div>"))


def _lines(sentences: Sequence[str]) -> str:
    return "".join(f"<div>{escape(each[:MOST_SAID])}</div>" for each in sentences if each)


def _tables(loaded: Loaded) -> list[str]:
    """The first tables of the terminal that have something to show."""
    if not loaded.arms:
        return []
    arms = [loaded.arms[0], *evenly(loaded.arms_shown, MOST_ARMS - 1)]
    asked = [table for table in TABLES if table.metric in loaded.run.plan.suite.metrics]
    made = [found for table in asked if (found := columns(loaded, table, arms))]
    return [_table([names, *evenly(rest, MOST_LENGTHS)]) for names, *rest in made[:MOST_TABLES]]


def _table(made: Sequence[Sequence[str]]) -> str:
    head_row, *rows = zip(*made, strict=True)
    cells = "".join(f"<tr>{''.join(f'<td>{escape(each)}</td>' for each in row)}</tr>" for row in rows)
    titles = "".join(f"<th>{escape(each)}</th>" for each in head_row)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{cells}</tbody></table>"


def _figure(loaded: Loaded) -> str:
    """Speed-ups at the longest length that was timed; nothing where no time is compared."""
    for _, metric in TIMED:
        rows = [
            (case, loaded.pair(case.arm, metric, length))
            for length in loaded.lengths[-1:]
            for case in loaded.arms_shown
        ]
        bars = [
            Bar(
                f"{short(case)}, T {int(row.seq_len):,}",
                float(row.ratio),
                *_ends(row.ci_low, row.ci_high),
                _word(row.verdict),
            )
            for case, row in rows
            if row is not None and is_number(row.ratio)
        ]
        if bars and not loaded.run.plan.suite.isoflop:
            margin = loaded.run.plan.suite.margin
            return ratio_figure(evenly(bars, MOST_ROWS), name(loaded.arms[0]), margin)
    return ""


def _ends(low: object, high: object) -> tuple[float | None, float | None]:
    return (float(low), float(high)) if is_number(low) and is_number(high) else (None, None)  # type: ignore[arg-type]


def _word(verdict: object) -> str | None:
    return verdict if isinstance(verdict, str) else None
