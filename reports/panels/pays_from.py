"""From which length on does each arm pay, and what does it compute, keep and lose beside the baseline? One row for each arm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from modbench.harness.core.units import counted
from modbench.harness.domain.case import Case
from modbench.harness.stats.contrast import BETTER
from modbench.reports.model import Estimate, Finding, Sentence, Table, Value, is_number
from modbench.reports.panel import Panel
from modbench.reports.questions import break_even, win_rate
from modbench.reports.questions.break_even import AGAINST, AXES, LETTERS, OPEN, Column
from modbench.reports.questions.results import loss_cell
from modbench.reports.tables import losses
from modbench.reports.tables.load import Loaded, rung_beside
from modbench.reports.wording import TIMED, WORKLOADS
from modbench.reports.writers.number_format import grid_point

# What has a column as a share of the baseline's, by metric.
SHARES = {"flops/forward": "FLOPs", "memory/peak_allocated": "memory", "memory/kv_cache": "KV cache"}


def table(loaded: Loaded) -> Table | None:
    """Return the table; None where nothing is compared, nothing was timed, or sizes differ."""
    if loaded.sizes_differ or not any(metric in loaded.suite.metrics for metric in TIMED):
        return None
    arms = [case for case in loaded.arms_shown if not case.rung]
    every = break_even.columns(loaded, arms)
    along = min((column.axis for column in every if column.axis), key=AXES.index, default=None)
    first: dict[tuple[str, str], Column] = {}  # of several places the first, which figures and tiles show too
    for column in every:
        if column.axis == along:
            first.setdefault((column.metric, column.title), column)
    made = [replace(column, group=WORKLOADS[column.metric]) for column in first.values()]
    loss, said = _loss(loaded, arms)
    made += [*([] if along else _counted(loaded, arms)), *_shares(loaded, arms), *loss]
    made = [column for column in made if any(cell is not None for cell in column.cells)]
    if not made:
        return None
    shares = [title for title in SHARES.values() if title in {column.title for column in made}]
    notes = [*break_even.meanings(loaded, made)]
    notes += [Sentence(f"{', '.join(shares)}: ÷ {{baseline}}", baseline=loaded.baseline)] if shares else []
    notes += ["breakeven.csv has the other places"] if len(first) < len(every) else []
    return Table(
        "where each arm pays",
        (f"pays from {LETTERS[along]} [95 %]" if along else "arm", *(column.title for column in made)),
        [[case, *(column.cells[i] for column in made)] for i, case in enumerate(arms)],
        groups=("", *(column.group for column in made)),
        notes=[*notes, *said],
    )


def _counted(loaded: Loaded, arms: Sequence[Case]) -> Iterator[Column]:
    """Yield columns for a run with one length: against the dense models of equal cost, which the tables of times lack."""
    every = {
        case.arm: win_rate.places(loaded, case, beside.case)
        for case in arms
        if (beside := rung_beside(loaded, case)) is not None
    }
    for metric, workload in WORKLOADS.items():
        found = {arm: [each for each in places if each.metric == metric] for arm, places in every.items()}
        yield Column(workload, AGAINST["equal cost"], [_wins(found.get(case.arm, [])) for case in arms])


def _wins(found: Sequence[Finding]) -> Value:
    """Return in how many of several places an arm is faster, `2 of 6`; of one what is found; `?` without a verdict."""
    known = [each for each in found if each.typical.value is not None]
    if not known:
        return "failed" if any(each.status == "failed" for each in found) else None
    if len(found) == 1:
        return known[0]
    won = sum(each.verdict == BETTER for each in known)
    return Sentence("{won} of {all}", won=won, all=len(found)) if any(each.verdict for each in known) else OPEN


def _shares(loaded: Loaded, arms: Sequence[Case]) -> Iterator[Column]:
    """Yield columns of what an arm computes and keeps at the longest length, as shares of the baseline's."""
    for length in loaded.lengths[-1:]:
        for metric, title in SHARES.items():
            rows = [loaded.pair(case.arm, metric, length) for case in arms]
            shares = [
                None if row is None or not is_number(row.ratio) else Estimate(1 / row.ratio, kind="fraction")
                for row in rows
            ]
            yield Column(f"at {grid_point('T', length)}", title, shares)


def _loss(loaded: Loaded, arms: Sequence[Case]) -> tuple[list[Column], list[Value]]:
    """Return a column of held-out losses over the baseline's, routed causally where that was measured; and what it is."""
    known, cells, used = losses.shown(loaded)[::-1], dict[str, Finding](), dict[str, None]()
    trained = losses.lengths(loaded)
    length = losses.beside(loaded, loaded.lengths[-1]) if trained and loaded.lengths else None
    for case in arms:
        for loss in known:
            found = loss_cell(loaded, case, loss, length)
            if isinstance(found, Finding) and found.typical.value is not None:
                cells[case.arm], used[loss.title] = found.beside(), None
                break
    if not used:
        return [], []
    words = f"loss: {known[0].unit} over {{baseline}}, {', else '.join(used)}"
    words += ", T = {length}" * (len(trained) > 1) + ", {seeds}" * (not loaded.evaluates_only)
    words += ": no claim" * (not loaded.evaluates_only and losses.few_seeds(loaded))
    seeds = counted(len(loaded.suite.seeds), "seed")
    said = Sentence(words, baseline=loaded.baseline, length=length, seeds=seeds)
    return [Column("", "loss", [cells.get(case.arm) for case in arms])], [said]


def render(loaded: Loaded) -> list[Table]:
    """Show the table."""
    made = table(loaded)
    return [] if made is None else [made]


READING = (
    "From the length in a cell on, an arm is faster than what stands above the column; in "
    "brackets the 95 % interval. Between measured lengths the line is interpolated. A question mark: not decided, or nothing may "
    "be claimed. FLOPs and memory are shares of the baseline's, the loss is a difference: below 0 is better."
)

PANEL = Panel(
    title="From which length on does each arm pay?",
    order=11,
    span=12,
    render=render,
    told=True,
    reading=READING,
    tables=[break_even.TABLE],
)
