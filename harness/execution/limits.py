"""How long a unit may take before it counts as hanging: from its prediction, generously, or as the user says (`--timeout`).

A limit is `TIMES` times the prediction, plus what no prediction covers: a start from a cold disk, a compiler, a card's first use,
a model whose cost is unknown. Where this machine has been slower than predicted in this run, predictions count that much more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from modbench.harness.core.units import human_duration
from modbench.harness.planning.plan import ASSUMED_FLOP_PER_S
from modbench.harness.profiling.run_time import RunTime
from modbench.harness.roofline import stored

if TYPE_CHECKING:
    from modbench.harness.domain.case import UnitOfWork
    from modbench.harness.domain.records import Record
    from modbench.harness.planning.plan import Plan

# Ending a unit that works costs more than waiting for one that hangs: a slow and busy machine must not come near its limits.
TIMES = 20.0
# Seconds beside the predicted work: of any unit, of one on a card, of one that trains, of each compiled and of each user's arm.
START_S, CARD_S, TRAINS_S, COMPILED_S, OWN_S = 300.0, 300.0, 600.0, 600.0, 1800.0
# A card that works on a unit is at least this many times as fast as one that waits for the host.
BUSY = 4.0
# What a process may take to start before the machine counts as slower than predicted, and the most that slowness counts.
USUAL_START_S, MOST_SLOWNESS = 60.0, 10.0
# The longest limit, some years: timers of the system overflow beyond some number.
LONGEST_S = 1e8


class Limits(Mapping[str, float]):
    """Seconds that each unit of a plan may take, by name, as known when it is asked for, which is when the unit starts.

    Args:
        plan: the plan.
        timeout_s: the limit of every unit, as the user says; None: from predictions.
        run: the run's folder, if its units run on this machine: then their training times are stored for later plans.
    """

    def __init__(self, plan: Plan, timeout_s: float | None = None, *, run: str = "") -> None:
        self.units = {unit.name: unit for unit in plan.units}
        self.timeout_s = timeout_s
        self._run_time = RunTime(plan)
        self._run = run if self._run_time.machine else ""
        self._known: dict[str, float] = {}
        # Limit and slowness as they were last asked for: what a unit is ended by, whatever is learnt while it runs.
        self._given: dict[str, tuple[float, float]] = {}
        self.took_s = self.expected_s = 0.0

    def __iter__(self) -> Iterator[str]:
        return iter(self.units)

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, name: str) -> float:
        self._given[name] = self.limit(self.units[name]), self.slowness
        return self._given[name][0]

    def given(self, name: str) -> tuple[float, float]:
        """The limit that a unit was started with, and how slow the machine was held to be then."""
        return self._given[name] if name in self._given else (self.limit(self.units[name]), self.slowness)

    def limit(self, unit: UnitOfWork) -> float:
        """Seconds that a unit may take."""
        if self.timeout_s is not None:
            return self.timeout_s
        return min(LONGEST_S, TIMES * self.slowness * self.expected(unit) + allowance(unit))

    def expected(self, unit: UnitOfWork) -> float:
        """Expected seconds of a unit; launches of a series take equally long."""
        key = unit.series or unit.name
        if key not in self._known:
            predicted = self._run_time.seconds(unit, 1) * unit.facts.most
            predicted *= unit.ranks  # which may have to share what a prediction gives to each
            # A prediction for a card expects large models to keep it busy; small ones, or an old card, do not.
            self._known[key] = max(predicted, unit.flops / (BUSY * ASSUMED_FLOP_PER_S[unit.comparison.place.device]))
        return self._known[key]

    @property
    def slowness(self) -> float:
        """How many times as long as predicted the units of this run have taken, at least 1."""
        return min(MOST_SLOWNESS, max(1.0, self.took_s / self.expected_s)) if self.expected_s else 1.0

    def ended(self, unit: UnitOfWork, took_s: float) -> None:
        """Learn from a unit that has ended, given the seconds that its work took."""
        if self.timeout_s is None:
            self.took_s += took_s
            self.expected_s += self.expected(unit) + USUAL_START_S

    def paced(self, unit: UnitOfWork, took_s: float) -> None:
        """Store the ratio of measured to predicted training time, given the seconds that a unit's work took."""
        found = self._run_time.pace_of(unit, took_s) if self._run else None
        if found is not None:
            stored.keep_pace(self._run_time.machine, unit.comparison.place.dtype, self._run, *found)

    def loaded(self, took_s: float, predicted_s: float) -> None:
        """Store how many times as long as predicted the units of this run took, given both in s."""
        if self._run and predicted_s >= stored.LEAST_S:
            stored.keep_load(self._run_time.machine, self._run, took_s / predicted_s)

    def learn(self, unit: UnitOfWork, record: Record) -> None:
        """Learn from a record that its unit wrote itself; units that hung or died tell nothing.

        Only the time of its work counts: a job may have waited in a queue.
        """
        if record.died is None:
            self.ended(unit, record.wall_s)
            self.paced(unit, record.wall_s)

    def why(self, name: str) -> str:
        """Where a unit's limit comes from, and how to give it more."""
        unit, (limit, slowness) = self.units[name], self.given(name)
        more = f"--timeout {math.ceil(2 * limit / 60)}min gives it more"
        if self.timeout_s is not None:
            return f"as --timeout says; {more}"
        slow = f" on a machine {slowness:.1f} times as slow as predicted" if slowness >= 1.05 else ""
        times = f"{TIMES:.0f} times the expected {human_duration(self.expected(unit))}{slow}"
        return f"{times} and {human_duration(allowance(unit))} for what is not predicted; {more}"


def allowance(unit: UnitOfWork) -> float:
    """Seconds that a unit may take beside its predicted work."""
    place, arms = unit.comparison.place, unit.comparison.arms
    return (
        START_S
        + CARD_S * (place.device == "cuda")
        + TRAINS_S * unit.facts.trains
        + COMPILED_S * len(arms) * place.compile
        + OWN_S * (len(arms) - len(unit.comparison.shipped))
        + unit.facts.besides_s
    )


def of_calls(number: int, expected_s: float) -> float:
    """Seconds that a process may take that times so many callables of a user's, whose calls are expected to take some."""
    return TIMES * expected_s + START_S + OWN_S * number


def in_words(limits: Mapping[str, float], name: str) -> str:
    """A unit's limit for the record of a unit that exceeded it."""
    if not isinstance(limits, Limits):
        return f"its limit of {human_duration(limits[name])}"
    return f"its limit of {human_duration(limits.given(name)[0])} ({limits.why(name)})"
