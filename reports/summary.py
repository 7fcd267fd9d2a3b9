"""The run in a terminal: what will be measured, the results, what failed, where the report is."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modbench.harness.core.case import Case
from modbench.harness.core.labels import Label
from modbench.harness.core.units import counted, human, human_duration
from modbench.harness.planning import foreseen
from modbench.harness.planning.plan import Plan
from modbench.reports import head, inference, logs, skipped, sweep_table, terminal_tables, text_table
from modbench.reports.accuracy import TaskResult, results
from modbench.reports.load import Loaded
from modbench.reports.machine import machine_check, warnings
from modbench.reports.style import name
from modbench.reports.terminal_tables import APART_MARK, APART_WORDS, DISTURBED_MARK, FUTURE_MARK, TAIL_MARK
from modbench.reports.text_table import aligned, wrapped

# Shown in a table of their own, in one unit.
LOSSES = ("loss/val", "loss/val_causal", "bpb/val")
# Most rows of a table of prefill or decode.
MOST_SERVED = 24
# Failed cases and skipped models that are named; the rest are counted.
MOST_FAILED = 24


def opening(plan: Plan) -> str:
    """Return what is printed before anything runs: the plan, and what its seeds can decide on tasks."""
    suite = plan.suite
    threads = f", {suite.threads} thread{'s' * (suite.threads != 1)}" if plan.device == "cpu" else ""
    cases, least = len(plan.cases), sum(not plan.on_request(unit) for unit in plan.units)
    most = round(sum(plan.shares().values()))
    units = f"{least} to {most}" if least < most else str(least)
    dtypes = "/".join(suite.grid.dtype) + (", compiled" if suite.compile else "")
    line = (
        f"{suite.name}: {counted(cases, 'case')} in {units} unit{'s' * (units != '1')} on {plan.device}{threads}, {dtypes}; "
        f"{suite.effort}: {suite.launches_in_words}"
    )
    return "\n".join([line, *wrapped(list(filter(None, [foreseen.in_words(plan)])), text_table.width())])


def closing(loaded: Loaded, page: Path | str, wall_s: float | None) -> str:
    """Return the tables, the answer in words, what to doubt, failures, and the report's path, or what to say in its place."""
    width = text_table.width()
    swept = sweep_table.tables(loaded, width)  # a table of all sizes would mix them
    lines = _tables(loaded, swept, width) if loaded.measured else []
    for sentence in warnings(loaded):  # before anything that they are about
        lines = [*wrapped([f"⚠ {sentence}"], width), "", *lines]
    told = head.head(loaded)
    for title, sentences in (
        ("", [told.answer] if loaded.measured else []),
        ("", sweep_table.details(loaded) if swept else told.details),
        ("How sure: ", [" ".join(told.sure)]),
        ("What to doubt: ", [" ".join(told.doubts)]),
    ):
        said = wrapped([f"{title}{sentence}" for sentence in sentences if sentence], width)
        lines += [*said, ""] if said else []
    lines += [*troubles(loaded), *_spent(loaded, width)]
    took = f" ({human_duration(wall_s)})" if wall_s is not None else ""
    lines += ["", f"report: {page}{took}"]
    return "\n".join(lines)


def _tables(loaded: Loaded, swept: list[str], width: int) -> list[str]:
    """Return all tables, with what their marks mean above them."""
    lines = swept or terminal_tables.tables(loaded, width)
    lines = [*lines, *_tasks(loaded, width), *_others(loaded, width, of_sweep=bool(swept)), *_served(loaded)]
    return [*_legend(loaded, lines, width, of_sweep=bool(swept)), *lines]


