"""The anchor's own time, to which all others are ratios: judged against how much earlier runs of the same machine differ.

A run is the unit of evidence here: runs of the same code differ by more than their launches, since each has an hour of its own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modbench.harness.core.case import Case
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.errors import UsageError
from modbench.harness.results import run_folder
from modbench.harness.stats import contamination, mean_effects
from modbench.reports.questions.gate.non_inferiority import Change, GateFinding, ratio
from modbench.reports.questions.gate.same_experiment import settings
from modbench.reports.tables import nodes
from modbench.reports.tables.outcomes import Tables
from modbench.reports.writers.number_format import percent

# Least earlier runs from which their variation is estimated.
FEWEST_RUNS = 3
ELSEWHERE = "the anchor: no earlier run was made on this machine, so its own time is not judged"


@dataclass(frozen=True)
class History:
    """Earlier runs, and how an anchor's time is judged by them.

    Attributes:
        now: the new run.
        base: the run that it is compared with, which is one of the earlier ones.
        others: more earlier runs of the same machine.
        said: what was left out, and why.
    """

    now: Tables
    base: Tables
    others: tuple[Tables, ...] = ()
    said: tuple[str, ...] = ()

    def finding(self, case: Case, metric: Metric, margin: float) -> GateFinding:
        """Return how the anchor's own time changed, with a change to judge where the runs tell how much they differ.

        Its typical and its mean time are judged; of the two the one that counts more is returned, or both in one finding.
        """
        found = [
            self._finding(case, metric, margin, mean=mean) for mean in (False, True) if not (mean and metric.quantile)
        ]
        typical, *means = found
        for mean in means:
            if typical.changes and mean.changes:
                typical = replace(typical, changes=(*typical.changes, *mean.changes), mean=mean.typical)
            elif mean.verdict == "cannot tell" and typical.verdict != "cannot tell":
                typical = replace(mean, reason=f"mean time: {mean.reason}")
        return typical

    def _finding(self, case: Case, metric: Metric, margin: float, *, mean: bool) -> GateFinding:
        now = self._value(self.now, case, metric, mean=mean)
        here = [tables for tables in (self.base, *self.others) if same_machine(self.now, tables)]
        earlier = [value for tables in here for value in self._of(tables, case, metric, mean=mean)]
        if not earlier:
            elsewhere = math.exp(self._value(self.base, case, metric, mean=mean) - now)
            return GateFinding(
                case.id, metric=metric.key, typical=ratio(elsewhere), verdict="not compared", reason=ELSEWHERE
            )
        value, edge = statistics.fmean(earlier) - now, math.log1p(margin)
        if not math.isfinite(value):
            return GateFinding(
                case.id, metric=metric.key, verdict="cannot tell", reason="the anchor: a time is not a finite number"
            )
        busy = self.now.disturbed(case, metric)
        if busy > contamination.MOST:
            said = f"contaminated: {percent(busy, 0)} of the anchor's blocks were disturbed"
            return GateFinding(
                case.id, metric=metric.key, typical=ratio(math.exp(value)), verdict="cannot tell", reason=said
            )
        moved = ""
        if abs(value) > edge:
            moved = f"; if its code did that, unchanged arms look {'better' if value < 0 else 'worse'} by as much"
        runs = f"{len(earlier)} earlier run{'s' * (len(earlier) > 1)} of this machine"
        if len(earlier) < FEWEST_RUNS:
            said = f"the anchor: how much it differs between runs is not known from {runs} ({FEWEST_RUNS} tell: --history RUN)"
            word = "cannot tell" if value < -edge else "not compared"
            return GateFinding(
                case.id, metric=metric.key, typical=ratio(math.exp(value)), verdict=word, reason=said + moved
            )
        sd = statistics.stdev(earlier)
        change = Change(value, sd * math.sqrt(1 + 1 / len(earlier)), len(earlier) - 1, edge, edge)
        said = f"the anchor: {runs} differ by {percent(math.expm1(sd))} (standard deviation){moved}"
        if not change.passes and value >= -edge:
            # As without a history: who gives one must not fare worse for it.
            said += ", too much to exclude a slowdown above the margin"
            return GateFinding(case.id, metric=metric.key, typical=change.ratio, verdict="not compared", reason=said)
        return GateFinding(
            case.id, metric=metric.key, typical=change.ratio, verdict="cannot tell", reason=said, changes=(change,)
        )

    def _of(self, tables: Tables, case: Case, metric: Metric, *, mean: bool) -> Iterator[float]:
        """Yield the logarithm of the case's time in a run, if that measured it with the same settings."""
        if case not in tables.run.plan.cases or not tables.cell(case.id, metric.key).outcomes:
            return
        same = settings(tables, case, metric) == settings(self.base, case, metric)
        if same and tables.trouble(case, metric) is None:
            yield self._value(tables, case, metric, mean=mean)

    def _value(self, tables: Tables, case: Case, metric: Metric, *, mean: bool) -> float:
        """Return the logarithm of the case's typical or mean time in a run."""
        if not mean:
            return tables.estimate(case, metric).value
        cell, column = tables.cell(case.id, metric.key), tables.made_in(metric).column
        return statistics.fmean(
            mean_effects.undisturbed_log_mean(outcome.samples, column, cell.blocks.get(launch, {}))
            for launch, outcome in cell.good().items()
        )


def same_machine(one: Tables, other: Tables) -> bool:
    """Return whether both runs were timed on one machine, by its fingerprint."""
    machines = {node.machine for tables in (one, other) for node in nodes.timed_on(tables.run)}
    return len(machines) == 1 and None not in machines


def history(now: Tables, base: Tables, folders: Sequence[str]) -> History:
    """Read earlier runs, leaving out those that tell nothing about this machine.

    Args:
        now: the new run.
        base: the run that it is compared with.
        folders: run folders, or folders of run folders.

    Raises:
        UsageError: if a folder is neither.
    """
    known = {tables.run.path.resolve() for tables in (now, base)}
    found, said = [], []
    for path in dict.fromkeys(run for folder in folders for run in _runs_in(Path(folder))):
        if path.resolve() in known:
            continue
        known.add(path.resolve())
        try:
            tables = Tables(run_folder.read(str(path)))
        except UsageError as error:
            said.append(f"--history {path} is left out: {error}")
            continue
        if not same_machine(now, tables):
            said.append(f"--history {path} is left out: another machine")
        elif not {*now.run.plan.cases} & {*tables.run.plan.cases}:
            said.append(f"--history {path} is left out: no case in common")
        elif not tables.run.plan.suite.claims:
            said.append(f"--history {path} is left out: a smoke run makes no claims")
        else:
            if tables.run.damaged:
                said.append(f"--history {path}: {tables.run.incomplete}")
            found.append(tables)
    return History(now, base, tuple(found), tuple(said))


def _runs_in(folder: Path) -> list[Path]:
    if (folder / "run.json").is_file():
        return [folder]
    inside = sorted(file.parent for file in folder.glob("*/run.json"))
    if not inside:
        raise UsageError(f"--history {str(folder)!r} is not a run folder, and holds none.")
    return inside
