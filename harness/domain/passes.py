"""The interface of passes: how a pass measures, where and when it may run, and what its numbers mean. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from modbench.harness.domain.phases import WALL, Phase

if TYPE_CHECKING:
    from modbench.harness.core.contracts import AnyMetric
    from modbench.harness.core.immutable import Frozen
    from modbench.harness.core.labels import Label
    from modbench.harness.domain.case import Case, Comparison, Job
    from modbench.harness.domain.notes import Notes
    from modbench.harness.domain.records import Blocks, Outcome
    from modbench.harness.domain.suite import Suite, TablePlan

    # What a pass yields: outcomes, the witnesses' observations of blocks, or findings that belong to no metric.
    Yielded: TypeAlias = Outcome | Blocks | Notes
    Run = Callable[[Job, list[Any]], Iterator[Yielded]]
    # Called with a `JobMaker` (`planning/jobs.py`), which has the protocol of a suite.
    Jobs = Callable[[Any, Comparison, Sequence[AnyMetric], int], Iterable[Job]]


@dataclass(frozen=True)
class Pass:
    """A way of measuring. Metrics name it in `measured_by`; its file's first docstring line is its description.

    Attributes:
        name: the file's name; it appears in records and begins the names of its jobs.
        run: `run(job, metrics)` measures inside a job's process; each metric's `measure` gets what this pass prepares.
        jobs: `jobs(maker, comparison, metrics, process)` returns the jobs of a comparison; None: as `each` says.
        each: what gets a job of its own: a comparison, a case, or a case and what is timed together.
        forward_equivalents: the work of such a job in forward passes of its cases, from which the time left is estimated.
        phase: the phase in which its jobs run.
        order: its position among the passes of its phase.
        exclusive: whether nothing else may run beside a job.
        timed: whether it measures time: then the parent process stays idle, and a run resumes only on its own machine.
        fresh_interpreter: whether a job needs a fresh interpreter at any effort.
        environment: environment variables that a fresh interpreter needs before it starts.
        repeated: whether its jobs are repeated in every process.
        runs_for_every_case: whether every comparison is measured and all its metrics, whatever the suite asks for.
        trains: whether a job trains a model; its metrics are measured at the place of training.
        needs_table: tables of a suite, without any of which its metrics cannot be measured; empty: they can.
        samples: what the samples are: `processes`: many calls in each of several processes, interleaved with the baseline;
            `seeds`: one value per seed; `one`: one value.
        rounds: `rounds(job)` returns the rounds of a process, where the samples are `processes`.
        column: the column of samples that holds the value.
        statistic: name of the value's statistic in `cases.csv`.
        no_interval: why a value has no interval, where `samples` is `one`.
        judged: whether a ratio gets a verdict.
        timeout_factor: called with a job; returns how many times its predicted work it may take at most.
        estimate_seconds: called with a job and a function that gives the seconds of a case's forward pass; returns the seconds
            of the job after its start. None: they follow from the job's FLOPs.
        fixed_overhead_s: called with a job; returns the seconds that it may take at most besides that work.
        settings: the part of a suite, besides the case, that its numbers depend on.
        table: a plug-in's table of a suite that its numbers depend on, with a default for each key: jobs have its values in
            their protocol's `settings`.
        notes: the model of the notes in its outcomes.
        findings: the model of its findings that belong to no metric.
        labels: what labels its findings may bring to the variant of their job; a run without its jobs lacks them in any case.
        labelled: called with the findings of a job; returns sentences about its variant, by the label that they bring.
        forecast: called with its planned jobs and the predicted seconds of each; returns what `plan --json` has of them, by key.
        forecast_in_words: called with the whole forecast of a plan; returns sentences for `plan`.
    """

    name: str
    run: Run
    notes: type[Notes]
    findings: type[Notes] | None = None
    labels: frozenset[Label] = frozenset()
    labelled: Callable[[Any], Mapping[Label, str]] = lambda _: {}
    forecast: Callable[[Sequence[tuple[Job, float]]], Mapping[str, Any]] = lambda _: {}
    forecast_in_words: Callable[[Mapping[str, Any]], Iterable[str]] = lambda _: ()
    jobs: Jobs | None = None
    each: Literal["comparison", "case", "case and group"] = "comparison"
    forward_equivalents: float = 3.0
    phase: Phase = Phase.COUNT
    order: int = 0
    exclusive: bool = False
    timed: bool = False
    fresh_interpreter: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    repeated: bool = False
    runs_for_every_case: bool = False
    trains: bool = False
    needs_table: tuple[str, ...] = ()
    samples: Literal["processes", "seeds", "one"] = "one"
    rounds: Callable[[Job], int] = lambda job: job.protocol.rounds
    column: str = "value"
    statistic: str = "exact"
    no_interval: str = "counted, not sampled: no interval"
    judged: bool = True
    timeout_factor: Callable[[Job], float] = lambda _: 1.0
    estimate_seconds: Callable[[Job, Callable[[Case], float]], float] | None = None
    fixed_overhead_s: Callable[[Job], float] = lambda _: 0.0
    settings: Callable[[Suite, Case], Frozen | None] = lambda _suite, _case: None
    table: type[TablePlan] | None = None

    @property
    def times(self) -> bool:
        """Whether its samples are wall times of calls."""
        return self.column == WALL