def _legend(loaded: Loaded, lines: Sequence[str], width: int, *, of_sweep: bool) -> list[str]:
    """Explain the marks that occur in the tables, and against what ratios are."""
    text, anchor = "\n".join(lines), loaded.arms[0] if loaded.arms else None
    if anchor is None or "×" not in text:
        return []
    against = sweep_table.baseline(loaded) if of_sweep else name(anchor)
    said = [f"Ratios: {against} ÷ the row's; above 1× the row is better. ± is half the 95 % interval."]
    glyphs = {"▲": "faster", "▼": "slower", "≈": "equal", "△": "different", "?": "undecided"}
    used = [f"{glyph} {word}" for glyph, word in glyphs.items() if re.search(rf"\d{re.escape(glyph)}", text)]
    said += [f"{', '.join(used)}."] if used else []
    said = [" ".join(said)]
    if FUTURE_MARK in text:
        beside = f"{name(anchor)}, or both sides, " if anchor.arm in _readers(loaded) else ""
        said.append(f"{FUTURE_MARK} {beside}{Label.NOT_AUTOREGRESSIVE}: not comparable with a causal loss")
    if DISTURBED_MARK in text:
        said.append(f"{DISTURBED_MARK} contaminated: the machine was disturbed, its wall time supports no claim")
    if TAIL_MARK in text:
        said.append(f"{TAIL_MARK} {Label.TAIL}: typical calls (shown) and the mean disagree; comparisons.csv has both")
    if re.search(rf"{APART_MARK}\d", text):
        said.append(APART_WORDS)
    return [*wrapped(said, width), ""]


def _readers(loaded: Loaded) -> set[str]:
    """Return the arms that read later tokens."""
    return {case.arm for case in loaded.labelled().get(Label.NOT_AUTOREGRESSIVE, [])}


def troubles(loaded: Loaded) -> list[str]:
    """Name the models that were skipped as a whole and the cases that failed, each with the reason."""
    width = text_table.width()
    return [*_skipped(loaded, width), *_failures(loaded, width)]


def _skipped(loaded: Loaded, width: int) -> list[str]:
    """Name the models that were skipped as a whole, with the reason."""
    said = list(skipped.skipped(loaded))
    lines = wrapped(said[:MOST_FAILED], width)
    if len(said) > MOST_FAILED:
        lines.append(f"and {len(said) - MOST_FAILED:,} more were skipped: cases.csv has the reason of each")
    return lines


def _failures(loaded: Loaded, width: int) -> list[str]:
    """Name the cases that failed, with the reason and the log."""
    known, failed = logs.logs(loaded.run), list(loaded.failed.groupby("case_id", sort=False))
    lines = list[str]()
    for case, rows in failed[:MOST_FAILED]:
        reason = str(rows.reason.iloc[0])
        reason = logs.in_run_folder(f"{reason}{logs.beside(reason, known, str(case), rows.metric)}", loaded.path)
        lines += wrapped([f"failed: {case}: {reason} ({', '.join(rows.metric)})"], width)
    if len(failed) > MOST_FAILED:
        lines.append(f"and {len(failed) - MOST_FAILED:,} more cases failed: cases.csv has the reason of each")
    return lines


def _spent(loaded: Loaded, width: int) -> list[str]:
    """Say what share of the time went into measuring, and how busy this process was beside it."""
    facts = []
    if loaded.inside is not None:
        facts.append(f"{loaded.inside:.0%} of the wall time inside measured or trained work")
    if loaded.parent_share is not None:
        facts.append(f"this process beside timed ones: {loaded.parent_share:.2%} of a core")
    return wrapped(["; ".join(facts)], width) if facts else []


def _others(loaded: Loaded, width: int, *, of_sweep: bool) -> list[str]:
    """Return values of requested metrics that the table of ratios lacks, as many as fit in the width."""
    if not loaded.lengths:
        return []
    length = loaded.lengths[-1]
    shown = {*terminal_tables.METRICS, "flops/train_step", *LOSSES}
    shown |= {served.rate for served in inference.SERVED}
    known = loaded.tables.metrics
    left = [metric for metric in loaded.run.plan.suite.metrics if metric not in shown and not known[metric].task]
    arms = sweep_table.best(loaded) if of_sweep else [loaded.arms[0], *loaded.arms_shown]
    if of_sweep:  # its table has the confirmed losses; rates were tried at one size alone
        left = [metric for metric in left if metric not in sweep_table.ELSEWHERE]
    rows = [[f"values at T={length}{_batch(loaded, left, length)}"], *([name(case)] for case in arms)]
    kept = 0
    for metric in left:
        wider = [
            [*row, text]
            for row, text in zip(rows, [metric, *(_value(loaded, case, metric, length) for case in arms)], strict=True)
        ]
        if kept and len(aligned(wider)[0]) > width:
            break
        rows, kept = wider, kept + 1
    if not kept:
        return []
    rest = [f"and {', '.join(left[kept:])}: in cases.csv"] if left[kept:] else []
    found = loaded.cases[(loaded.cases.seq_len == length) & (loaded.cases.status == "skipped")]
    for metric in left[:kept]:
        rest += [f"– {metric}: {reason}" for reason in found[found.metric == metric].reason.unique()[:1]]
    return [*aligned(rows), *(line for each in rest for line in textwrap.wrap(each, width)), ""]


