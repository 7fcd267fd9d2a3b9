"""Prefill and decode in the units that matter for serving, and where skipping starts to pay.

To pay means here: the verdict on the time is *better*. Quality is another question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pandas as pd

from modbench.harness.core.case import Case
from modbench.harness.core.units import three_digits
from modbench.reports.load import Loaded
from modbench.reports.panel import is_number
from modbench.reports.style import name

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
        axis: column along which a sentence says where skipping starts to pay.
        short: the axis in a sentence, such as `T`.
        length: heading of the column of `seq_len`.
        kept: metric of the bytes that it keeps, or an empty string.
    """

    title: str
    unit: str
    time: str
    rate: str
    axis: str
    short: str
    length: str
    kept: str = ""


SERVED = (
    Served("Prefill", "ms", time="latency/prefill", rate="tokens_per_s/prefill", axis="seq_len", short="T", length="T"),
    Served(
        "Decode",
        "ms per token",
        time="latency/decode",
        rate="tokens_per_s/decode",
        axis="batch_size",
        short="B",
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


def verdicts(loaded: Loaded) -> list[str]:
    """Say for each workload at which length or batch each routed arm starts to beat dense models: one sentence each."""
    return [sentence for served in SERVED for sentence in _verdicts(loaded, served)]


def _verdicts(loaded: Loaded, served: Served) -> Iterator[str]:
    routed = [case for case in loaded.arms if case.config.capacity is not None and not case.rung]
    pairs = loaded.pairs[loaded.pairs.metric == served.time]
    if not routed or pairs.empty:
        return
    if not loaded.run.plan.suite.claims:
        yield f"{served.title}: a smoke run says nothing about where skipping pays."
        return
    if not loaded.checked:
        yield f"{served.title}: the machine was not checked, so that nothing is said about where skipping pays."
        return
    ways = {case.id: case.place.execution for case in loaded.run.plan.cases}
    for way, rows in pairs.groupby(pairs.case_id.map(ways), sort=False):
        where = f" ({way})" if len({*ways.values()}) > 1 else ""
        against = _against(loaded, rows, routed, served)
        said = [f"against {called} {', '.join(parts)}" for called, parts in against if parts]
        if said:
            yield f"{served.title}{where}: {'; '.join(said)}."


def _against(
    loaded: Loaded, rows: pd.DataFrame, routed: Sequence[Case], served: Served
) -> Iterator[tuple[str, list[str]]]:
    """Yield each dense baseline in words, and what each routed arm does against it."""
    by_arm = {case.arm: case for case in loaded.arms}
    rungs = {rung.arm: rung for rung in loaded.run.plan.ladder if rung.arm in by_arm}
    for arm, rung in rungs.items():
        target = by_arm.get(rung.target)
        if target is None:
            continue
        called = f"{name(by_arm[arm])} (those of {name(target)} at T = {rung.solved_at:,})"
        yield called, _parts(rows, [target], arm, served)
    anchor = loaded.arms[0]
    if anchor.config.capacity is None and not anchor.rung:
        yield f"{name(anchor)} of the same shape", _parts(rows, routed, anchor.arm, served)


def _parts(rows: pd.DataFrame, routed: Sequence[Case], baseline: str, served: Served) -> list[str]:
    parts = []
    for case in routed:
        found = rows[(rows.arm == case.arm) & (rows.baseline_arm == baseline)]
        if not found.empty:
            judged = list(zip(found[served.axis], found.verdict, strict=True))
            parts.append(f"{name(case)} {pays(judged, served.short)}")
    return parts


def pays(judged: Sequence[tuple[int, object]], short: str) -> str:
    """Say where the verdict becomes `better`: `pays from T = 8,192`, `does not pay here`, `pays at T = 2,048 only`.

    Args:
        judged: values of the axis with their verdicts; a place without a verdict does not pay.
        short: the axis, such as `T`.
    """
    won: dict[int, bool] = {}
    for value, verdict in judged:
        won[value] = won.get(value, True) and verdict == "better"
    values = sorted(won)
    better = [value for value in values if won[value]]
    if not better:
        return "does not pay here"
    if better == values[-len(better) :]:
        return f"pays from {short} = {better[0]:,}"
    return f"pays at {short} = {', '.join(f'{value:,}' for value in better)} only"
