"""Prefill and decode: rates, quantiles and bytes of every arm by length and batch, and where skipping starts to pay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from markupsafe import Markup

from modbench.harness.domain.case import Case
from modbench.harness.domain.case import Place as Where
from modbench.reports.figures.style import bin_of, look
from modbench.reports.model import Block, Code, Estimate, Finding, Listed, Note, Sentence, Table, Value, Verdict
from modbench.reports.panel import Panel
from modbench.reports.questions import break_even
from modbench.reports.tables import findings
from modbench.reports.tables.load import Loaded, subsample_evenly
from modbench.reports.wording import name, short
from modbench.reports.writers.html import fill, inline

# Rows of `cases.csv` by case id and metric.
Known: TypeAlias = Mapping[tuple[str, str], Any]


@dataclass(frozen=True)
class Served:
    """One workload: its time, its rate and what it keeps.

    Attributes:
        title: of its table.
        unit: what a time is of.
        time: metric of the time of a call or step.
        rate: metric of tokens per second.
        length: heading of the column of `seq_len`.
        kept: metric of the bytes that it keeps, or an empty string.
    """

    title: str
    unit: str
    time: str
    rate: str
    length: str
    kept: str = ""


SERVED = (
    Served("Prefill", "a call", time="latency/prefill", rate="tokens_per_s/prefill", length="T"),
    Served(
        "Decode",
        "a step",
        time="latency/decode",
        rate="tokens_per_s/decode",
        length="context",
        kept="memory/kv_cache",
    ),
)


def table(loaded: Loaded, served: Served) -> Table | None:
    """Return times, rates and bytes of every arm at every place; None where nothing was planned.

    A column without any number is left out.
    """
    every = [each for each in loaded.run.plan.comparisons if served.time in each.metrics]
    if not every:
        return None
    wanted = loaded.cases[loaded.cases.metric.isin([served.time, served.rate, served.kept])]
    known = {(str(row.case_id), str(row.metric)): row for row in wanted.itertuples(index=False)}
    places = [comparison.place for comparison in every]
    ways, dtypes = {place.execution for place in places}, {place.dtype for place in places}
    rows: list[list[Value]] = []
    for comparison, place in zip(every, places, strict=True):
        more = [place.execution] * (len(ways) > 1) + [place.dtype] * (len(dtypes) > 1)
        for case in comparison.arms:
            arm = ", ".join([name(case), *more])
            rows.append([arm, place.seq_len, place.batch_size, *_numbers(known, case, served)])
    head = ("arm", served.length, "B", f"{served.unit} [95 %]", "tokens/s", *(["KV cache"] if served.kept else []))
    kept = [i for i in range(len(head)) if i == 0 or any(row[i] != "" for row in rows)]
    return Table(
        f"{served.title}: all numbers", [head[i] for i in kept], [[row[i] for i in kept] for row in rows], folded=True
    )


def _numbers(known: Known, case: Case, served: Served) -> list[Value]:
    row = known[case.id, served.time]
    if row.status != "ok":
        return ["failed" if row.status == "failed" else None, "", *([""] if served.kept else [])]
    time = Estimate.of(row.value, row.ci_low, row.ci_high, unit="s")
    return [
        time,
        _beside(known, (case.id, served.rate)),
        *([_beside(known, (case.id, served.kept))] if served.kept else []),
    ]


def _beside(known: Known, key: tuple[str, str]) -> Value:
    """Return another number of the case, where it was asked for and measured."""
    row = known.get(key)
    return "" if row is None or row.status != "ok" else Estimate(float(row.value), unit=str(row.unit))


# --- beside each other, as on the page

# Columns at most; of more, so many that lie evenly among them.
MOST_PLACES = 12
# Length, batch size, number format, way of execution.
Place: TypeAlias = tuple[int, int, str, str]


@dataclass(frozen=True)
class Cell:
    """What one arm serves at one place.

    Attributes:
        rate: tokens per second; None where nothing was measured.
        against: the time over the baseline's; None for the baseline, and where there is no ratio.
        more: quantiles and bytes, or why there is no number.
    """

    rate: Estimate | None
    against: Finding | None
    more: tuple[Value, ...]


@dataclass(frozen=True)
class Grid:
    """A workload's rates.

    Attributes:
        title: of the table.
        places: headings of the columns.
        rows: arm and its cells; None where it was not planned.
        left_out: places that are not shown.
        derived: whether rates follow from typical times, as none was measured.
    """

    title: str
    places: list[Sentence]
    rows: list[tuple[Case, list[Cell | None]]]
    left_out: int
    derived: bool


def grid(loaded: Loaded, served: Served) -> Grid | None:
    """Return the rates of a workload; None if it was not measured."""
    planned: dict[Place, dict[str, Case]] = {}
    for comparison in loaded.run.plan.comparisons:
        if served.time in comparison.metrics:
            planned.setdefault(_key(comparison.place), {}).update({case.arm: case for case in comparison.arms})
    if not planned:
        return None
    places = sorted(planned)
    shown = subsample_evenly(places, MOST_PLACES)
    wanted = loaded.cases[loaded.cases.metric.isin(_metrics(served))]
    known = {(row.case_id, row.metric): row for row in wanted.itertuples(index=False)}
    against = loaded.comparisons[loaded.comparisons.metric == served.time]
    found = {row.case_id: findings.of_pair(loaded, row) for row in against.itertuples(index=False)}
    rows = [
        (arm, [_served_cell(known, found, planned[place].get(arm.arm), served) for place in shown])
        for arm in (loaded.arms[0], *loaded.arms_shown)
        if any(arm.arm in planned[place] for place in shown)
    ]
    derived = not any(metric == served.rate and row.status == "ok" for (_, metric), row in known.items())
    named = [_named(place, places, served) for place in shown]
    return Grid(served.title, named, rows, len(places) - len(shown), derived)


def _key(at: Where) -> Place:
    return at.seq_len, at.batch_size, at.dtype, at.execution


def _metrics(served: Served) -> list[str]:
    return [served.time, served.rate, f"{served.time}/p50", f"{served.time}/p95", *filter(None, [served.kept])]


def _named(place: Place, places: Sequence[Place], served: Served) -> Sentence:
    length, batch, dtype, execution = place
    words = "context {length}, B = {batch}" if served.length == "context" else "T = {length}, B = {batch}"
    words += ", {dtype}" * (len({each[2] for each in places}) > 1)
    words += ", {execution}" * (len({each[3] for each in places}) > 1)
    return Sentence(words, length=length, batch=batch, dtype=dtype, execution=execution)


def _served_cell(
    known: Mapping[Any, Any], found: Mapping[Any, Finding], case: Case | None, served: Served
) -> Cell | None:
    if case is None:
        return None
    rows = {metric: known.get((case.id, metric)) for metric in _metrics(served)}
    values = {metric: float(row.value) for metric, row in rows.items() if row is not None and row.status == "ok"}
    if served.time not in values:
        row = rows[served.time]
        return Cell(None, None, ("not measured" if row is None else str(row.status),))
    seconds = values[served.time]
    tokens = case.place.batch_size * (1 if served.kept else case.place.seq_len)  # of a step one for each row
    quantiles = [
        Sentence(f"{quantile} {{time}}", time=Estimate(values[key], unit="s"))
        for quantile in ("p50", "p95")
        if (key := f"{served.time}/{quantile}") in values
    ]
    typical = Sentence(f"{{time}} {served.unit}", time=Estimate(seconds, unit="s"))
    more: list[Value] = [Listed(quantiles) if quantiles else typical]
    if served.kept in values:
        more.append(Sentence("KV {bytes}", bytes=Estimate(values[served.kept], unit="B")))
    against = found.get(case.id)
    if against is not None and (against.typical.kind != "ratio" or against.typical.value is None):
        against = None
    rate = values.get(served.rate, tokens / seconds)
    # Three digits either way, as the heading has the unit.
    return Cell(Estimate(rate, kind="point" if rate >= 100 else "quantity"), against, tuple(more))


# Rows of a table that the page holds at most; of more, so many that lie evenly among them.
MOST_ROWS = 500


def render(loaded: Loaded) -> Iterator[Block | Markup]:
    """Show a sentence, a table in the map's colours and all numbers for each workload."""
    grids = [found for served in SERVED if (found := grid(loaded, served)) is not None]
    if not grids:
        return
    yield from break_even.blocks(loaded, [served.time for served in SERVED])
    yield fill("inference", grids=list(map(_table, grids)))
    for made in filter(None, (table(loaded, served) for served in SERVED)):
        left_out = max(0, len(made.rows) - MOST_ROWS)
        yield replace(made, rows=subsample_evenly(made.rows, MOST_ROWS), left_out=left_out, file="cases.csv")
    said = (
        "Ratios are those of the time, over {anchor}: purple is faster, orange slower, grey neither or without a verdict. "
        "{file} has both estimates."
    )
    if any(each.derived for each in grids):
        said += " No rate was asked for, so that tokens per second follow from the typical time."
    yield Note(Sentence(said, anchor=loaded.arms[0], file=Code("breakeven.csv")))


