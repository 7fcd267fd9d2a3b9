"""Comparisons as text for a terminal and as JSON: one run along an axis, and runs side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from modbench.harness.core.grouped import grouped
from modbench.harness.core.labels import LOOKED_AHEAD, Label
from modbench.harness.core.printable import escaped
from modbench.harness.stats.contrast import EQUIVALENT
from modbench.reports.model import Sentence, Value
from modbench.reports.questions import compare_axis, compare_runs
from modbench.reports.questions.compare_axis import BASELINE, AlongAxis, Cell
from modbench.reports.questions.compare_runs import Against, Compared, letter
from modbench.reports.questions.machine import machine_check, warnings
from modbench.reports.tables import axes
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.two_runs import MISSING, NEW, NOT_COMPARED, Pair
from modbench.reports.writers import data, text
from modbench.reports.writers.number_format import plain
from modbench.reports.writers.short import legend
from modbench.reports.writers.text import cut, joined, wrapped

# Labels that have a mark beside the number in a terminal.
MARKED = frozenset({*LOOKED_AHEAD, Label.TAIL, Label.CONTAMINATED, Label.BY_CPU})
# Reasons that are named, and rows of a run, with `-v` and without. Of more rows, what got worse, then what got better.
MOST_REASONS, FEW_REASONS = 8, 2
MOST_ROWS, FEW_ROWS = 80, 12
# Verdicts that say that nothing changed, or nothing at all: left out where there are many rows.
QUIET = (EQUIVALENT, NOT_COMPARED)


def about(loaded: Loaded) -> str:
    """Return a run in one line: suite, effort, launches, date, commit."""
    run, suite = loaded.run, loaded.suite
    commit = run.environment["git"]["commit"]
    parts = [suite.name, f"{suite.effort}: {suite.launches_in_words}", run.started[:10]]
    return ", ".join([*parts, *([f"commit {commit[:7]}"] if commit else [])])


def _joined(blocks: Iterable[Sequence[str]]) -> str:
    """Join blocks of lines, with an empty line between; a stranger's text stays on its line."""
    lines = ([escaped(line.rstrip(), lines=False) for line in block] for block in blocks)
    return "\n\n".join("\n".join(block).strip("\n") for block in lines if block)


# --- one run along an axis


def along_axis(loaded: Loaded, along: AlongAxis, width: int, *, every: bool = False, verbose: bool = False) -> str:
    """Return a table for each metric, then what must be known to read them."""
    columns = along.columns if every or verbose else along.shown()
    blocks = [wrapped([Sentence("⚠ {said}", said=each)], width) for each in reversed(warnings(loaded))]
    blocks.append(wrapped([f"{loaded.path} by {along.axis}, over {along.over}"], width))
    made = [line for table in compare_axis.tables(loaded, along, columns) for line in [*text.table(table, width), ""]]
    left = {column.metric.key: None for column in along.columns if column not in columns}
    parts, marks = legend(
        made, along.baseline, paired=not any(compare_axis.NOT_INTERLEAVED in each for each in along.notes)
    )
    said: list[Value] = [*marks, *along.notes, *compare_axis.labels(columns, 0 if verbose else 1, marked=MARKED)]
    said += compare_axis.missing(columns, MOST_REASONS if verbose else FEW_REASONS)
    said += [f"not shown: {', '.join(left)} (-v, or --metric KEY)"] if left else []
    parts.append(plain(compare_axis.margin(loaded.suite.margin)))
    return _joined([*blocks, made, [*joined(parts, width), *wrapped([*said, machine_check(loaded)[1]], width)]])


KEPT = (
    *("case_id", "baseline_case_id", "ratio", "difference", "ci_low", "ci_high", "ci_level"),
    *("mean_ratio", "mean_ci_low", "mean_ci_high", "median_ratio", "median_ci_low", "median_ci_high"),
    *("ideal", "attainable", "mde"),
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
        "columns": [
            {
                "metric": column.metric.key,
                "unit": column.metric.unit,
                "fields": dict(column.heading),
                "rows": [
                    _cell(table, value, column.cells[value], best) for value in table.rows if value in column.cells
                ],
            }
            for column in table.columns
            for best in [compare_axis.best(loaded, column.metric, column.cells.values())]
        ],
        "notes": [*data.sentences(warnings(loaded)), *table.notes],
    }


