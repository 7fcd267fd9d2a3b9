"""Prefill and decode in the units that matter for serving, and where skipping starts to pay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from modbench.harness.core.case import Case
from modbench.reports.model import Estimate, Table, Value
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name

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
