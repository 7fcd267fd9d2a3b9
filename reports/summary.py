"""The run in a terminal: what will be measured, the results, what failed, where the report is."""

from __future__ import annotations

import math
import shutil
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modbench.harness.core.case import Case
from modbench.harness.core.labels import Label
from modbench.harness.core.units import human, human_duration
from modbench.harness.planning.plan import Plan
from modbench.reports import inference, lead, logs
from modbench.reports.accuracy import TaskResult, results
from modbench.reports.cases import looked_ahead
from modbench.reports.load import Loaded
from modbench.reports.machine import machine_check, warnings
from modbench.reports.panel import TIMED, is_number
from modbench.reports.style import name

FUTURE_MARK, DISTURBED_MARK, TAIL_MARK = "†", "‡", "§"
# Redundant beside bits per byte.
LOSSES = ("loss/val", "loss/val_causal")
# Most rows of a table of prefill or decode.
MOST_SERVED = 24
# Failed cases that are named; the rest are counted.
MOST_FAILED = 24


def opening(plan: Plan) -> str:
    """Return the line printed before anything runs."""
    suite = plan.suite
    threads = f", {suite.threads} thread{'s' * (suite.threads != 1)}" if plan.device == "cpu" else ""
    cases, least = len(plan.cases), sum(not plan.after_pilot(unit) for unit in plan.units)
    units = f"{least} to {len(plan.units)}" if least < len(plan.units) else str(least)
    dtypes = "/".join(suite.grid.dtype) + (", compiled" if suite.compile else "")
    return (
        f"{suite.name}: {cases} cases in {units} units on {plan.device}{threads}, {dtypes}; "
        f"{suite.effort}: {suite.launches_in_words}"
    )


def closing(loaded: Loaded, page: Path, wall_s: float | None) -> str:
    """Return the table at the longest length, the answer in words, failures, and the path of the report."""
    lines = [*_table(loaded), ""]
    if any(FUTURE_MARK in line for line in lines):
        beside = [name(loaded.arms[0])] if loaded.arms[0].arm in _readers(loaded) else []
        who = f"{beside[0]}, or both sides, " if beside else ""
        lines.insert(-1, f"{FUTURE_MARK} {who}{Label.NOT_AUTOREGRESSIVE}: not comparable with a causal loss")
    if any(DISTURBED_MARK in line for line in lines):
        lines.insert(-1, f"{DISTURBED_MARK} contaminated: the machine was disturbed, its wall time supports no claim")
    if any(TAIL_MARK in line for line in lines):
        lines.insert(
            -1, f"{TAIL_MARK} {Label.TAIL}: typical calls (shown) and the mean disagree; comparisons.csv has both"
        )
    width = min(120, shutil.get_terminal_size().columns)
    lines += _tasks(loaded, width)
    lines += _others(loaded, width)
    lines += _served(loaded)
    for sentence in warnings(loaded):  # before anything that they are about
        lines = [*textwrap.wrap(f"⚠ {sentence}", width, break_on_hyphens=False), "", *lines]
    for sentence in (*lead.lead(loaded), *inference.verdicts(loaded), lead.residuals(loaded)):
        lines += textwrap.wrap(sentence, width, break_on_hyphens=False)
    known, failed = logs.logs(loaded.run), list(loaded.failed.groupby("case_id", sort=False))
    for case, rows in failed[:MOST_FAILED]:
        reason = f"{rows.reason.iloc[0]}{logs.beside(str(rows.reason.iloc[0]), known, str(case), rows.metric)}"
        said = f"failed: {case}: {reason} ({', '.join(rows.metric)})"
        lines += textwrap.wrap(said, width, break_on_hyphens=False, break_long_words=False)  # a path stays whole
    if len(failed) > MOST_FAILED:
        lines.append(f"and {len(failed) - MOST_FAILED:,} more cases failed: cases.csv has the reason of each")
    lines += _measurement_notes(loaded, width)
    took = f" ({human_duration(wall_s)})" if wall_s is not None else ""
    lines += ["", f"report: {page}{took}"]
    return "\n".join(lines)


def _readers(loaded: Loaded) -> set[str]:
    """Return the arms that read later tokens."""
    return {case.arm for case in loaded.labelled().get(Label.NOT_AUTOREGRESSIVE, [])}


def _measurement_notes(loaded: Loaded, width: int) -> list[str]:
    """List labels, contaminated comparisons, the machine's verdict, and the share of time spent measuring."""
    said = [f"{label}: {', '.join(name(case) for case in cases)}" for label, cases in loaded.labelled().items()]
    words = loaded.comparisons.verdict.value_counts().to_dict()
    if "contaminated" in words:
        said.append(
            f"{words['contaminated']} comparisons are contaminated: the report says by what, and shows CPU times"
        )
    said.append(machine_check(loaded)[1])
    facts = [f"margin {loaded.run.plan.suite.margin:.1%}"]
    if loaded.inside is not None:
        facts.append(f"{loaded.inside:.0%} of the wall time inside measured or trained work")
    if loaded.parent_share is not None:
        facts.append(f"this process beside timed ones: {loaded.parent_share:.2%} of a core")
    said.append("; ".join(facts))
    return ["", *(line for each in said for line in textwrap.wrap(each, width, break_on_hyphens=False))]


