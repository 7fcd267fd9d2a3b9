"""Prefill, decode and requests: time, speed-up, rates and bytes of every variant by length and batch size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modbench.reports.model import Estimate, Finding, Table, Value, where_it_ran
from modbench.reports.questions import requests, results
from modbench.reports.section import Section
from modbench.reports.tables.load import Loaded, subsample_evenly
from modbench.reports.wording import WORKLOADS, in_title

# What stands beside the time of each workload: titles by metric. A column without any number is left out.
BESIDE: Mapping[str, Mapping[str, str]] = {
    "latency/prefill": {"ttft": "first token", "tokens_per_s/prefill": "tokens/s"},
    "latency/decode": {
        "latency/decode/p50": "p50",
        "latency/decode/p95": "p95",
        "tpot": "per token",
        "tokens_per_s/decode": "tokens/s",
        "tokens_per_s/greedy": "tokens/s, greedy",
        "memory/kv_cache": "KV cache",
    },
    requests.REQUEST: {"tokens_per_s/request": "tokens/s"},
}
# What prefill and decode steps, measured apart, predict of a request, and what part of it was measured.
PREDICTED = ("prefill + N steps", "measured ÷ that")
# Rows of a table that the page holds at most; of more, so many that lie evenly among them.
MOST_ROWS = 500


def table(loaded: Loaded, metric: str) -> Table | None:
    """Return a row for every variant at every length and batch size, by the time of a workload.

    None where that was not planned.
    """
    grid_points = list(dict.fromkeys(each.grid_point for each in loaded.plan.comparisons if metric in each.metrics))
    rows = [
        [case, where_it_ran(grid_point, grid_points), *_cells(loaded, metric, found)]
        for grid_point in grid_points
        for case in loaded.shown
        if isinstance(found := results.cell(loaded, metric, case, grid_point), Finding)
    ]
    ratio = f"over {in_title(loaded.baseline)} [95 %]"
    head = (WORKLOADS[metric], "where", "time", ratio, *PREDICTED, *BESIDE[metric].values())
    kept = [at for at in range(len(head)) if at == 0 or any(row[at] is not None for row in rows)]
    few = [[row[at] for at in kept] for row in subsample_evenly(rows, MOST_ROWS)]
    left_out, titles = len(rows) - len(few), [head[at] for at in kept]
    return Table(WORKLOADS[metric], titles, few, left_out=left_out, file="comparisons.csv") if grid_points else None


def _cells(loaded: Loaded, metric: str, found: Finding) -> Iterator[Value]:
    yield _own(found)
    yield None if found.against is None else found.beside()  # of the baseline its time alone
    made = requests.request(loaded, found.case) if found.grid_point.new_tokens else None
    known = made is not None and made.measured_over_predicted is not None
    yield Estimate(made.predicted_s, unit="s") if made and known else None
    yield Estimate(made.measured_over_predicted, kind="ratio") if made and known else None
    yield from (_own(results.cell(loaded, key, found.case, found.grid_point)) for key in BESIDE[metric])


def _own(found: Value) -> Value:
    """Return the variant's own number, `failed`, or nothing where it was not asked for or not measured."""
    if not isinstance(found, Finding):
        return None
    if found.status == "failed":
        return "failed"
    return found.value if found.value is not None and found.value.value is not None else None


def render(loaded: Loaded) -> list[Table]:
    """Show a table for each workload; of decoding alone the map says it."""
    tables = [made for metric in BESIDE if (made := table(loaded, metric)) is not None]
    return tables if [each.label for each in tables] != [WORKLOADS["latency/decode"]] else []


READING = (
    "A row is a variant at one length and batch size. p50 and p95 are of single decode steps; tokens per second count all rows "
    "of the batch."
)

SECTION = Section(
    title="How fast are prefill, decode and requests?",
    order=15,
    span=12,
    render=render,
    reading=READING,
    tables=[requests.TABLE],
)
