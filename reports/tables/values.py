"""A run's values by case and metric: what follows from the samples of one, why it is missing, and doubts about it."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, TypeAlias

from modbench.harness.core.config import GENERATION_KEYS
from modbench.harness.core.contracts import AnyMetric as Metric
from modbench.harness.core.errors import Unmeasured, UsageError
from modbench.harness.core.group_by import grouped
from modbench.harness.core.labels import ESCAPED, Label
from modbench.harness.domain.case import Case, Comparison
from modbench.harness.domain.evidence import CellWarning, Evidence, ProcessCount
from modbench.harness.domain.notes import CARRIER, CountNotes, TimeNotes, TrainNotes
from modbench.harness.domain.passes import Pass
from modbench.harness.planning.suite_tables import SuiteTable
from modbench.harness.registry import catalogue
from modbench.harness.results.run_file import StoredRun
from modbench.harness.stats import effects, paired, trend_test
from modbench.harness.stats.against_baseline import Process
from modbench.harness.stats.over_seeds import OverSeeds
from modbench.harness.stats.paired import Numbers
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import SEVERAL_THREADS, ByClock, Contrast, Rule, Seen, Side, contrast
from modbench.reports.reasons import in_words
from modbench.reports.tables.cell import Cell, Trouble
from modbench.reports.tables.samples import Samples
from modbench.reports.wording import name, variant_named

# The column of tokens that follow a prompt in an end-to-end request; a last one of each table.
NEW_TOKENS = "new_tokens"
# The loss whose routers decided without later tokens.
CAUSAL_LOSS = "loss/val_causal"
# Losses in nats per token, the one comparable with dense first; and all held-out losses.
PER_TOKEN = (CAUSAL_LOSS, "loss/val")
HELD_OUT = (*PER_TOKEN, "bpb/val")
# Where a number was measured, what it is, its process or seed, and its samples.
Number: TypeAlias = tuple[str, str, int, tuple[float, ...]]
# Without these nobody can tell whether two variants are one.
NEEDED = {"flops/forward", "params", "loss/val"}
NOT_COUNTED = CountNotes()


class Value:
    """One metric of one case, which a metric that is derived from another reads, too (`metrics/rates.py`).

    What follows from its samples is computed when it is first asked for.
    """

    def __init__(self, tables: Tables, case: Case, metric: Metric) -> None:
        self.tables, self.case, self.metric = tables, case, metric
        self.source, self.made_in = tables.source(metric), tables.made_in(metric)
        self.comparison = tables.comparison(case, metric)
        self.anchor = self.comparison.variants[0]
        # Its samples: of a rate those of the time that it is derived from.
        self.cell: Cell = tables.cell(case.id, self.source.key)

    @functools.cached_property
    def processes(self) -> dict[int, Process]:
        """The processes that timed the case, with all variants of its comparison."""
        return self.tables.processes_of(self.case, self.anchor, self.metric)

    @functools.cached_property
    def beside(self) -> dict[int, Process]:
        """Of these the ones in which the suite's baseline was timed, too, from which ratios come; all where there is none."""
        found = {number: each for number, each in self.processes.items() if self.anchor.id in each.variants}
        return found if 0 < len(found) < len(self.processes) else self.processes

    @functools.cached_property
    def trouble(self) -> Trouble | None:
        """Why it has no value, or None; wrong FLOPs fail the whole case, an unsteady variant its times."""
        counts = (self.tables.cell(self.case.id, key) for key in ("flops/forward", "flops/train_step"))
        for outcome in (outcome for cell in counts for _, outcome in cell.outcomes):
            if outcome.kind == "flops_mismatch":
                return Trouble("failed", f"{outcome.kind}: {outcome.reason}", outcome.kind)
        found = self.cell.trouble()
        if found is None and self.drift is not None:
            return Trouble("failed", f"not_steady: {self.drift}", "not_steady")
        if found is None and self.metric.source:
            try:
                self.metric.measure(self)
            except Unmeasured as error:
                return Trouble("skipped", str(error))
        return found

    @functools.cached_property
    def drift(self) -> str | None:
        """How the variant drifted relative to its baseline, over all processes; None if it did not, or is no timing."""
        if not self.made_in.times or self.case.id == self.anchor.id:
            return None
        timed = (each for each in self.processes.values() if self.anchor.id in each.variants)
        blocks = [each.of_blocks(self.case.id).tolist() for each in timed]
        return in_words(trend_test.drifting(blocks, len(self.comparison.variants) - 1))

    @property
    def tokens(self) -> float:
        """Tokens of one call or decode step."""
        return float(next(notes.tokens for notes in self.cell.notes(TimeNotes) if notes.tokens is not None))

    @property
    def peak(self) -> float | None:
        """The machine's measured peak in FLOP/s, for the case's number format."""
        return self.tables.peaks.get(self.case.grid_point.dtype)

    @property
    def peak_reason(self) -> str:
        """Why there is no peak."""
        return f"no peak of this machine was measured for {self.case.grid_point.dtype}"

    @property
    def counted(self) -> CountNotes:
        """Notes of the counting pass about the case."""
        return self.tables.counted(self.case)

    @property
    def factor(self) -> float:
        """The number that a derived metric divides by seconds."""
        return float(self.metric.measure(self))

    @functools.cached_property
    def estimate(self) -> effects.Effect:
        """Value and interval; times and rates on the log scale."""
        if self.made_in.samples != "processes":
            return self.tables.over_seeds(self.case, self.metric).estimate(self.case.id, self.cell.values())
        clocks = [(each.by(self.made_in.column), each.number[self.case.id]) for each in self.beside.values()]
        if self.metric.estimand == "median":
            return effects.over_processes([each.typical[at] for each, at in clocks])
        means = effects.over_processes([each.mean[at] for each, at in clocks])
        return means.mirrored().shifted(math.log(self.factor)) if self.metric.source else means

    @functools.cached_property
    def doubts(self) -> dict[str, str]:
        """What to doubt about it, by warning."""
        tables, case, metric = self.tables, self.case, self.metric
        mine, anchors = self.cell.good(), tables.value(self.anchor, metric).cell.good()
        # Processes that the anchor has too, or all if the anchor has none of them.
        numbers = [number for number in mine if number in anchors] or list(mine)
        evidence = Evidence(
            case,
            metric,
            [mine[number] for number in numbers],
            [self.processes[number] for number in numbers if number in self.processes],
            self.counted,
            tables.counted(self.anchor),
            tables.process_counts.get(self.cell.series),
            self.drift,
            tables.alike.get(case.variant, {}),
            tables.findings[self.comparison.label],
            baseline_s=tables.baseline_s(self.anchor, metric, numbers),
            timed=bool(metric.measured_by) and self.made_in.times,
            audited=tables.audited(case),
        )
        found = {name: doubt.check(evidence) for name, doubt in tables.doubts.items()}
        return {name: said for name, said in found.items() if said}

    @functools.cached_property
    def noisy(self) -> float:
        """The mean share of the case's blocks, over its processes, in which it was noisy; 0 for what is no time."""
        if not self.made_in.times or not self.processes:
            return 0.0
        return fmean(each.noisy[self.case.id] for each in self.processes.values())

    @property
    def damaged(self) -> str | None:
        """What is wrong with a file that this number, or a check of the case, should have come from; or None."""
        cells = (self.cell, self.tables.cell(self.case.original.id, CARRIER))
        return next((str(o.reason) for cell in cells for _, o in cell.outcomes if o.kind == "damaged"), None)

    @functools.cached_property
    def variant_labels(self) -> list[Label]:
        """The labels of the variant in every output, such as `not usable for generation`."""
        doubted = [label for name in self.doubts if (label := self.tables.doubts[name].label) is not None]
        # Other units of the run ran other versions of the files that its units ran.
        changed = [Label.CODE_CHANGED] * bool(self.tables.changed & self.cell.versions.keys())
        return [Label.DAMAGED] * bool(self.damaged) + doubted + changed

    @functools.cached_property
    def labels(self) -> list[Label]:
        """The labels of a row: the variant's, and what else must be known about this number."""
        notes = self.tables.notes_of(self.case, self.metric.key, TrainNotes)[:1]
        looked_ahead = any(each.sees_future for each in notes) and self.metric.key != CAUSAL_LOSS
        own = Label.NOT_AUTOREGRESSIVE if self.case.is_user_model else Label.SAW_FUTURE
        return list(dict.fromkeys([*[own] * looked_ahead, *self.variant_labels]))

    def log_times(self, column: str) -> list[tuple[float, float]]:
        """Return logarithms of the median and of the mean time, in each process; none where a process lacks the column."""
        found, sides = [*self.beside.values()], {self.case.id, self.anchor.id}
        samples = (each.variants[side] for each in found for side in sides & each.variants.keys())
        if not all(all(each.get(column, (0.0,))) for each in samples):
            return []
        clocks = ((each.by(column), each.number[self.case.id]) for each in found)
        return [(clock.typical.item(at), clock.mean.item(at)) for clock, at in clocks]

    @property
    def own_times(self) -> Side:
        """The logarithms of a time in each process, by both clocks; of a rate those of the time of one token."""
        metric, by = self.metric, math.log(self.factor) if self.metric.source else 0.0

        def clock(column: str) -> ByClock:
            times = dict(enumerate(self.log_times(column)))
            median, mean = ({number: each[which] - by for number, each in times.items()} for which in (0, 1))
            own, other = (mean, median) if metric.estimand == "mean" else (median, mean)
            return ByClock(own) if metric.quantile or metric.source else ByClock(own, other)

        one_thread = self.case.grid_point.one_thread and self.made_in.times
        return Side(clock(self.made_in.column), clock("cpu_s") if one_thread else None)