def _columns(length: int) -> list[tuple[str, str, int | None]]:
    """Return (title, metric, length) of the columns of the table of ratios."""
    return [
        *((f"{title.removesuffix(' pass')} T={length}", metric, length) for title, metric in TIMED),
        ("FLOPs", "flops/forward", length),
        ("memory", "memory/peak_allocated", length),
        ("KV cache", "memory/kv_cache", length),
        ("bits/byte", "bpb/val", None),
    ]


def _table(loaded: Loaded) -> list[str]:
    """Return the lines of the table of ratios to the baseline, at the longest length."""
    if not loaded.lengths or len(loaded.arms) < 2:
        return []
    asked = [column for column in _columns(loaded.lengths[-1]) if column[1] in loaded.run.plan.suite.metrics]
    if not asked:
        return []
    head = ["against " + loaded.arms[0].arm, *(title for title, _, _ in asked)]
    body = [[name(case), *(_cell(loaded, case.arm, metric, t) for _, metric, t in asked)] for case in loaded.arms_shown]
    left_out = len(loaded.arms) - 1 - len(body)
    return [*_aligned([head, *body]), *([f"and {left_out:,} more arms: in comparisons.csv"] if left_out else [])]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Align the first column left and the others right.

    Not with rich: it strips a right-aligned cell, and the blank that replaces a † keeps numbers aligned.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _others(loaded: Loaded, width: int) -> list[str]:
    """Return values of requested metrics that the table of ratios lacks, as many as fit in the width."""
    if not loaded.lengths:
        return []
    length = loaded.lengths[-1]
    shown = {metric for _, metric, _ in _columns(length)} | {"flops/train_step", *LOSSES}
    shown |= {served.rate for served in inference.SERVED}
    known = loaded.tables.metrics
    left = [metric for metric in loaded.run.plan.suite.metrics if metric not in shown and not known[metric].task]
    arms = [loaded.arms[0], *loaded.arms_shown]
    rows = [[f"values at T={length}"], *([name(case)] for case in arms)]
    kept = 0
    for metric in left:
        wider = [
            [*row, text]
            for row, text in zip(rows, [metric, *(_value(loaded, case, metric, length) for case in arms)], strict=True)
        ]
        if kept and len(_aligned(wider)[0]) > width:
            break
        rows, kept = wider, kept + 1
    if not kept:
        return []
    rest = [f"and {', '.join(left[kept:])}: in cases.csv"] if left[kept:] else []
    found = loaded.cases[(loaded.cases.seq_len == length) & (loaded.cases.status == "skipped")]
    for metric in left[:kept]:
        rest += [f"– {metric}: {reason}" for reason in found[found.metric == metric].reason.unique()[:1]]
    return [*_aligned(rows), *(line for each in rest for line in textwrap.wrap(each, width)), ""]


def _served(loaded: Loaded) -> list[str]:
    """Return times, rates and bytes of prefill and decode; of a long table the first rows."""
    lines = []
    for served in inference.SERVED:
        header, rows = inference.table(loaded, served)
        if not rows:
            continue
        lines += _aligned([[served.title.lower(), *header[1:]], *map(list, rows[:MOST_SERVED])])
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
    return _aligned([*rows, ["best shortcut", *(f"{task.shortcut[1]:.1%}".ljust(11) for task in tasks)]])


def _accuracy(task: TaskResult, arm: str) -> str:
    """Format an accuracy ± half its interval: over seeds if there are three, else over questions."""
    for each in task.arms:
        if each.case.arm == arm:
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


def _cell(loaded: Loaded, arm: str, metric: str, length: int | None) -> str:
    row = loaded.pair(arm, metric, length)
    if row is None:
        return ""
    if row.status != "ok":
        return "failed" if row.status == "failed" else "–"
    if not is_number(row.ratio):
        spread = f" ±{(row.ci_high - row.ci_low) / 2:.3f}" if is_number(row.ci_low) else ""
        return f"{row.difference:+.3f}{spread}{FUTURE_MARK if looked_ahead(row) else ' '}"
    spread = f" ±{(row.ci_high - row.ci_low) / 2:.2f}" if is_number(row.ci_low) else ""
    tail = isinstance(row.labels, str) and Label.TAIL in row.labels.split(";")
    mark = DISTURBED_MARK if row.verdict == "contaminated" else TAIL_MARK if tail else ""
    return f"{row.ratio:.2f}×{spread}{mark}"


def as_json(loaded: Loaded, page: Path, wall_s: float | None) -> dict[str, Any]:
    """Return the results as JSON values: comparisons as rows, null where there is no value."""
    rows = loaded.comparisons.astype(object).to_dict(orient="records")
    return {
        "run": str(loaded.path),
        "report": str(page),
        "wall_s": wall_s,
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
