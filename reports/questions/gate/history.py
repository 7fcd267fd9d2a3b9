"""Earlier runs of a machine: how its anchor's own time is judged by them, and how much whole runs of the same code differ.

A run is the unit of evidence: runs of the same code differ by more than their launches, since each has an hour of its own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.errors import UsageError, near_path
from modbench.harness.core.frozen import Frozen
from modbench.harness.domain.case import Case
from modbench.harness.domain.notes import FitNotes
from modbench.harness.results import run_folder
from modbench.harness.stats import contamination
from modbench.harness.stats.paired import NOT_TICKED, Paired
from modbench.reports import reasons
from modbench.reports.model import Estimate, Sentence, Value
from modbench.reports.questions.gate import run_spread
from modbench.reports.questions.gate.non_inferiority import Change, GateFinding, ratio, unnamed
from modbench.reports.questions.gate.run_spread import FEWEST_RUNS, RUN_SD, RunSpread, standard_error
from modbench.reports.tables import provenance
from modbench.reports.tables.outcomes import Tables
from modbench.reports.tables.pair_verdicts import SMOKE

# Settings of training that change no result: when it is observed, and what is kept.
NO_EFFECT = {"looks", "watch", "flips", "checkpoint_s"}
FLAG = "--history"
ELSEWHERE = "the anchor: no earlier run was made on this machine, so its own time is not judged"


def settings(tables: Tables, case: Case, metric: Metric) -> dict[str, Any]:
    """Return what a value depends on besides the case: `train.tokens` and the like."""
    suite, made_in = tables.suite, tables.made_in(metric)
    decodes = metric.workload == "decode"
    plan: Frozen | None = suite.decode if decodes else made_in.settings(suite, case)
    name = "decode" if decodes else made_in.name
    dumped = {} if plan is None else plan.model_dump(exclude=NO_EFFECT)
    found = {f"{name}.{key}": value for key, value in dumped.items()}
    budgets = [notes.budget_bytes for notes in tables.cell(case.id, metric.key).notes(FitNotes)]
    return found | {"budget": next(iter(budgets), None)}


@dataclass(frozen=True)
class History:
    """Earlier runs, and what is known by them of how runs differ.

    Attributes:
        now: the new run.
        base: the run that it is compared with, which is one of the earlier ones.
        others: more earlier runs of the same machine.
        said: what was left out, and why.
        run_sd: standard deviation of an arm's ratio between runs, as a share, where fewer than three earlier runs tell.
        flag: what names more of them on the command line.
    """

    now: Tables
    base: Tables
    others: tuple[Tables, ...] = ()
    said: tuple[str, ...] = ()
    run_sd: float = RUN_SD
    flag: str = FLAG
    _pairs: dict[str, list[list[Paired]]] = field(default_factory=dict, compare=False)
    _spreads: dict[tuple[str, str], RunSpread] = field(default_factory=dict, compare=False)

    @cached_property
    def here(self) -> list[Tables]:
        """The earlier runs of this machine."""
        return [tables for tables in (self.base, *self.others) if same_machine(self.now, tables)]

    def spread(self, metric: Metric, name: str) -> RunSpread:
        """Return how much runs differ in a field of `Paired`: measured by three earlier runs or more, else stated."""
        key = metric.key, name
        if key not in self._spreads:
            if metric.key not in self._pairs:
                self._pairs[metric.key] = self._earlier_pairs(metric) if len(self.here) >= FEWEST_RUNS else []
            found = [[getattr(pair, name) for pair in pairs] for pairs in self._pairs[metric.key]]
            known = [[each for each in effects if each and standard_error(each) is not None] for effects in found]
            self._spreads[key] = run_spread.measured(known) or run_spread.stated(self.run_sd)
        return self._spreads[key]

    def _earlier_pairs(self, metric: Metric) -> list[list[Paired]]:
        """Return each case against its anchor in every earlier run that measured both with the same settings."""
        found = []
        for comparison in self.base.plan.comparisons:
            anchor, *arms = comparison.arms if metric.key in comparison.metrics else comparison.arms[:1]
            for case in arms:
                runs = [
                    each for each in self.here if all(self._measured(each, side, metric) for side in (case, anchor))
                ]
                found.append([each.pair(metric, case, anchor) for each in runs if each.anchor(case, metric) == anchor])
        return found

    def finding(self, case: Case, metric: Metric, margin: float, *, by_cpu: bool = False) -> GateFinding:
        """Return how the anchor's own time changed, with a change to judge where the runs tell how much they differ.

        Its typical and its mean time are judged; of the two the one that counts more is returned, or both in one finding. Wall
        time that was disturbed gives way to CPU time, where that stands for the work.
        """
        unfit = reasons.sentence(self.now.cpu_unfit(metric, case) or self.base.cpu_unfit(metric, case))
        busy = self.now.disturbed(case, metric)
        if by_cpu and unfit:
            return unnamed("cannot tell", Sentence("CPU time does not count: {unfit}", unfit=unfit))
        if busy > contamination.MOST and unfit and not by_cpu:
            words = "contaminated: {busy} of the anchor's blocks were disturbed, and CPU time does not count: {unfit}"
            said = Sentence(words, busy=Estimate(busy, kind="about"), unfit=unfit)
            by_wall = self._finding(case, metric, margin, self.now.made_in(metric).column, 0)
            return unnamed("cannot tell", said, typical=by_wall.typical)
        column = "cpu_s" if by_cpu or busy > contamination.MOST else self.now.made_in(metric).column
        typical, *means = (
            self._finding(case, metric, margin, column, number) for number in range(1 if metric.quantile else 2)
        )
        for mean in means:
            if typical.changes and mean.changes:
                typical = replace(typical, changes=(*typical.changes, *mean.changes), mean=mean.typical)
            elif mean.verdict == "cannot tell" and typical.verdict != "cannot tell":
                typical = replace(mean, reason=Sentence("mean time: {reason}", reason=mean.reason))
        return replace(typical, by_cpu=column == "cpu_s")

    def _finding(self, case: Case, metric: Metric, margin: float, column: str, number: int) -> GateFinding:
        """Judge the anchor's typical time (0) or its mean time (1)."""

        def value_in(tables: Tables) -> float | None:
            logs = tables.log_times(case, metric, column)
            return statistics.fmean(each[number] for each in logs) if logs else None

        now, before = value_in(self.now), value_in(self.base)
        if now is None or before is None:
            return unnamed("cannot tell", Sentence("CPU time does not count: {why}", why=reasons.sentence(NOT_TICKED)))
        earlier = [
            value
            for tables in self.here
            if self._measured(tables, case, metric) and (value := value_in(tables)) is not None
        ]
        if not earlier:
            return unnamed("not compared", ELSEWHERE, typical=ratio(math.exp(before - now)))
        value, edge = statistics.fmean(earlier) - now, math.log1p(margin)
        if not math.isfinite(value):
            return unnamed("cannot tell", "the anchor: a time is not a finite number")
        moved = ""
        if abs(value) > edge:
            moved = f"; if its code did that, unchanged arms look {'better' if value < 0 else 'worse'} by as much"
        runs = Sentence("{n:earlier run} of this machine", n=len(earlier))
        if len(earlier) < FEWEST_RUNS:
            words = "the anchor: its spread between runs needs {n} earlier runs ({flag} RUN); known: {runs}{moved}"
            said = Sentence(words, n=FEWEST_RUNS, flag=self.flag, runs=runs, moved=moved)
            word = "cannot tell" if value < -edge else "not compared"
            return unnamed(word, said, typical=ratio(math.exp(value)))
        sd = statistics.stdev(earlier)
        change = Change(value, sd * math.sqrt(1 + 1 / len(earlier)), len(earlier) - 1, edge, edge)
        words = "the anchor: {runs} differ by {sd} (standard deviation){moved}"
        given: dict[str, Value] = {"runs": runs, "sd": Estimate(math.expm1(sd), kind="share"), "moved": moved}
        if not change.passes and value >= -edge:
            # As without a history: who gives one must not fare worse for it.
            said = Sentence(words + ", too much to exclude a slowdown above the margin", **given)
            return unnamed("not compared", said, typical=change.ratio)
        return unnamed("cannot tell", Sentence(words, **given), typical=change.ratio, changes=(change,))

    def _measured(self, tables: Tables, case: Case, metric: Metric) -> bool:
        """Whether a run measured the case with the same settings."""
        if case not in tables.plan.cases or not tables.cell(case.id, metric.key).outcomes:
            return False
        same = settings(tables, case, metric) == settings(self.base, case, metric)
        return same and tables.trouble(case, metric) is None and tables.partly(case, metric) is None


def same_machine(one: Tables, other: Tables) -> bool:
    """Return whether both runs were timed on one machine, by its fingerprint."""
    machines = {node.machine for tables in (one, other) for node in provenance.timed_on(tables.run)}
    return len(machines) == 1 and None not in machines


def history(now: Tables, base: Tables, folders: Sequence[str], run_sd: float, flag: str) -> History:
    """Read earlier runs, in folders or folders of folders, leaving out those that tell nothing about this machine.

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
        elif not {*now.plan.cases} & {*tables.plan.cases}:
            said.append(f"--history {path} is left out: no case in common")
        elif not tables.suite.claims:
            said.append(f"--history {path} is left out: {SMOKE}")
        else:
            if tables.run.damaged:
                said.append(f"--history {path}: {tables.run.incomplete}")
            found.append(tables)
    return History(now, base, tuple(found), tuple(said), run_sd, flag)


def _runs_in(folder: Path) -> list[Path]:
    if (folder / "run.json").is_file():
        return [folder]
    inside = sorted(file.parent for file in folder.glob("*/run.json"))
    if not inside:
        raise UsageError(
            f"--history {str(folder)!r} is not a run folder, and holds none.{near_path(folder, Path.is_dir)}"
        )
    return inside