def _table(grid: Grid) -> dict[str, object]:
    """What the template needs of a workload: colours, and text of every cell."""
    return {
        "title": grid.title,
        "places": list(map(inline, grid.places)),
        "rows": [(arm.arm, look(arm), short(arm), list(map(_cell, cells))) for arm, cells in grid.rows],
        "left_out": grid.left_out,
    }


def _cell(cell: Cell | None) -> dict[str, object] | None:
    if cell is None:
        return None
    speed, colour = None, None
    if cell.against is not None and cell.against.typical.value is not None:
        ratio = Estimate(cell.against.typical.value, kind="ratio")
        speed = inline(Sentence("{ratio} {verdict}", ratio=ratio, verdict=Verdict(cell.against.verdict)))
        colour = bin_of(cell.against.typical.value, cell.against.verdict)
    rate = None if cell.rate is None else inline(cell.rate)
    return {"rate": rate, "speed": speed, "bin": colour, "lines": list(map(inline, cell.more))}


READING = (
    "Prefill reads a prompt in one call; decoding then makes one token of each row per step, and tokens per second count all "
    "rows. The first table says from which length or batch size on each model is faster, in typical calls and in the mean; in "
    "brackets stands the 95 % interval, and between measured points the line is interpolated. The coloured tables show every "
    "size that was measured; p50 and p95 are of single steps, and KV is what the cache of keys and values holds. Whether a "
    "model's text is as good is not part of it."
)

PANEL = Panel(
    title="Prefill and decode: where does it start to pay?", order=15, span=12, render=render, reading=READING
)