class Tables(Samples):
    """The run's values by case and metric, and contrasts of two.

    Args:
        run: the stored run.
        baseline: name of the variant that others are compared with; None: every comparison's own.

    Raises:
        UsageError: if no variant has that name, or several have, or a search timed no other variant beside it, or its own
            matched baseline alone.
    """

    def __init__(self, run: StoredRun, baseline: str | None = None) -> None:
        self.plan, self.suite, self.baseline = run.plan, run.plan.suite, baseline
        super().__init__(run)
        self._passes = {key: catalogue.pass_of(metric) for key, metric in self.metrics.items()}
        self.doubts: dict[str, CellWarning] = catalogue.usable("warnings")
        self.process_counts = run.found(ProcessCount)
        self._values: dict[tuple[str, str], Value] = {}
        self._columns: dict[str, dict[str, Any]] = {}
        # Where each metric of a case was measured: searching the plan anew for every cell takes time quadratic in its cases.
        asked = reversed([*self.asked()])  # the first comparison counts
        self._measured_in = {(case.id, metric.key): comparison for comparison, metric, case in asked}
        if baseline is not None:
            self.baseline = variant_named(self.plan.cases, baseline, "baseline").variant
            anchor = self.plan.comparisons[0].variants[0].variant
            if any(each.partial for each in self.plan.comparisons) and self.baseline != anchor:
                raise UsageError(
                    f"baseline {self.baseline!r}: a search times each variant beside {anchor!r} and its own matched baseline, "
                    "so that other variants have no ratio to it. Leave the baseline out."
                )

    def value(self, case: Case, metric: Metric) -> Value:
        """Return one metric of one case."""
        key = case.id, metric.key
        if key not in self._values:
            self._values[key] = Value(self, case, metric)
        return self._values[key]

    def anchor_trouble(self, case: Case, metric: Metric) -> Trouble | None:
        """Return why the suite's baseline has no samples, or None: without them no two variants form a pair."""
        return self.value(self.anchor(case, metric), metric).cell.trouble()

    def training_notes(self, case_id: str) -> TrainNotes | None:
        """Return the notes of the first seed's run on a corpus, stored with one of its metrics; None if it was not trained."""
        cells = (self.cells.get((case_id, key), Cell()) for key in self.metrics)
        return next((notes for cell in cells for notes in cell.notes(TrainNotes)[:1] if notes.curve), None)

    def made_in(self, metric: Metric) -> Pass:
        """Return the pass that makes a metric, or its source."""
        return self._passes[metric.key]

    def source(self, metric: Metric) -> Metric:
        """Return the metric itself, or the timed one that it is derived from."""
        return self.metrics[metric.source] if metric.source else metric

    def counted(self, case: Case) -> CountNotes:
        """Return the notes of the counting pass about a case, an A/A control's about its baseline; empty if not counted."""
        return next(iter(self.notes_of(case.original, CARRIER, CountNotes)), NOT_COUNTED)

    def anchor(self, case: Case, metric: Metric) -> Case:
        """Return the variant that every block of this case also timed."""
        return self.comparison(case, metric).variants[0]

    def comparison(self, case: Case, metric: Metric) -> Comparison:
        """Return the comparison in which this metric of the case was measured."""
        return self._measured_in[case.original.id, metric.key]

    def asked(self) -> Iterator[tuple[Comparison, Metric, Case]]:
        """Yield what the run was asked for: of each comparison each metric of each variant."""
        for comparison in self.plan.comparisons:
            for key in comparison.metrics:
                yield from ((comparison, self.metrics[key], case) for case in comparison.variants)

    def aa_controls(self) -> Iterator[tuple[Case, Case, Metric]]:
        """Yield (A/A control, suite's baseline, metric) for every time that was measured in both."""
        for comparison, metric, case in self.asked():
            timed = case is comparison.variants[0] and self.made_in(metric).times and not metric.source
            # Comparisons of a search share an anchor, which was timed once.
            if timed and comparison.aa_control_case is not None and self.comparison(case, metric) is comparison:
                yield comparison.aa_control_case, case, metric

    def baseline_of(self, comparison: Comparison) -> Case:
        """Return the variant of a comparison that the others are compared with."""
        named = (case for case in comparison.variants if case.variant == self.baseline)
        return next(named, comparison.variants[0])

    def shared(self, metric: Metric, case: Case, baseline: Case) -> dict[int, Process]:
        """Return the processes that timed both variants and their baseline."""
        sides, found = {baseline.id, self.anchor(case, metric).id}, self.value(case, metric).processes
        return {number: each for number, each in found.items() if sides <= each.variants.keys()}

    def numbers(self, metric: Metric, case: Case, baseline: Case) -> Numbers:
        """Return the numbers of two variants in each process, against their baseline; of a rate those of its times, shifted."""
        made_in = self.made_in(metric)
        found = paired.between(
            self.shared(metric, case, baseline),
            case.id,
            baseline.id,
            column=made_in.column,
            one_thread=made_in.times and case.grid_point.one_thread,
            averaged=not self.source(metric).quantile,
            estimand=metric.estimand,
        )
        seen = replace(found.seen, unfit=self.escapes(metric, case, baseline) or found.seen.unfit)
        found = found._replace(seen=seen if made_in.times else Seen())
        if not metric.source:
            return found
        # A rate is a number of tokens per mean second.
        return found.shifted(math.log(self.value(case, metric).factor / self.value(baseline, metric).factor))

    def contrast(self, metric: Metric, case: Case, baseline: Case) -> Contrast:
        """Compare two variants, as the only contrast of their family: at one grid point process by process.

        At two grid points they took no turns: there the own times of their processes are compared.
        """
        rule = Rule("time", self.suite.margin, estimand=metric.estimand)
        if case.grid_point == baseline.grid_point:
            return self.numbers(metric, case, baseline).contrast(rule)
        sides = [self.value(side, metric) for side in (case, baseline)]
        new, base = (side.own_times for side in sides)
        unfit: Reason | None = SEVERAL_THREADS
        if all(side.case.grid_point.one_thread for side in sides):
            waits = ([each.waits[side.case.id] for each in side.processes.values()] for side in sides)
            unfit = self.escapes(metric, case, baseline) or paired.unfit_of(waits)
        seen = Seen(max(side.noisy for side in sides), unfit) if self.made_in(metric).times else Seen()
        return contrast(base, new, "independent", rule, seen)

    def escapes(self, metric: Metric, *sides: Case) -> Reason | None:
        """Return the label that says that work of a case may be done where its time does not see it; None without one."""
        found = (label for side in sides for label in self.value(side, metric).labels if label in ESCAPED)
        return next((Reason("said", said=str(label)) for label in found), None)

    def over_seeds(self, case: Case, metric: Metric) -> OverSeeds:
        """Return how values of a metric are judged of which each seed leaves one, where a case is compared with others."""
        if not metric.planned_by:
            return OverSeeds()
        cells = {variant.id: self.cell(variant.id, metric.key) for variant in self.comparison(case, metric).variants}
        outcomes = {variant: cell.good() for variant, cell in cells.items() if not cell.trouble()}
        table: SuiteTable[Any] = catalogue.load("suite_tables", metric.planned_by)
        return table.over_seeds(metric, self.suite, self.seed_sets(metric), outcomes)

    def seed_sets(self, metric: Metric) -> Sequence[tuple[int, ...]]:
        """Return the sets of seeds that a metric was measured with: one, unless runs were pooled that a table plans."""
        sets = [each.seeds for each in self.run.sets] if metric.planned_by else []
        return sets or [self.suite.seeds]

    @functools.cached_property
    def alike(self) -> Mapping[str, Mapping[str, Sequence[str]]]:
        """By variant, the variants of its model that agree with it bit for bit, each with the settings that differ."""
        return _alike(self)

    @functools.cached_property
    def device_name(self) -> str:
        """The processor, or the GPU as torch named it where it was used."""
        if self.plan.device == "cpu":
            return str(self.run.environment["cpu"])
        names = {r.environment.device for r in self.run.records if r.environment and r.environment.device}
        return ", ".join(sorted(names)) or "a CUDA device"

    def case_columns(self, case: Case, metric: Metric) -> Mapping[str, Any]:
        """Return the columns that identify what was measured."""
        if case.id not in self._columns:
            counted = self.counted(case)
            self._columns[case.id] = {
                **case.grid_point.model_dump(),  # `frame` takes what it has a column for
                "case_id": case.id,
                "variant": case.variant,
                "model": case.model,
                "capacity": case.config.capacity,
                "depth_ratio": counted.depth_ratio,
                "params": counted.params,
                "effort": self.suite.effort,
                "config": case.config_diff(),
                "title": name(case),
                "machine": self.device_name,
                "date": self.run.started[:10],
                NEW_TOKENS: case.grid_point.new_tokens or None,
            }
        sets = self.seed_sets(metric) if self.made_in(metric).samples == "seeds" else [self.suite.seeds[:1]]
        seeds = itertools.chain.from_iterable(sets)
        return {**self._columns[case.id], "workload": metric.workload, "seed": " ".join(map(str, seeds))}


