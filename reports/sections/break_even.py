"""From which length on is each variant faster, and what does it compute, keep and lose? One row for each variant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from modbench.harness.domain.case import Case
from modbench.reports.blocks import Estimate, Finding, Listed, Sentence, Table, Value, is_number, pivot
from modbench.reports.markup.number_format import NONE, grid_point
from modbench.reports.questions import break_even
from modbench.reports.questions.break_even import AGAINST, AXES, LETTERS, Line
from modbench.reports.questions.value_tables import loss_cell
from modbench.reports.section import Section
from modbench.reports.tables import losses
from modbench.reports.tables.load import Loaded, contenders, matched_beside
from modbench.reports.tables.pairs import between
from modbench.reports.wording import TIMED, WORKLOADS

# What has a column as a share of the baseline's, by metric.
SHARES = {"flops/forward": "FLOPs", "memory/peak_allocated": "memory", "memory/kv_cache": "KV cache"}
# A cell with its row, and the group and the title of its column.
_Cell: TypeAlias = tuple[Value, Value, Value, Value]


def table(loaded: Loaded) -> Table | None:
    """Return the table; None where nothing is compared, nothing was timed, or sizes differ."""
    if loaded.sizes_differ or not any(metric in loaded.suite.metrics for metric in TIMED):
        return None
    shown = {case.variant for case in loaded.variants_shown}
    variants = [case for case in contenders(loaded) if case.variant in shown]
    lines = _at_first_place([line for line in break_even.claimed(loaded) if line.case.variant in shown])
    if all(line.found.verdict in {None, "inconclusive"} for line in lines):
        lines = []
    of_loss, loss_is = _loss(loaded, variants)
    of_times = break_even.cells(loaded, lines) if lines else _wins(loaded, variants)
    cells = [*of_times, *_shares(loaded, variants), *of_loss]
    if not cells:
        return None
    corner = f"break-even {LETTERS[lines[0].axis]}" if lines else ""
    titles = {title for *_, title, _ in cells}
    shared = [title for title in SHARES.values() if title in titles]
    notes: list[Value] = [f"matched: of equal FLOPs, {NONE} none"] * (AGAINST["matched"] in titles)
    over = [*[f"{', '.join(shared)} in %"] * bool(shared), *loss_is]
    notes += [Sentence("over the baseline: {over}", over=Listed(over))] * bool(over)
    made = pivot("break-even" if lines else "cost", cells, corner)
    rows = [row for case in variants for row in made.rows if row[0] == case]
    return replace(made, rows=rows, notes=notes)


def _at_first_place(lines: Sequence[Line]) -> list[Line]:
    """Return those along the length, else along the batch size; of several places at the first, which figures show too."""
    along = min((line.axis for line in lines), key=AXES.index, default=None)
    mine = [line for line in lines if line.axis == along]
    first = {(line.found.metric, line.kind): line.held for line in reversed(mine)}
    return [line for line in mine if line.held == first[line.found.metric, line.kind]]


def _wins(loaded: Loaded, variants: Sequence[Case]) -> Iterator[_Cell]:
    """Yield, for a run with one grid point, what is found against the matched baseline, which the tables of times lack."""
    for metric, workload in WORKLOADS.items():
        for case in variants:
            beside = matched_beside(loaded, case)
            found = [] if beside is None else between(loaded, metric, case, beside.case)
            if len(found) == 1:
                yield case, workload, AGAINST["matched"], found[0]


def _shares(loaded: Loaded, variants: Sequence[Case]) -> Iterator[_Cell]:
    """Yield what a variant computes and keeps at the longest length, as shares of the baseline's."""
    for length in loaded.lengths[-1:]:
        for metric, title in SHARES.items():
            for case in variants:
                row = loaded.pair(case.variant, metric, length)
                if row is not None and is_number(row.ratio):
                    share = Estimate(1 / row.ratio, kind="cost")
                    yield case, _longest(loaded), title, share


def _longest(loaded: Loaded) -> str:
    """Title of the columns at the longest length."""
    return f"at {grid_point('T', loaded.lengths[-1])}"


def _loss(loaded: Loaded, variants: Sequence[Case]) -> tuple[list[_Cell], list[Value]]:
    """Return held-out losses over the baseline's, routed causally where that was measured; and what they are."""
    known, cells = losses.shown(loaded)[::-1], dict[str, _Cell]()
    trained = losses.lengths(loaded)
    length = losses.beside(loaded, loaded.lengths[-1]) if trained and loaded.lengths else None
    group = "" if length is None else _longest(loaded) if length == loaded.lengths[-1] else grid_point("T", length)
    for case in variants:
        for loss in known:
            found = loss_cell(loaded, case, loss, length)
            if case.variant not in cells and isinstance(found, Finding) and found.typical.value is not None:
                cells[case.variant] = case, group, "loss", found.beside()
    if not cells:
        return [], []
    words = f"loss in {known[0].unit}"
    words += ", {n:seed}" * (not loaded.evaluates_only and not losses.few_seeds(loaded))  # of few the doubts say it
    return [*cells.values()], [Sentence(words, n=len(loaded.suite.seeds))]


SECTION = Section(
    title="From which length on is each variant faster?",
    order=11,
    span=12,
    render=lambda loaded: filter(None, [table(loaded)]),
    told=True,
    reading=(
        "From the length in a cell on, a variant is faster than the baseline, or than the matched one: dense of equal FLOPs. "
        "FLOPs and memory are shares of the baseline's, the loss is a difference: below 0 is better."
    ),
    tables=[break_even.TABLE],
)
