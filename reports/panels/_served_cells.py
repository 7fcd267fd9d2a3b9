"""What an arm serves at each place: tokens per second, quantiles of a step, bytes of its cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from modbench.harness.core.case import Case
from modbench.harness.core.units import human, three_digits
from modbench.reports.figures.style import Look, bin_of, look
from modbench.reports.questions.inference import Served
from modbench.reports.tables.load import Loaded, evenly
from modbench.reports.wording.arm_names import short
from modbench.reports.wording.words import is_number, times, words

# Columns at most; of more, so many that lie evenly among them.
MOST_PLACES = 12
# Length, batch size, number format, way of execution.
Place: TypeAlias = tuple[int, int, str, str]


@dataclass(frozen=True)
class Cell:
    """One arm at one place, in words.

    Attributes:
        rate: `582`; empty where nothing was measured.
        speed: ratio to the baseline with its verdict; empty for the baseline.
        lines: quantiles, bytes, or why there is no number.
        bin: of the ratio in the map's colours, 0 to 8; None: no ratio.
    """

    rate: str
    speed: str
    lines: tuple[str, ...]
    bin: int | None = None


@dataclass(frozen=True)
class Grid:
    """A workload's table.

    Attributes:
        title: of the table.
        places: headings of the columns.
        rows: arm and its cells; None where it was not planned.
        left_out: places that are not shown.
        derived: whether rates follow from typical times, as none was measured.
    """

    title: str
    places: list[str]
    rows: list[tuple[Case, list[Cell | None]]]
    left_out: int
    derived: bool

    @property
    def looks(self) -> list[Look]:
        """Look of each row's arm."""
        return [look(case) for case, _ in self.rows]

    @property
    def names(self) -> list[str]:
        """Name of each row's arm."""
        return [short(case) for case, _ in self.rows]


def grid(loaded: Loaded, served: Served) -> Grid | None:
    """Return the table of a workload; None if it was not measured."""
    planned: dict[Place, dict[str, Case]] = {}
    for comparison in loaded.run.plan.comparisons:
        if served.time in comparison.metrics:
            at = comparison.place
            place = (at.seq_len, at.batch_size, at.dtype, at.execution)
            planned.setdefault(place, {}).update({case.arm: case for case in comparison.arms})
    if not planned:
        return None
    places = sorted(planned)
    shown = evenly(places, MOST_PLACES)
    wanted = loaded.cases[loaded.cases.metric.isin(_metrics(served))]
    known = {(row.case_id, row.metric): row for row in wanted.itertuples(index=False)}
    against = loaded.comparisons[loaded.comparisons.metric == served.time]
    pairs = {row.case_id: row for row in against.itertuples(index=False)}
    rows = [
        (arm, [_cell(known, pairs, planned[place].get(arm.arm), served) for place in shown])
        for arm in (loaded.arms[0], *loaded.arms_shown)
        if any(arm.arm in planned[place] for place in shown)
    ]
    derived = not any(metric == served.rate and row.status == "ok" for (_, metric), row in known.items())
    return Grid(
        served.title, [_named(place, places, served) for place in shown], rows, len(places) - len(shown), derived
    )


def _metrics(served: Served) -> list[str]:
    return [served.time, served.rate, f"{served.time}/p50", f"{served.time}/p95", *filter(None, [served.kept])]


def _named(place: Place, places: Sequence[Place], served: Served) -> str:
    length, batch, dtype, execution = place
    parts = [f"{'context' if served.length == 'context' else 'T ='} {length:,}", f"B = {batch:,}"]
    parts += [dtype] * (len({each[2] for each in places}) > 1)
    parts += [execution] * (len({each[3] for each in places}) > 1)
    return ", ".join(parts)


def _cell(known: dict[Any, Any], pairs: dict[Any, Any], case: Case | None, served: Served) -> Cell | None:
    if case is None:
        return None
    found = {metric: known.get((case.id, metric)) for metric in _metrics(served)}
    values = {metric: float(row.value) for metric, row in found.items() if row is not None and row.status == "ok"}
    row = found[served.time]
    if served.time not in values:
        status = "not measured" if row is None else str(row.status)
        return Cell("", "", (status,))
    seconds = values[served.time]
    tokens = case.place.batch_size * (1 if served.kept else case.place.seq_len)  # of a step one for each row
    rate = values.get(served.rate, tokens / seconds)
    lines = [f"{human(seconds, 's')} {'a step' if served.kept else 'a call'}"]
    quantiles = [
        f"{name} {human(values[key], 's')}" for name in ("p50", "p95") if (key := f"{served.time}/{name}") in values
    ]
    if quantiles:
        lines = [", ".join(quantiles)]
    if served.kept in values:
        lines.append(f"KV {human(values[served.kept], 'B')}")
    pair = pairs.get(case.id)
    shown = three_digits(rate) if rate < 1000 else f"{rate:,.0f}"
    if pair is None or not is_number(pair.ratio):
        return Cell(shown, "", tuple(lines))
    said = f"{times(pair.ratio)} {words(pair)}"
    return Cell(shown, said, tuple(lines), bin_of(math.log2(pair.ratio)))
