"""What do single components take, timed with pytest-benchmark and imported beside the run?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from modbench.extend import (
    Block,
    Code,
    DataTable,
    Estimate,
    Loaded,
    Note,
    Section,
    Sentence,
    Table,
    Value,
    count,
    flag,
    number,
    text,
)
from modbench.plugins.components.imported import Component, Components, kept

NO_VERDICT = "one process: no processes, so no interval and no verdict"
HEAD = (
    *("component", "median [middle half]", "shortest", "samples × calls", "FLOP rate", "byte rate"),
    *("source", "measured", "processor"),
)
# Rows that are shown at most.
MOST_ROWS = 200


class Timed(NamedTuple):
    """A component, the file that it was imported from, and whether that was made on the run's processor."""

    one: Component
    file: Components
    same_cpu: bool

    def per_s(self, amount: float | None) -> float | None:
        """Return an amount by the median time; None where it is not known."""
        return amount / self.one.median_s if amount and self.one.median_s else None


def timed(loaded: Loaded) -> list[Timed]:
    """Return the imported benchmarks; none if nothing was imported.

    Raises:
        DamagedError: if an imported file is damaged.
    """
    cpu = loaded.run.environment["cpu"]
    return [Timed(each, file, file.cpu == cpu) for file in kept(loaded.path) for each in file.components]


TABLE = DataTable[Timed](
    "components",
    "an imported benchmark of a single component",
    (
        text("source", "file that it was imported from", lambda row: row.file.source),
        text("name", "name of the benchmark", lambda row: row.one.name),
        text("group", "its group", lambda row: row.one.group),
        count("rounds", "samples", lambda row: row.one.rounds),
        count("iterations", "calls of a sample", lambda row: row.one.iterations),
        number("min_s", "shortest sample", lambda row: row.one.min_s, "s"),
        number("q1_s", "first quartile", lambda row: row.one.q1_s, "s"),
        number("median_s", "median", lambda row: row.one.median_s, "s"),
        number("q3_s", "third quartile", lambda row: row.one.q3_s, "s"),
        number("mean_s", "mean", lambda row: row.one.mean_s, "s"),
        number("flops", "FLOPs of a call, as the benchmark names them", lambda row: row.one.flops, "FLOP"),
        number("bytes", "bytes of a call, as the benchmark names them", lambda row: row.one.bytes, "B"),
        number("flop_per_s", "FLOPs by the median time", lambda row: row.per_s(row.one.flops), "FLOP/s"),
        number("bytes_per_s", "bytes by the median time", lambda row: row.per_s(row.one.bytes), "B/s"),
        text("cpu", "processor that the file names", lambda row: row.file.cpu),
        flag("same_cpu", "whether it is the run's", lambda row: row.same_cpu),
        text("verdict", "always null", lambda _: None),
        text("reason", "why there is no verdict", lambda _: NO_VERDICT),
    ),
    timed,
)


def blocks(loaded: Loaded) -> Iterator[Block]:
    """Return a row per benchmark, with the quartiles of its one process; nothing where nothing was imported."""
    rows = [*map(_shown, timed(loaded))]
    if not rows:
        return
    yield Table("single components", HEAD, rows, file="components.csv", rows_are="components").first(MOST_ROWS)
    yield Note(
        "Each was timed alone by pytest-benchmark, in one process: these times say where time goes, but other processes may "
        "differ by more than their spread, so that there is no interval and no verdict. Rates are those of the median. Times of "
        "another processor than that of the run do not compare with its own."
    )


def _shown(row: Timed) -> Sequence[Value]:
    each, cpu = row.one, row.file.cpu or "not named"
    rates = ((row.per_s(each.flops), "FLOP"), (row.per_s(each.bytes), "B"))
    return (
        Code(each.name),
        Estimate(each.median_s, each.q1_s, each.q3_s, unit="s"),
        Estimate(each.min_s, unit="s"),
        Sentence("{rounds} × {calls}", rounds=each.rounds, calls=each.iterations),
        *(Sentence("{rate}/s", rate=Estimate(rate, unit=unit)) if rate else None for rate, unit in rates),
        row.file.source,
        row.file.measured[:10],
        cpu if row.same_cpu else f"another processor: {cpu}",
    )


READING = (
    "Times of single components from pytest-benchmark, imported into this run by `modbench convert`. They were measured in one "
    "process, so that they have no interval over processes and no verdict: they show where time goes, not what is faster."
)

SECTION = Section(
    title="Single components",
    order=72,
    span=12,
    render=blocks,
    folded=True,
    told=True,
    reading=READING,
    tables=[TABLE],
)
