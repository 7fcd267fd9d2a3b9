"""Prefill and decode in the units that matter for serving, and where skipping starts to pay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from modbench.harness.core.case import Case
from modbench.harness.core.units import three_digits
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import is_number

MIB = 2**20
# A line of a workload's table: the arm, where it was measured, its numbers.
Row: TypeAlias = tuple[str, ...]
# Rows of `cases.csv` by case id and metric.
Known: TypeAlias = Mapping[tuple[str, str], Any]


@dataclass(frozen=True)
class Served:
    """One workload: its time, its rate and what it keeps.

    Attributes:
        title: of its table.
        unit: heading of the times.
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
    Served("Prefill", "ms", time="latency/prefill", rate="tokens_per_s/prefill", length="T"),
    Served(
        "Decode",
        "ms per token",
        time="latency/decode",
        rate="tokens_per_s/decode",
        length="context",
        kept="memory/kv_cache",
    ),
)


def table(loaded: Loaded, served: Served) -> tuple[Row, list[Row]]:
    """Return the header and the rows of a workload: times, rates and bytes of every arm at every place.

    A column without any number is left out.
    """
    every = [each for each in loaded.run.plan.comparisons if served.time in each.metrics]
    places = [comparison.place for comparison in every]
    wanted = (
        loaded.cases[loaded.cases.metric.isin([served.time, served.rate, served.kept])] if every else loaded.cases[:0]
    )
    known = {(str(row.case_id), str(row.metric)): row for row in wanted.itertuples(index=False)}
    ways, dtypes = {place.execution for place in places}, {place.dtype for place in places}
    rows: list[Row] = []
    for comparison, place in zip(every, places, strict=True):
        more = [place.execution] * (len(ways) > 1) + [place.dtype] * (len(dtypes) > 1)
        for case in comparison.arms:
            where = (f"{place.seq_len:,}", f"{place.batch_size:,}")
            rows.append((", ".join([name(case), *more]), *where, *_numbers(known, case, served)))
    header = ("arm", served.length, "B", served.unit, "±", "tokens/s", *(["KV MiB"] if served.kept else []))
    filled = [row + ("",) * (len(header) - len(row)) for row in rows]
    kept = [i for i in range(len(header)) if i == 0 or any(row[i] for row in filled)]
    return tuple(header[i] for i in kept), [tuple(row[i] for i in kept) for row in filled]


def _numbers(known: Known, case: Case, served: Served) -> tuple[str, ...]:
    row = known[case.id, served.time]
    if row.status != "ok":
        return ("failed" if row.status == "failed" else "–",)
    spread = f"{1e3 * (row.ci_high - row.ci_low) / 2:.2g}" if is_number(row.ci_low) else ""
    more = [(served.rate, 1.0), *([(served.kept, MIB)] if served.kept else [])]
    return (three_digits(1e3 * row.value), spread, *(_beside(known, (case.id, key), unit) for key, unit in more))


def _beside(known: Known, key: tuple[str, str], unit: float) -> str:
    """Return another number of the case, where it was asked for and measured."""
    row = known.get(key)
    if row is None or row.status != "ok":
        return ""
    value = row.value / unit
    return three_digits(value) if value < 100 else f"{value:,.0f}"
