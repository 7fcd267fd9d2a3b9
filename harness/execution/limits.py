"""How long a job may take before it counts as hanging: from its prediction, generously, or as the user says (`--timeout`).

A limit is `TIMES` times the prediction, plus what no prediction covers: a start from a cold disk, a compiler, a card's first use,
a model whose cost is unknown. Where this machine has been slower than predicted in this run, predictions count that much more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from modbench.harness.core.units import human_duration
from modbench.harness.execution.run_time import RunTime
from modbench.harness.machine.roofline import stored
from modbench.harness.planning.plan import ASSUMED_FLOP_PER_S

if TYPE_CHECKING:
    from modbench.harness.domain.case import Job
    from modbench.harness.domain.records import Record
    from modbench.harness.planning.plan import Plan

# Ending a job that works costs more than waiting for one that hangs: a slow and busy machine must not come near its limits.
TIMES = 20.0
# Seconds beside the predicted work: of any job, of one on a card, of one that trains, of each compiled and of each user's
# variant.
START_S, CARD_S, TRAINS_S, COMPILED_S, OWN_S = 300.0, 300.0, 600.0, 600.0, 1800.0
# A card that works on a job is at least this many times as fast as one that waits for the host.
BUSY = 4.0
# What a process may take to start before the machine counts as slower than predicted, and the most that slowness counts.
USUAL_START_S, MOST_SLOWNESS = 60.0, 10.0
# The longest limit, some years: timers of the system overflow beyond some number.
LONGEST_S = 1e8


class Limits(Mapping[str, float]):
    """Seconds that each job of a plan may take, by name, as known when it is asked for, which is when the job starts.

    Args:
        plan: the plan.
        timeout_s: the limit of every job, as the user says; None: from predictions.
        run: the run's folder, if its units run on this machine: then their training times are stored for later plans.
    """

    def __init__(self, plan: Plan, timeout_s: float | None = None, *, run: str = "") -> None:
        self.jobs = {job.name: job for job in plan.jobs}
        self.timeout_s = timeout_s
        self._run_time = RunTime(plan)
        self._run = run if self._run_time.machine else ""
        self._known: dict[str, float] = {}
        # Limit and slowness as they were last asked for: what a job is ended by, whatever is learnt while it runs.
        self._given: dict[str, tuple[float, float]] = {}
        self.took_s = self.expected_s = 0.0

    def __iter__(self) -> Iterator[str]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, name: str) -> float:
        self._given[name] = self.limit(self.jobs[name]), self.slowness
        return self._given[name][0]

    def given(self, name: str) -> tuple[float, float]:
        """The limit that a job was started with, and how slow the machine was assumed to be then."""
        return self._given[name] if name in self._given else (self.limit(self.jobs[name]), self.slowness)

    def limit(self, job: Job) -> float:
        """Seconds that a job may take."""
        if self.timeout_s is not None:
            return self.timeout_s
        return min(LONGEST_S, TIMES * self.slowness * self.expected(job) + allowance(job))

    def expected(self, job: Job) -> float:
        """Expected seconds of a job; processes of a series take equally long."""
        key = job.series or job.name
        if key not in self._known:
            predicted = self._run_time.seconds(job, 1) * job.facts.most
            predicted *= job.ranks  # which may have to share what a prediction gives to each
            # A prediction for a card expects large models to keep it busy; small ones, or an old card, do not.
            self._known[key] = max(predicted, job.flops / (BUSY * ASSUMED_FLOP_PER_S[job.comparison.grid_point.device]))
        return self._known[key]

    @property
    def slowness(self) -> float:
        """How many times as long as predicted the jobs of this run have taken, at least 1."""
        return min(MOST_SLOWNESS, max(1.0, self.took_s / self.expected_s)) if self.expected_s else 1.0

    def ended(self, job: Job, took_s: float) -> None:
        """Learn from a job that has ended, given the seconds that its work took."""
        if self.timeout_s is None:
            self.took_s += took_s
            self.expected_s += self.expected(job) + USUAL_START_S

    def paced(self, job: Job, took_s: float) -> None:
        """Store the ratio of measured to predicted training time, given the seconds that a job's work took."""
        found = self._run_time.pace_of(job, took_s) if self._run else None
        if found is not None:
            stored.keep_pace(self._run_time.machine, job.comparison.grid_point.dtype, self._run, *found)

    def loaded(self, took_s: float, predicted_s: float) -> None:
        """Store how many times as long as predicted the jobs of this run took, given both in s."""
        if self._run and predicted_s >= stored.LEAST_S:
            stored.keep_load(self._run_time.machine, self._run, took_s / predicted_s)

    def learn(self, job: Job, record: Record) -> None:
        """Learn from a record that its unit wrote itself; jobs that hung or died tell nothing.

        Only the time of its work counts: a job may have waited in a queue.
        """
        if record.died is None:
            self.ended(job, record.wall_s)
            self.paced(job, record.wall_s)

    def why(self, name: str) -> str:
        """Where a job's limit comes from, and how to give it more."""
        job, (limit, slowness) = self.jobs[name], self.given(name)
        more = f"--timeout {math.ceil(2 * limit / 60)}min gives it more"
        if self.timeout_s is not None:
            return f"as --timeout says; {more}"
        slow = f" on a machine {slowness:.1f} times as slow as predicted" if slowness >= 1.05 else ""
        times = f"{TIMES:.0f} times the expected {human_duration(self.expected(job))}{slow}"
        return f"{times} and {human_duration(allowance(job))} for what is not predicted; {more}"


def allowance(job: Job) -> float:
    """Seconds that a job may take beside its predicted work."""
    grid_point, variants = job.comparison.grid_point, job.comparison.variants
    return (
        START_S
        + CARD_S * (grid_point.device == "cuda")
        + TRAINS_S * job.facts.trains
        + COMPILED_S * len(variants) * grid_point.compile
        + OWN_S * (len(variants) - len(job.comparison.shipped))
        + job.facts.besides_s
    )


def in_words(limits: Mapping[str, float], name: str) -> str:
    """A job's limit for the record of a job that exceeded it."""
    if not isinstance(limits, Limits):
        return f"its limit of {human_duration(limits[name])}"
    return f"its limit of {human_duration(limits.given(name)[0])} ({limits.why(name)})"
