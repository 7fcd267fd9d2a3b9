"""Everything that a run knows of one case: settings, values, doubts, raw samples, files, and how to measure it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modbench.harness.core.case import Case
from modbench.harness.core.options import typed
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.rerun_command import Again, NotAgainError
from modbench.reports.tables.unit_files import Files

# Cases up to which the page holds all, and how many it holds of more; numbers of raw samples of all of them together.
MOST_CASES, SOME_CASES, MOST_SAMPLES = 200, 100, 40_000
# Raw samples of a case by metric: its unit, whether by `launch` or `seed`, and for each its number and the samples by round.
Samples = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Details:
    """One case.

    Attributes:
        case: the case.
        settings: terms and texts.
        rows: rows of `cases.csv` as named tuples, each with its row of `comparisons.csv` against the baseline, if there is one.
        doubts: sentences.
        files: records, then logs.
        command: measures it again; None where no command does.
        no_command: why not.
    """

    case: Case
    settings: list[tuple[str, str]]
    rows: list[tuple[Any, Any | None]]
    doubts: list[str]
    files: list[str]
    command: str | None
    no_command: str


def shown(loaded: Loaded) -> list[Case]:
    """Return the cases that the page holds: all, or of many those of the arms and lengths that figures show."""
    every = loaded.run.plan.cases
    if len(every) <= MOST_CASES:
        return every
    arms = {case.arm for case in (loaded.arms[0], *loaded.arms_shown)}
    lengths = set(loaded.lengths_shown)
    return [case for case in every if case.arm in arms and case.place.seq_len in lengths][:SOME_CASES]


def details(loaded: Loaded, cases: Sequence[Case]) -> list[Details]:
    """Return the details of these cases."""
    again, files = Again(loaded.run), Files(loaded.run, {case.id for case in cases})
    beside = {(row.case_id, row.metric): row for row in loaded.comparisons.itertuples(index=False)}
    wanted = loaded.cases[loaded.cases.case_id.isin([case.id for case in cases])]
    rows: dict[str, list[tuple[Any, Any | None]]] = {}
    for row in wanted.itertuples(index=False):
        rows.setdefault(str(row.case_id), []).append((row, beside.get((row.case_id, row.metric))))
    made = []
    for case in cases:
        try:
            command, why = again.command([case]), ""
        except NotAgainError as error:
            command, why = None, str(error)
        found = [*files.records(case.id), *files.logs(case.id)]
        values = rows.get(case.id, [])
        made.append(Details(case, _settings(loaded, case), values, _doubts(loaded, case, values), found, command, why))
    return made


def _settings(loaded: Loaded, case: Case) -> list[tuple[str, str]]:
    place, suite = case.place, loaded.run.plan.suite
    threads = f", {place.threads} thread{'s' * (place.threads != 1)}" if place.device == "cpu" else ""
    differs = ", ".join(f"{key} = {value}" for key, value in json.loads(case.config_diff()).items() if key != "options")
    params = loaded.tables.counted(case).params
    said = [
        ("Model", case.model),
        *([("Options", typed(dict(case.options)))] if case.options else []),
        ("Input", f"T = {place.seq_len:,}, B = {place.batch_size:,}, {place.dtype}"),
        ("Runs on", f"{place.device}{threads}, {place.execution}"),
        ("Parameters", "not counted" if params is None else f"{params:,}"),
        ("Not default", differs or "nothing"),
        ("Protocol", f"{suite.effort}: {suite.launches_in_words}"),
    ]
    said += [("Task", case.task)] * bool(case.task)
    return said + ([("Training FLOPs", f"{case.budget:g}")] if case.budget else [])


def _doubts(loaded: Loaded, case: Case, values: Sequence[tuple[Any, Any | None]]) -> list[str]:
    """Return labels and doubts, each with the metrics that it is about."""
    found: dict[str, list[str]] = {}
    for row, _ in values:
        said = row.labels.split(";") if isinstance(row.labels, str) else []
        said += loaded.tables.doubts_about(case, loaded.tables.metrics[row.metric]).values()
        for text in said:
            found.setdefault(text, []).append(row.metric)
    return [f"{text} ({', '.join(dict.fromkeys(metrics))})" for text, metrics in found.items()]


def samples(loaded: Loaded, cases: Sequence[Case]) -> dict[int, Samples] | None:
    """Return the raw samples by the number of the case, rounded to six digits; None if they are too many for a page."""
    found: dict[int, Samples] = {}
    count = 0
    for number, case in enumerate(cases):
        for metric in loaded.tables.metrics.values():
            cell = loaded.tables.cells.get((case.id, metric.key))
            if cell is None or metric.source or loaded.tables.made_in(metric).samples == "one":
                continue
            column = loaded.tables.made_in(metric).column
            launches = [(n, _rounds(each.samples, column)) for n, each in cell.good().items()]
            count += sum(len(values) for _, rounds in launches for values in rounds)
            if count > MOST_SAMPLES:
                return None
            if sum(len(values) for _, rounds in launches for values in rounds) > 1:
                by = loaded.tables.made_in(metric).samples.removesuffix("es").removesuffix("s")  # launch or seed
                found.setdefault(number, {})[metric.key] = {"unit": metric.unit, "by": by, "launches": launches}
    return found


def _rounds(samples: dict[str, list[float]], column: str) -> list[list[float]]:
    """Samples of one launch, round by round."""
    rounds: dict[float, list[float]] = {}
    values = samples[column]
    for number, value in zip(samples.get("round", [0.0] * len(values)), values, strict=True):
        rounds.setdefault(number, []).append(float(f"{value:.6g}"))
    return list(rounds.values())