def _alike(tables: Tables) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Return, by variant, the variants of its model that agree with it bit for bit, each with the settings that differ."""
    variants = grouped((case.variant, case) for case in tables.plan.cases)
    known = ((first, frozenset(_numbers(tables, [first, *rest]))) for first, *rest in variants.values())
    enough = ((case, numbers) for case, numbers in known if {what for _, what, _, _ in numbers} >= NEEDED)
    groups = grouped(((case.model, numbers), case) for case, numbers in enough)
    return {
        case.variant: {other.variant: keys for other in group if (keys := _differing(case, other))}
        for group in groups.values()
        for case in group
    }


def _numbers(tables: Tables, cases: Sequence[Case]) -> Iterator[Number]:
    """What a variant computes, at each of its places: counts, and whatever training ends with. Times and bytes are left out."""
    for case in cases:
        where = f"{case.grid_point.label} {case.conditions}"
        params = tables.counted(case).params
        if params is not None:
            yield where, "params", 0, (float(params),)
        for key, metric in tables.metrics.items():
            trained = bool(metric.measured_by) and tables.made_in(metric).samples == "seeds"
            if (trained or key.startswith("flops/")) and (case.id, key) in tables.cells:
                for number, outcome in tables.cells[case.id, key].outcomes:
                    yield where, key, number, tuple(outcome.samples.get("value", ()))


def _differing(one: Case, other: Case) -> tuple[str, ...]:
    """The settings in which two variants differ, without those that only matter to a model that generates."""
    mine, theirs = ({**case.config.model_dump(), **case.given} for case in (one, other))
    keys = dict.fromkeys((*mine, *theirs))
    return tuple(key for key in keys if mine.get(key) != theirs.get(key) and key not in GENERATION_KEYS)
