"""What a comparison has shown while its run goes on: the answer about its times, once its last process has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modbench.harness.domain.case import Job
from modbench.harness.results import run_folder
from modbench.harness.results.run_file import StoredRun
from modbench.reports.blocks import Listed, Sentence, where_it_ran
from modbench.reports.markup import text
from modbench.reports.questions import summary
from modbench.reports.tables.load import Loaded, tables_of
from modbench.reports.tables.values import Tables
from modbench.reports.wording import WORKLOADS


def answer(folder: Path, processes: Sequence[Job]) -> list[str]:
    """Return what the processes of a comparison have shown, in lines; none where nothing is claimed or compared."""
    stored = run_folder.read(str(folder))
    part = part_of(stored, processes) if stored.plan.suite.claims else None
    said = summary.answer(part) if part and not part.alone else []
    if not part or not said:
        return []
    (comparison,) = part.plan.comparisons
    timed = {job.comparison.grid_point for job in stored.plan.jobs if job.facts.timed}
    what, grid_point = WORKLOADS[comparison.metrics[0]], where_it_ran(comparison.grid_point, timed)
    line = Sentence("{what} at {grid_point}: {said}", what=what, grid_point=grid_point, said=Listed(said, " "))
    return text.wrapped([line], text.width())


def part_of(stored: StoredRun, processes: Sequence[Job]) -> Loaded | None:
    """Return the tables of one timed comparison, without the rest of the run; None where it has no time of a workload.

    Verdicts are judged among the variants of one comparison (`reports/tables/claims.py`), so that what is still to be
    measured changes none of them.
    """
    first = processes[0]
    made = tuple(metric.key for metric in first.facts.makes if metric.key in WORKLOADS)
    if not made:
        return None
    # As planned: a job's own has the A/A control among its variants.
    planned = next(each for each in stored.plan.comparisons if each.label == first.comparison.label)
    cases = {case.id for case in first.comparison.variants}
    # With what was counted, from which labels and ideals come.
    jobs = tuple(
        job
        for job in stored.plan.jobs
        if job.series == first.series or (not job.series and cases & {case.id for case in job.comparison.variants})
    )
    names = {job.name for job in jobs}
    comparison = planned.model_copy(update={"metrics": made})
    plan = stored.plan.model_copy(update={"comparisons": (comparison,), "jobs": jobs})
    records = [record for record in stored.records if record.job.name in names]
    tables = Tables(replace(stored, plan=plan, records=records))
    return Loaded(tables.run, tables, *tables_of(tables))
