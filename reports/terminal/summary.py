"""The run in a terminal: what will be measured, the results, what failed, where the report is."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modbench.harness.core.case import Case
from modbench.harness.core.labels import Label
from modbench.harness.core.units import counted, human, human_duration
from modbench.harness.planning import foreseen
from modbench.harness.planning.plan import Plan
from modbench.reports.questions import inference
from modbench.reports.questions.accuracy import TaskResult, results
from modbench.reports.sentences import evidence, first_screen, question, task_words
from modbench.reports.sentences.machine import machine_check, warnings
from modbench.reports.sentences.question import place_shown
from modbench.reports.tables import logs
from modbench.reports.tables.load import Loaded
from modbench.reports.terminal import arm_tables, pays_table, sweep_table
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import TIMED
from modbench.reports.writers import text_table
from modbench.reports.writers.inline import plain
from modbench.reports.writers.text_table import aligned, joined, wrapped

# Shown in a table of their own, in one unit.
LOSSES = ("loss/val", "loss/val_causal", "bpb/val")
# Most rows of a table of prefill or decode.
MOST_SERVED = 24
# Failed cases and skipped models that are named, and reasons where what repeats is counted.
MOST_FAILED, MOST_REASONS = 24, 4
# Lines of doubts at most.
MOST_DOUBTS = 3


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


def closing(loaded: Loaded, page: Path | str, wall_s: float | None, *, verbose: bool = False) -> str:
    """Return what a run ends with: warnings and failures, the answer, tables, how sure, what to doubt, and the report's path.

    Args:
        loaded: the run.
        page: its report, or what to say in its place.
        wall_s: how long it took in s; None: not said.
        verbose: whether all tables and sentences are printed, not those alone that answer what was asked.
    """
    width = text_table.width()
    # Before anything that they are about.
    blocks = [wrapped([f"⚠ {each}"], width) for each in reversed(warnings(loaded))]
    blocks.append(troubles(loaded, verbose=verbose))
    if loaded.measured:
        blocks += _measured(loaded, width, verbose=verbose)
    took = f" ({human_duration(wall_s)})" if wall_s is not None else ""
    text = "\n\n".join("\n".join(map(str.rstrip, block)).strip("\n") for block in blocks if block)
    return f"{text}\nreport: {page}{took}".lstrip("\n")


def _measured(loaded: Loaded, width: int, *, verbose: bool) -> Iterator[list[str]]:
    """Yield the answer, the tables, what their marks mean, how sure it is, and what to doubt."""
    suite, told = loaded.run.plan.suite, first_screen.head(loaded) if verbose else None
    swept = sweep_table.tables(loaded, width)  # a table of all sizes would mix them
    launches = f": {suite.launches_in_words}" if any(metric in suite.metrics for _, metric in TIMED) else ""
    yield wrapped([f"{suite.name} on {question.measured_on(loaded)}{launches}"], width)
    answer = first_screen.answer(loaded)
    yield wrapped([answer] if answer else [], width)
    tables = swept or arm_tables.tables(loaded, width, every=verbose)
    table = None if swept else pays_table.table(loaded)
    pays = table.lines(width) if table else []
    rest = [
        *_tasks(loaded, width),
        *_others(loaded, width, of_sweep=bool(swept)),
        *(_served(loaded) if verbose else []),
    ]
    yield [*tables, *pays, *([""] if pays else []), *rest]
    for sentence in sweep_table.details(loaded) if swept else told.details if told else _in_short(loaded):
        yield wrapped([sentence], width)
    meanings = [*(table.meanings if table else ()), *([] if verbose else ["-v: all"])]
    legend = _legend(loaded, [*tables, *pays], meanings, width, of_sweep=bool(swept))
    if told:
        yield legend
        yield wrapped([f"How sure: {' '.join(told.sure)}"] if told.sure else [], width)
        yield wrapped([f"What to doubt: {' '.join(told.doubts)}"] if told.doubts else [], width)
        yield _spent(loaded, width)
    else:
        sure = evidence.sure_in_short(loaded)
        yield [*legend, *wrapped([f"sure: {sure}"] if sure else [], width), *_doubts(loaded, width)]


def _in_short(loaded: Loaded) -> list[str]:
    """Return the sentences that the tables cannot say: which tasks were solved, and of how much what is shown."""
    return [*task_words.in_words(loaded), *filter(None, [place_shown(loaded)])]


def _doubts(loaded: Loaded, width: int) -> list[str]:
    """Say what to doubt in a few lines, what weighs most first; the others are counted."""
    said = evidence.doubts_in_short(loaded)
    lines = list[str]()
    for kept in range(len(said), 0, -1):
        more = [f"({len(said) - kept} more: -v)"] if kept < len(said) else []
        lines = wrapped([f"doubt: {' '.join([*said[:kept], *more])}"], width)
        if len(lines) <= MOST_DOUBTS:
            break
    return lines


def _legend(loaded: Loaded, lines: Sequence[str], more: Sequence[str], width: int, *, of_sweep: bool) -> list[str]:
    """Explain the marks that occur in the tables, and against what ratios are."""
    if not loaded.arms:
        return []
    text, anchor = "\n".join(lines), loaded.arms[0]
    readers = {case.arm for case in loaded.labelled().get(Label.NOT_AUTOREGRESSIVE, [])}
    who = f"{name(anchor)}, or both sides, " if anchor.arm in readers else ""
    against = sweep_table.baseline(loaded) if of_sweep else name(anchor)
    parts, said = arm_tables.legend(text, against, readers=who)
    return [*joined([*parts, *more], width), *wrapped(said, width)]


def troubles(loaded: Loaded, *, verbose: bool = True) -> list[str]:
    """Name the models that were skipped as a whole and the cases that failed, each with the reason.

    Args:
        loaded: the run.
        verbose: whether each case is named, not one for each reason.
    """
    width = text_table.width()
    return [*_skipped(loaded, width), *_failures(loaded, width, each=verbose)]


def _skipped(loaded: Loaded, width: int) -> list[str]:
    """Name the models that were skipped as a whole, with the reason."""
    said = list(_skipped_arms(loaded))
    lines = wrapped(said[:MOST_FAILED], width)
    if len(said) > MOST_FAILED:
        lines.append(f"and {len(said) - MOST_FAILED:,} more were skipped: cases.csv has the reason of each")
    return lines


def _skipped_arms(loaded: Loaded) -> Iterator[str]:
    """Yield `skipped: NAME (reason)` once per reason for every arm that has rows but was measured in none of them.

    An arm that lacks single metrics is not among them: it has other values, and those metrics have their reasons beside them.
    """
    for case in loaded.arms:
        rows = loaded.cases[loaded.cases.arm == case.arm]
        if not rows.empty and (rows.status == "skipped").all():
            for reason in dict.fromkeys(rows.reason.dropna()):
                yield f"skipped: {name(case)} ({reason})"


def _failures(loaded: Loaded, width: int, *, each: bool) -> list[str]:
    """Name the cases that failed, with the reason and the log: each, or the first of those with the same reason and metrics."""
    known = logs.logs(loaded.run)
    alike: dict[tuple[str, ...], list[str]] = {}
    for case, rows in loaded.failed.groupby("case_id", sort=False):
        alike.setdefault((str(case) * each, str(rows.reason.iloc[0]), *rows.metric), []).append(str(case))
    most, lines = MOST_FAILED if each else MOST_REASONS, list[str]()
    for (_, reason, *metrics), (first, *others) in list(alike.items())[:most]:
        said = logs.in_run_folder(f"{reason}{logs.beside(reason, known, first, metrics)}", loaded.path)
        more = f" and {len(others)} more" * bool(others)
        lines += wrapped([f"failed: {first}{more}: {said} ({', '.join(metrics)})"], width)
    left = sum(map(len, list(alike.values())[most:]))
    if left:
        lines.append(f"and {left:,} more cases failed: cases.csv has the reason of each")
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
    shown = {*arm_tables.METRICS, "flops/train_step", *LOSSES}
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
    lines = list[str]()
    for served in inference.SERVED:
        found = inference.table(loaded, served)
        if found is None:
            continue
        rows = [[plain(cell) for cell in row] for row in found.rows[:MOST_SERVED]]
        lines += aligned([[served.title.lower(), *map(plain, found.head[1:])], *rows])
        lines += [f"and {len(found.rows) - MOST_SERVED} more: in the report"] if len(found.rows) > MOST_SERVED else []
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