def _batch(loaded: Loaded, metrics: Sequence[str], length: int) -> str:
    """Name the batch size whose values `Loaded.case` gives, where several were measured at this length: `, B=1`."""
    found = loaded.cases[(loaded.cases.seq_len == length) & loaded.cases.metric.isin(metrics)]
    if found.batch_size.nunique() < 2:
        return ""
    first = dict.fromkeys(found.drop_duplicates(["arm", "metric"]).batch_size)
    return f", B={'/'.join(str(each) for each in sorted(first))}"


def _served(loaded: Loaded) -> list[str]:
    """Return times, rates and bytes of prefill and decode; of a long table the first rows."""
    lines = []
    for served in inference.SERVED:
        header, rows = inference.table(loaded, served)
        if not rows:
            continue
        lines += aligned([[served.title.lower(), *header[1:]], *map(list, rows[:MOST_SERVED])])
        lines += [f"and {len(rows) - MOST_SERVED} more: in the report"] if len(rows) > MOST_SERVED else []
        lines.append("")
    return lines


def _tasks(loaded: Loaded, width: int) -> list[str]:
    """Return accuracy by arm and task, as many tasks side by side as fit; the best shortcut below."""
    left, lines = results(loaded), list[str]()
    while left:
        kept = len(left)
        while kept > 1 and len(_accuracies(loaded, left[:kept])[0]) > width:
            kept -= 1
        lines += [*_accuracies(loaded, left[:kept]), ""]
        left = left[kept:]
    return lines


def _accuracies(loaded: Loaded, tasks: list[TaskResult]) -> list[str]:
    rows = [["accuracy", *(task.name for task in tasks)]]
    for case in loaded.arms:
        cells = [_accuracy(task, case.arm) for task in tasks]
        if any(cells):
            rows.append([name(case), *cells])
    return aligned([*rows, ["best shortcut", *(f"{task.shortcut[1]:.1%}".ljust(11) for task in tasks)]])


def _accuracy(task: TaskResult, arm: str) -> str:
    """Format an accuracy with the seeds that solved the task, or ± half its interval: over seeds, or over questions."""
    for each in task.arms:
        if each.case.arm == arm:
            if task.why_not is None and each.seeds > 1:
                return f"{each.value:.1%} {each.solved}/{each.seeds}".ljust(11)
            low, high = (each.low, each.high) if each.low is not None and each.high is not None else each.questions
            return f"{each.value:.1%} ±{(high - low) / 2:.1%}".ljust(11)
    return "failed" if arm in task.failed else ""


def _value(loaded: Loaded, case: Case, metric: str, length: int) -> str:
    row = loaded.case(case.arm, metric, length)
    if row is None:
        return ""
    if row.status != "ok":
        return "failed" if row.status == "failed" else "–"
    return human(float(row.value), str(row.unit)).strip()


def as_json(loaded: Loaded, page: Path, wall_s: float | None) -> dict[str, Any]:
    """Return the results as JSON values: comparisons as rows, null where there is no value."""
    rows = loaded.comparisons.astype(object).to_dict(orient="records")
    return {
        "run": str(loaded.path),
        "report": str(page),
        "wall_s": wall_s,
        "measured": loaded.measured,
        "device": loaded.run.plan.device,
        "machine_check": machine_check(loaded)[1],
        "failed": sorted(set(loaded.failed.case_id)),
        "missing_units": loaded.run.missing,
        "launches": [decided.model_dump() | {"capped": decided.capped} for decided in loaded.run.decisions.values()],
        "comparisons": [{key: _plain(value) for key, value in row.items()} for row in rows],
    }


def _plain(value: object) -> object:
    """Convert a table's cell to what JSON can hold."""
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
