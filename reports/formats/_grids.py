"""Results as tables that a person reads: an arm per row, a length (or batch size) per column, one table per workload and setting.

Markdown and LaTeX print them; what a cell holds is a row of `comparisons.csv`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from modbench.harness.core.case import Case, Place
from modbench.reports.tables.load import MOST_LENGTHS, Loaded, evenly
from modbench.reports.wording.words import TIMED, is_number

# Metrics of the tables, with their titles, in the order in which they are printed.
TABLES = (
    *((title.capitalize(), metric) for title, metric in TIMED),
    ("Forward FLOPs", "flops/forward"),
    ("Peak memory of a training step", "memory/peak_allocated"),
    ("KV cache", "memory/kv_cache"),
)
# Settings of one metric that get a table of their own at most.
MOST_SETTINGS = 6


@dataclass(frozen=True)
class Grid:
    """One table.

    Attributes:
        title: what was measured.
        metric: its key.
        where: what all its cells share besides the machine, such as `B = 1, fp32`.
        axis: what its columns are, such as `T`.
        columns: values of the axis, ascending.
        baseline: the arm that all others are compared with.
        of_baseline: the baseline's value in each column, in `unit`; None where there is none.
        unit: base unit of the metric.
        rows: arms, with the row of `comparisons.csv` in each column, or None.
        left_out: arms that are not shown.
        columns_left_out: columns that are not shown.
        device: `cpu` or `cuda`.
        threads: CPU threads of a worker.
    """

    title: str
    metric: str
    where: str
    axis: str
    columns: list[int]
    baseline: Case
    of_baseline: list[float | None]
    unit: str
    rows: list[tuple[Case, list[pd.Series | None]]]
    left_out: int
    device: str
    threads: int
    columns_left_out: int = 0

    @property
    def is_time(self) -> bool:
        """Whether its ratios are of times, which have intervals."""
        return self.metric.startswith("latency/")


def grids(loaded: Loaded) -> list[Grid]:
    """Return the tables of a run; none where sizes differ between arms, so that no ratio says anything."""
    if loaded.run.plan.suite.isoflop is not None:
        return []
    asked = loaded.comparisons.metric.unique()
    return [grid for title, metric in TABLES if metric in asked for grid in _of_metric(loaded, title, metric)]


def _of_metric(loaded: Loaded, title: str, metric: str) -> list[Grid]:
    """Return a table for each batch size, number format and way of execution; if there is one length, batch sizes are columns."""
    rows = loaded.comparisons[loaded.comparisons.metric == metric]
    found = {str(case_id): rows.iloc[at] for at, case_id in enumerate(rows.case_id)}
    of_case = {case.id: case.place for case in loaded.run.plan.cases}
    places = list(dict.fromkeys(of_case[case_id] for case_id in found))
    over_batches = len({place.seq_len for place in places}) == 1 and len({place.batch_size for place in places}) > 1
    settings: dict[tuple[object, ...], list[Place]] = {}
    for place in places:
        fixed = place.seq_len if over_batches else place.batch_size
        settings.setdefault((fixed, place.dtype, place.execution), []).append(place)
    by_arm = {(case.arm, case.place): case.id for case in loaded.run.plan.cases}
    axis = "batch_size" if over_batches else "seq_len"
    made = []
    for theirs in list(settings.values())[:MOST_SETTINGS]:
        shown = evenly(sorted(theirs, key=lambda place: getattr(place, axis)), MOST_LENGTHS)
        made.append(_grid(loaded, (title, metric), shown, axis, by_arm, found))
    return made


def _grid(
    loaded: Loaded,
    what: tuple[str, str],
    places: list[Place],
    axis: str,
    by_arm: dict[tuple[str, Place], str],
    found: dict[str, pd.Series],
) -> Grid:
    title, metric = what
    baseline, first = loaded.arms[0], places[0]
    values = _values(loaded, metric)
    parts = [f"T = {first.seq_len:,}" if axis == "batch_size" else f"B = {first.batch_size:,}", first.dtype]
    parts += [first.execution] * (first.execution != "eager")
    rows = [(case, [found.get(by_arm.get((case.arm, place), "")) for place in places]) for case in loaded.arms_shown]
    return Grid(
        title=title,
        metric=metric,
        where=", ".join(parts),
        axis="B" if axis == "batch_size" else "T",
        columns=[getattr(place, axis) for place in places],
        baseline=baseline,
        of_baseline=[values.get(by_arm.get((baseline.arm, place), "")) for place in places],
        unit=loaded.tables.metrics[metric].unit,
        rows=[(case, cells) for case, cells in rows if any(cell is not None for cell in cells)],
        left_out=len(loaded.arms) - 1 - len(loaded.arms_shown),
        device=first.device,
        threads=first.threads,
    )


def _values(loaded: Loaded, metric: str) -> dict[str, float]:
    rows = loaded.cases[(loaded.cases.metric == metric) & (loaded.cases.status == "ok")]
    return {str(case_id): float(value) for case_id, value in zip(rows.case_id, rows.value, strict=True)}


@dataclass(frozen=True)
class Loss:
    """The loss of one arm.

    Attributes:
        case: the arm.
        value: in bits per byte, or nats per token where that was not asked for; in words.
        difference: from the baseline, with its interval if it has one; empty for the baseline.
        remark: labels, such as that it saw later tokens.
    """

    case: Case
    value: str
    difference: str
    remark: str


def losses(loaded: Loaded) -> tuple[str, list[Loss]]:
    """Return the name of the loss and a row for each arm that has one; no rows for a sweep over sizes."""
    asked = loaded.run.plan.suite.metrics
    metric = next((key for key in ("bpb/val", "loss/val_causal", "loss/val") if key in asked), None)
    if metric is None or loaded.run.plan.suite.isoflop is not None:
        return "", []
    made = []
    for case in (loaded.arms[0], *loaded.arms_shown):
        row = loaded.case(case.arm, metric)
        if row is None or row.status != "ok":
            continue
        made.append(Loss(case, f"{row.value:.4f}", _difference(loaded.pair(case.arm, metric)), _text(row.labels)))
    return {"bpb/val": "bits per byte", "loss/val_causal": "nats per token, causal"}.get(metric, "nats per token"), made


def _difference(pair: pd.Series | None) -> str:
    if pair is None or pair.status != "ok" or not is_number(pair.difference):
        return ""
    interval = f" [{pair.ci_low:+.4f}, {pair.ci_high:+.4f}]" if is_number(pair.ci_low) else ""
    return f"{pair.difference:+.4f}{interval}"


def _text(cell: object) -> str:
    return cell.replace(";", "; ") if isinstance(cell, str) else ""
