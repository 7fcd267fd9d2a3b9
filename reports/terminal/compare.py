"""Comparisons as text for a terminal and as JSON: one run along an axis, and runs side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import asdict
from itertools import chain, repeat
from typing import Any

from modbench.harness.core.plain_text import escaped
from modbench.reports.blocks import Sentence
from modbench.reports.markup import data, text
from modbench.reports.markup.number_format import plain
from modbench.reports.markup.short import explained
from modbench.reports.markup.text import joined, wrapped
from modbench.reports.questions import compare_axis, compare_runs
from modbench.reports.questions.compare_axis import BASELINE, AlongAxis, Cell, Column
from modbench.reports.questions.compare_runs import Against, Compared, letter
from modbench.reports.questions.machine_check import machine_check, warnings
from modbench.reports.tables import axes
from modbench.reports.tables.cell import columns_of
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.two_runs import Pair

# Remarks on a table, with `-v` and without.
MOST_REMARKS, FEW_REMARKS = 8, 2


# --- one run along an axis


def along_axis(loaded: Loaded, along: AlongAxis, width: int, *, every: bool = False, verbose: bool = False) -> str:
    """Return the tables, how to read them, how sure they are, and what to doubt."""
    title = Sentence(
        "{path} by {axis}: speed-up over {baseline}", path=str(loaded.path), axis=along.axis, baseline=along.baseline
    )
    blocks = [wrapped([Sentence("⚠ {said}", said=each)], width) for each in reversed(warnings(loaded))]
    blocks.append(wrapped([title], width))
    blocks += [text.table(table, width) for table in compare_axis.tables(loaded, along, every=every)]
    marks = explained((line for block in blocks for line in block), margin=loaded.suite.margin)
    doubts = compare_axis.remarks(along, MOST_REMARKS if verbose else FEW_REMARKS, every=every)
    below = [("sure", machine_check(loaded)[1]), *zip(chain(["doubt"], repeat("")), doubts, strict=False)]
    blocks.append([*joined(marks, width), *text.labelled(below, width)])
    return "\n\n".join("\n".join(escaped(line, lines=False) for line in block) for block in blocks)


KEPT = (
    *("case_id", "baseline_case_id", "ratio", "difference", "ci_low", "ci_high", "ci_level"),
    *("mean_ratio", "mean_ratio_ci_low", "mean_ratio_ci_high"),
    *("median_ratio", "median_ratio_ci_low", "median_ratio_ci_high"),
    *("theoretical", "predicted", "detectable"),
    *("verdict", "paired", "status", "reason", "labels", "baseline_labels"),
)


def axis_as_dict(loaded: Loaded, table: AlongAxis) -> dict[str, Any]:
    """Return the table as JSON values: null where there is no value."""
    return {
        "run": str(loaded.path),
        "by": table.axis,
        "baseline": table.baseline,
        "baseline_by_default": table.by_default,
        "margin": loaded.suite.margin,
        "machine_check": plain(machine_check(loaded)[1]),
        "incomplete": loaded.run.incomplete,
        "columns": [_column(loaded, table, column) for column in table.columns],
        "notes": [*data.sentences(warnings(loaded)), *table.notes],
    }


def _column(loaded: Loaded, table: AlongAxis, column: Column) -> dict[str, Any]:
    best = compare_axis.best(loaded, column.metric, column.cells.values())
    rows = [_cell(table, value, column.cells[value], best) for value in table.rows if value in column.cells]
    return {"metric": column.metric.key, "unit": column.metric.unit, "fields": dict(column.heading), "rows": rows}


def _cell(table: AlongAxis, value: axes.Value, cell: Cell, best: Collection[str]) -> dict[str, Any]:
    status = "baseline" if cell.is_baseline else "skipped"
    found = cell.row or {"case_id": cell.case.id, "status": status, "reason": cell.why or None}
    known = {key: data.value(found.get(key)) for key in KEPT} | {"value": cell.value, "best": cell.case.id in best}
    return {table.axis: axes.fields(cell.case).get(table.axis) if value == BASELINE else value} | known


# --- runs side by side


def side_by_side(compared: Compared, width: int, *, verbose: bool = False) -> str:
    """Return what changed against the first run, in what the runs differ, and the rows."""
    blocks = (text.written(each, width) for _, each in compare_runs.sections(compared, every=verbose))
    return "\n\n".join("\n".join(escaped(line, lines=False) for line in each.split("\n")) for each in blocks if each)


def runs_as_dict(compared: Compared) -> dict[str, Any]:
    """Return the comparison as JSON values: null where there is no value."""
    return {
        "runs": [_run(number, loaded) for number, loaded in enumerate(compared.runs)],
        "differences": [asdict(each) for each in compared.differences],
        "unlike_machines": [each.what for each in compared.unlike],
        "margin": compared.margin,
        "against": [*map(_against, compared.against)],
    }


def _run(number: int, loaded: Loaded) -> dict[str, Any]:
    return {
        "letter": letter(number),
        "run": str(loaded.path),
        "about": compare_runs.about(loaded),
        "machine_check": plain(machine_check(loaded)[1]),
        "incomplete": loaded.run.incomplete,
        "failed": [
            {"reason": reason, "cases": [*rows.case_id.unique()], "metrics": [*rows.metric.unique()]}
            for reason, rows in loaded.failed.groupby("reason", sort=False)
        ],
        "damaged": [{"job": each.job, "reason": str(each.error)} for each in loaded.run.damaged],
        "missing_jobs": loaded.run.missing,
    }


def _against(against: Against) -> dict[str, Any]:
    verdicts, rows = Counter(row.verdict for row in against.rows), [_row(against, row) for row in against.rows]
    return {"run": against.name, "baseline": letter(0), "verdicts": verdicts, "said": against.said, "rows": rows}


def _row(against: Against, row: Pair) -> dict[str, Any]:
    (base, value), change = against.values(row), row.change()
    found: dict[str, Any] = {"case": row.case.id, "metric": row.metric.key, "unit": row.metric.unit}
    found |= {"baseline_value": base.value, "value": value.value, "ratio": None, "difference": None}
    found |= columns_of(change, "difference" if row.is_difference else "ratio")
    found |= {"ci_level": None if change.low is None else change.level}
    return found | {"verdict": row.verdict, "reason": data.value(row.why)}
