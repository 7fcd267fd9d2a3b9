"""What a comparison has shown while its run goes on: the answer about its times, once its last launch has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modbench.harness.domain.case import UnitOfWork
from modbench.harness.results import run_folder
from modbench.harness.results.run_file import StoredRun
from modbench.reports.model import Listed, Sentence, where_it_ran
from modbench.reports.questions import first_screen
from modbench.reports.tables.load import Loaded, tables_of
from modbench.reports.tables.outcomes import Tables
from modbench.reports.wording import WORKLOADS
from modbench.reports.writers import text


def answer(folder: Path, launches: Sequence[UnitOfWork]) -> list[str]:
    """Return what the launches of a comparison have shown, in lines; none where nothing is claimed or compared."""
    stored = run_folder.read(str(folder))
    part = part_of(stored, launches) if stored.plan.suite.claims else None
    said = first_screen.answer(part) if part and not part.alone else []
    if not part or not said:
        return []
    (comparison,) = part.plan.comparisons
    timed = {unit.comparison.place for unit in stored.plan.units if unit.facts.timed}
    what, place = WORKLOADS[comparison.metrics[0]], where_it_ran(comparison.place, timed)
    line = Sentence("{what} at {place}: {said}", what=what, place=place, said=Listed(said, " "))
    return text.wrapped([line], text.width())


def part_of(stored: StoredRun, launches: Sequence[UnitOfWork]) -> Loaded | None:
    """Return the tables of one timed comparison, without the rest of the run; None where it has no time of a workload.

    Verdicts are judged among the arms of one comparison (`reports/tables/pair_verdicts.py`), so that what is still to be
    measured changes none of them.
    """
    first = launches[0]
    made = tuple(metric.key for metric in first.facts.makes if metric.key in WORKLOADS)
    if not made:
        return None
    # As planned: a unit's own has the twin among its arms.
    planned = next(each for each in stored.plan.comparisons if each.label == first.comparison.label)
    cases = {case.id for case in first.comparison.arms}
    # With what was counted, from which labels and ideals come.
    units = tuple(
        unit
        for unit in stored.plan.units
        if unit.series == first.series or (not unit.series and cases & {case.id for case in unit.comparison.arms})
    )
    names = {unit.name for unit in units}
    comparison = planned.model_copy(update={"metrics": made})
    plan = stored.plan.model_copy(update={"comparisons": (comparison,), "units": units})
    records = [record for record in stored.records if record.unit.name in names]
    tables = Tables(replace(stored, plan=plan, records=records))
    return Loaded(tables.run, tables, *tables_of(tables))