def _cell(table: AlongAxis, value: axes.Value, cell: Cell, best: Collection[str]) -> dict[str, Any]:
    found = cell.row or {"case_id": cell.case.id, "status": "baseline" if cell.is_baseline else "skipped"}
    known = {key: data.value(found.get(key)) for key in KEPT} | {"value": cell.value}
    known["best"] = cell.case.id in best
    at = axes.fields(cell.case).get(table.axis) if value == BASELINE else value
    return {table.axis: at} | known | ({"reason": cell.why} if cell.why else {})


# --- runs side by side


def side_by_side(compared: Compared, width: int, *, verbose: bool = False) -> str:
    """Return what changed against the first run, in what the runs differ, and the rows."""
    blocks = [wrapped(map(compare_runs.summary, compared.against), width)]
    blocks.append([f"{letter(i)}  {run.path}  ({about(run)})" for i, run in enumerate(compared.runs)])
    blocks.append(_differences(compared, width))
    for against in compared.against:
        whose = [f"{against.name} against {letter(0)}:"] if len(compared.against) > 1 else []
        blocks += [wrapped([*whose, *against.said], width), *_tables(against, width, verbose=verbose)]
        blocks.append(wrapped(compare_runs.reasons(against, MOST_REASONS if verbose else FEW_REASONS), width))
    blocks += [wrapped(said(compared), width) for said in (compare_runs.troubles, compare_runs.how_to_read)]
    return _joined(blocks)


def _differences(compared: Compared, width: int) -> list[str]:
    """Say in what the runs differ, as a table whose values are cut to the width."""
    table = compare_runs.differences_table(compared)
    room = max(8, (width - 24) // len(compared.runs) - 2)
    rows = [[cut(str(cell), room if at else 24) for at, cell in enumerate(row)] for row in table.rows]
    return text.table(replace(table, rows=rows), width) if rows else []


def _tables(against: Against, width: int, *, verbose: bool) -> Iterator[list[str]]:
    """Yield a table for each metric; in short of those rows alone that changed or are open."""
    rows = [row for row in against.rows if row.verdict not in {NEW, MISSING}]
    loud = [row for row in rows if row.verdict not in QUIET]
    loud.sort(key=lambda row: compare_runs.VERDICTS.index(row.verdict))
    shown = rows[:MOST_ROWS] if verbose else loud[:FEW_ROWS]
    for those in grouped((row.metric.key, row) for row in shown).values():
        yield text.table(compare_runs.table(against, those), width)
    rest = Counter(row.verdict for row in rows) - Counter(row.verdict for row in shown)
    if rest:
        words, more = "and {n} more rows: {verdicts} ({more})", "--json has all" if verbose else "-v"
        said = Sentence(words, n=rest.total(), verdicts=compare_runs.counted(rest.elements()), more=more)
        yield wrapped([said], width)


def runs_as_dict(compared: Compared) -> dict[str, Any]:
    """Return the comparison as JSON values: null where there is no value."""
    return {
        "runs": [_run(number, loaded) for number, loaded in enumerate(compared.runs)],
        "differences": [asdict(each) for each in compared.differences],
        "unlike_machines": [each.what for each in compared.unlike],
        "margin": compared.margin,
        "against": [
            {
                "run": against.name,
                "baseline": letter(0),
                "verdicts": Counter(row.verdict for row in against.rows),
                "said": against.said,
                "rows": [_row(against, row) for row in against.rows],
            }
            for against in compared.against
        ],
    }


def _run(number: int, loaded: Loaded) -> dict[str, Any]:
    return {
        "letter": letter(number),
        "run": str(loaded.path),
        "about": about(loaded),
        "machine_check": plain(machine_check(loaded)[1]),
        "incomplete": loaded.run.incomplete,
        "failed": [
            {"reason": reason, "cases": [*rows.case_id.unique()], "metrics": [*rows.metric.unique()]}
            for reason, rows in loaded.failed.groupby("reason", sort=False)
        ],
        "damaged": [{"unit": each.unit, "reason": str(each.error)} for each in loaded.run.damaged],
        "missing_units": loaded.run.missing,
    }


def _row(against: Against, row: Pair) -> dict[str, Any]:
    base, value = (each.value for each in against.values(row))
    change = row.change()
    found: dict[str, Any] = {"case": row.case.id, "metric": row.metric.key, "unit": row.metric.unit}
    found |= {"baseline_value": base, "value": value, "ratio": None, "difference": None}
    found |= {"difference" if row.is_difference else "ratio": change.value, "ci_low": change.low}
    found |= {"ci_high": change.high, "ci_level": None if change.low is None else change.level}
    return found | {"verdict": row.verdict, "reason": data.value(row.why)}
