"""What do single components take, timed with pytest-benchmark and imported beside the run?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from modbench.harness.results.components import Component, Components, kept
from modbench.reports.model import Block, Code, Estimate, Note, Sentence, Table, Value
from modbench.reports.panel import Panel
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.data import frame

COLUMNS = (
    *("source", "name", "group", "rounds", "iterations", "min_s", "q1_s", "median_s", "q3_s", "mean_s"),
    *("flops", "bytes", "flop_per_s", "bytes_per_s", "cpu", "same_cpu", "verdict", "reason"),
)
NO_VERDICT = "one process: no launches, so no interval and no verdict"
HEAD = ("component", "median [middle half]", "shortest", "samples × calls", "FLOP rate", "byte rate")
# Rows that are shown at most.
MOST_ROWS = 200


def table(loaded: Loaded) -> pd.DataFrame:
    """Return `components.csv`: a row for each imported benchmark; no row if nothing was imported.

    Raises:
        DamagedError: if an imported file is damaged.
    """
    rows = [
        {
            "source": file.source,
            **each.model_dump(include={*COLUMNS} - {"source"}),
            "flop_per_s": _rate(each.flops, each.median_s),
            "bytes_per_s": _rate(each.bytes, each.median_s),
            "cpu": file.cpu,
            "same_cpu": file.cpu == loaded.run.environment["cpu"],
            "verdict": None,
            "reason": NO_VERDICT,
        }
        for file in kept(loaded.path)
        for each in file.components
    ]
    return frame(rows, COLUMNS)


def _rate(amount: float | None, seconds: float) -> float | None:
    return amount / seconds if amount and seconds else None


def blocks(loaded: Loaded) -> Iterator[Block]:
    """Return a row per benchmark, with the quartiles of its one process; nothing where nothing was imported."""
    files = kept(loaded.path)
    rows = [_shown(each) for file in files for each in file.components]
    if not rows:
        return
    yield Table("single components", HEAD, rows, file="components.csv", rows_are="components").first(MOST_ROWS)
    about = " ".join(_source_line(loaded, file) for file in files)
    yield Note(
        f"{about} Each was timed alone, in one process: these times say where time goes, but other launches may differ by more "
        "than their spread, so that there is no interval and no verdict. Rates are those of the median."
    )


def _shown(each: Component) -> Sequence[Value]:
    rates = [(each.flops, "FLOP"), (each.bytes, "B")]
    return (
        Code(each.name),
        Estimate(each.median_s, each.q1_s, each.q3_s, unit="s"),
        Estimate(each.min_s, unit="s"),
        Sentence("{rounds} × {calls}", rounds=each.rounds, calls=each.iterations),
        *(
            None
            if (per_s := _rate(amount, each.median_s)) is None
            else Sentence("{rate}/s", rate=Estimate(per_s, unit=unit))
            for amount, unit in rates
        ),
    )


def _source_line(loaded: Loaded, file: Components) -> str:
    """The source of a file, and whether its machine was another than the run's."""
    where = f"{file.cpu or 'a processor that the file does not name'}"
    said = f"{file.source}: pytest-benchmark {file.version or '(version unknown)'}, {file.measured[:10] or 'no date'}, {where}."
    other = file.cpu != loaded.run.environment["cpu"]
    return f"{said} Another processor than that of the run: do not compare times." if other else said


READING = (
    "Times of single components from pytest-benchmark, imported into this run by `modbench convert`. They were measured in one "
    "process, so that they have no interval over processes and no verdict: they show where time goes, not what is faster."
)

PANEL = Panel(
    title="Single components",
    order=72,
    span=12,
    render=blocks,
    folded=True,
    told=True,
    reading=READING,
    tables={"components": table},
)
