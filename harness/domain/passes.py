"""The interface of passes: how a pass measures, where and when it may run, and what its numbers mean. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from modbench.harness.domain.phases import WALL, Phase

if TYPE_CHECKING:
    from modbench.harness.core.contracts import AnyMetric
    from modbench.harness.core.frozen import Frozen
    from modbench.harness.domain.case import Case, Comparison, UnitOfWork
    from modbench.harness.domain.notes import Notes
    from modbench.harness.domain.records import Blocks, Outcome
    from modbench.harness.domain.suite import Suite

    # What a pass yields: outcomes, the witnesses' observations of blocks, or findings that belong to no metric.
    Yielded: TypeAlias = Outcome | Blocks | Notes
    Run = Callable[[UnitOfWork, list[Any]], Iterator[Yielded]]
    # Called with a `UnitMaker` (`planning/units_of_work.py`), which has the protocol of a suite.
    Units = Callable[[Any, Comparison, Sequence[AnyMetric], int], Iterable[UnitOfWork]]


@dataclass(frozen=True)
class Pass:
    """A way of measuring. Metrics name it in `made_in`; its file's first docstring line is its description.

    Attributes:
        name: the file's name; it appears in records and begins the names of its units.
        run: `run(unit, metrics)` measures inside a unit's process; each metric's `measure` gets what this pass prepares.
        units: `units(maker, comparison, metrics, launch)` returns the units of a comparison; None: as `each` says.
        each: what gets a unit of its own: a comparison, a case, or a case and what is timed together.
        worth: work of such a unit in forward passes of its cases, from which the time left is estimated.
        phase: the phase in which its units run.
        order: its position among the passes of its phase.
        alone: whether a unit must run with nothing at the same time.
        timed: whether it measures time: then the parent process stays idle, and a run resumes only on its own machine.
        cold: whether a unit needs a fresh interpreter at any effort.
        environment: environment variables that a cold process needs before it starts.
        repeated: whether its units are repeated in every launch.
        always: whether every comparison is measured and all its metrics, whatever the suite asks for.
        trains: whether a unit trains a model; its metrics are measured at the place of training.
        once: whether its metrics are measured once in a sweep, at the middle size and the first budget.
        confirms: whether its units train again what a sweep found best, and run only where a confirmation asks for them.
        samples: what the samples are: `launches`: many calls in each of several processes, interleaved with the anchor;
            `seeds`: one value per seed; `one`: one value.
        rounds: `rounds(unit)` returns the rounds of a launch, where the samples are `launches`.
        column: the column of samples that holds the value.
        statistic: name of the value's statistic in `cases.csv`.
        no_interval: why a value has no interval, where `samples` is `one`.
        judged: whether a ratio gets a verdict.
        most: `most(unit)` returns how many times the predicted work a unit may take at most.
        takes: `takes(unit, forward_s)` returns the seconds of a unit after its start; `forward_s(case)` are those of a forward
            pass. None: they follow from the unit's FLOPs.
        besides: `besides(unit)` returns the seconds that a unit may take at most besides that work: trials, windows.
        settings: the part of a suite, besides the case, that its numbers depend on.
        notes: the model of the notes in its outcomes.
        findings: the model of its findings that belong to no metric.
    """

    name: str
    run: Run
    notes: type[Notes]
    findings: type[Notes] | None = None
    units: Units | None = None
    each: Literal["comparison", "case", "case and group"] = "comparison"
    worth: float = 3.0
    phase: Phase = Phase.COUNT
    order: int = 0
    alone: bool = False
    timed: bool = False
    cold: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    repeated: bool = False
    always: bool = False
    trains: bool = False
    once: bool = False
    confirms: bool = False
    samples: Literal["launches", "seeds", "one"] = "one"
    rounds: Callable[[UnitOfWork], int] = lambda unit: unit.protocol.rounds
    column: str = "value"
    statistic: str = "exact"
    no_interval: str = "counted, not sampled: no interval"
    judged: bool = True
    most: Callable[[UnitOfWork], float] = lambda _: 1.0
    takes: Callable[[UnitOfWork, Callable[[Case], float]], float] | None = None
    besides: Callable[[UnitOfWork], float] = lambda _: 0.0
    settings: Callable[[Suite, Case], Frozen | None] = lambda _suite, _case: None

    @property
    def times(self) -> bool:
        """Whether its samples are wall times of calls."""
        return self.column == WALL
