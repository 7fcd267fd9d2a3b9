"""Times any callables side by side in this process, by the protocol of a run: the samples of one process.

Nothing here knows torch: where it is loaded, its threads and its device are taken into account. Another clock may be given, so
that a test can plant an effect.
"""

from __future__ import annotations

import contextlib
import math
import random
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from modbench.extend import (
    SHORTEST_SAMPLE_S,
    VARIANTS_PER_BLOCK,
    Call,
    Clock,
    CounterSampler,
    Effort,
    Samples,
    Session,
    UsageError,
    counter_sampler,
    nvml,
    shown,
    unknown,
)
from modbench.plugins.python.threads import working_threads

# Rounds where neither their number nor a time is given: as many as fit into these seconds for each callable, within limits.
SECONDS_EACH, LEAST_ROUNDS, MOST_ROUNDS = 1.0, 10, 100
# Their number is planned from the shortest call of the warm-up. On a busy machine calls may take a hundred times as long: the
# rounds end when so many times the planned time is over, and repeat calls less often: with as many as an interval needs that
# leaves out the slowest round and the fastest.
PATIENCE, FEWEST_ROUNDS = 1.5, 9
# Where the thread waits for a processor, the time that it runs counts, up to so many times as long.
BUSY = 5.0
WARM_UP_CALLS, WARM_UP_S = 3, 0.25


class LeftBehind(Exception):  # noqa: N818  # the sentence begins with the callable that did it
    """What a call left behind that would affect the others, as the end of a sentence about it; raised by `tidy`."""


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Name the callable of a sentence about what was left behind.

    Raises:
        UsageError: with the whole sentence.
    """
    try:
        yield
    except LeftBehind as error:
        raise UsageError(f"{name!r} {error}") from None


@dataclass(frozen=True)
class TimingProcess:
    """What one process measured.

    Attributes:
        baseline: name of the callable that was in every block.
        samples: name to columns `round, block, position, calls, wall_s, cpu_s`, times per call, and what witnesses saw.
        blocks: what witnesses saw of each block.
        aa_control: name under which the baseline was timed a second time; None: it was not.
        one_thread: whether one thread did all the work, so that its CPU time is comparable.
        unsteady: name to a sentence, for callables that still drifted after a second warm-up, or for which there was no time.
        first_call_s: name to the seconds of its first call.
        order: names in the order in which they were built, as far as this process did so, and first called.
        findings: name to label to sentence: what checks of the timed calls found; empty: nothing, or none was made.
    """

    baseline: str
    samples: Mapping[str, Samples]
    blocks: Samples = field(default_factory=dict)
    aa_control: str | None = None
    one_thread: bool = True
    unsteady: Mapping[str, str] = field(default_factory=dict)
    first_call_s: Mapping[str, float] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    findings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def build_order(names: Collection[str], seed: int) -> tuple[str, ...]:
    """The order in which a process builds what it times, drawn from its seed.

    What is built first lies elsewhere in memory: in one order for all processes equal code differed in a fifth of comparisons.
    """
    return tuple(random.Random(f"build {seed}").sample(sorted(names), len(names)))  # noqa: S311  # no secret


def time_callables(
    calls: Mapping[str, Callable[[], object]],
    *,
    baseline: str | None = None,
    rounds: int | None = None,
    seconds: float | None = None,
    aa_control: bool = False,
    clock: Clock | None = None,
    seed: int = 0,
    tidy: Callable[[], None] = lambda: None,
) -> TimingProcess:
    """Time callables, interleaved, in this process. What one of them raises, is raised.

    Args:
        calls: name to a function without arguments.
        baseline: the name that is in every block; None: the first.
        rounds: rounds, each of which calls everything at least twice; None: as many as fit into `seconds`.
        seconds: how long the rounds may take together (10 are planned at least); None: one second for each callable. Where
            calls take longer than they did in the warm-up, the rounds end after 1.5 times that, when 9 are made, and a warm-up
            is not repeated. Waiting for a processor does not count, up to 5 times as long. With `rounds` nothing ends them.
        aa_control: time the baseline once more under another name, as a check of this machine (A/A).
        clock: what to read; None: this machine's clocks, while witnesses watch what else happens.
        seed: draws the orders, also that of the first calls.
        tidy: called after every sample, untimed; raises `LeftBehind` if the callable left something that would affect the others.

    Raises:
        UsageError: if there is nothing to time, or no such baseline; or a callable left something behind.
    """
    base = _checked(calls, baseline, rounds, seconds)
    again = f"{base} (again)" if aa_control else None
    named = {name: calls[name] for name in build_order(calls, seed)} | ({again: calls[base]} if again else {})
    budget = None if rounds else (SECONDS_EACH * len(named) if seconds is None else seconds)
    with _watched(clock) as (read, of_samples, of_blocks):
        session = _Session(
            {name: _without_result(call) for name, call in named.items()},
            base,
            rng=random.Random(seed),  # noqa: S311  # no secret
            clock=read,
            on_error=_raise,
            of_samples=of_samples,
            of_blocks=of_blocks,
            tidy=tidy,
            settled=nvml.settled(of_blocks.levels["sm_mhz"]) if "sm_mhz" in of_blocks.levels else (lambda: True),
        )
        session.budget_s = budget
        found = session.measure(Effort(rounds or MOST_ROUNDS, WARM_UP_CALLS, WARM_UP_S))
    one_thread = not read.on_device and working_threads() == 1
    samples = {name: found.samples[name] for name in (*calls, *([again] if again else []))}
    return TimingProcess(
        base, samples, found.blocks, again, one_thread, found.unsteady, found.first_call_s, tuple(named)
    )


class _Session(Session):
    """A session that makes as many rounds as fit into a time."""

    budget_s: float | None = None
    limit_s: float = math.inf
    started_s: float = 0.0
    cpu_started_s: float = 0.0

    def _play(self, effort: Effort) -> dict[str, str]:
        if self.budget_s is not None:
            each_s = self._round_s()
            effort = replace(effort, rounds=min(effort.rounds, max(LEAST_ROUNDS, int(self.budget_s / each_s))))
            self.limit_s = PATIENCE * max(self.budget_s, LEAST_ROUNDS * each_s)
        self.started_s, self.cpu_started_s = self.clock.wall_s(), self.clock.cpu_s()
        return super()._play(effort)

    def _round(self, round_: int) -> None:
        start = self.clock.wall_s()
        super()._round(round_)
        if FEWEST_ROUNDS * (self.clock.wall_s() - start) > self.limit_s:
            self._repeat_less()

    def _repeat_less(self) -> None:
        """Repeat calls as often as their length now needs: an interval would otherwise wait for many long ones."""
        for variant, columns in self.made.samples.items():
            needed = math.ceil(SHORTEST_SAMPLE_S / max(min(columns["wall_s"][-2:]), 1e-9))
            self.repeats[variant] = min(self.repeats[variant], max(1, needed))
        if self.clock.on_device:  # equal, as after the warm-up
            self.repeats = dict.fromkeys(self.repeats, max(self.repeats.values()))

    def _out_of_time(self, played: int) -> bool:
        spent_s, ran_s = self.clock.wall_s() - self.started_s, self.clock.cpu_s() - self.cpu_started_s
        if self.clock.on_device or spent_s >= BUSY * self.limit_s:
            ran_s = spent_s
        return played >= FEWEST_ROUNDS and ran_s >= self.limit_s

    def _round_s(self) -> float:
        """Seconds of a round: everything twice, and the anchor in every block."""
        samples = {variant: max(wall, SHORTEST_SAMPLE_S) for variant, wall in self.shortest.items()}
        blocks = max(1, math.ceil((len(samples) - 1) / VARIANTS_PER_BLOCK))
        return 2 * (sum(samples.values()) + (blocks - 1) * samples[self.anchor])


def _checked(
    calls: Mapping[str, Callable[[], object]], baseline: str | None, rounds: int | None, seconds: float | None
) -> str:
    """The baseline's name."""
    if not calls:
        raise UsageError("there is nothing to time: give at least one callable, such as {'mine': f}.")
    check_effort(rounds, seconds)
    if baseline is not None and baseline not in calls:
        raise unknown("baseline", baseline, calls)
    return next(iter(calls)) if baseline is None else baseline


def check_effort(rounds: object, seconds: object) -> None:
    """Check how long to time.

    Args:
        rounds: rounds; None: as many as fit.
        seconds: how long they take; None: the default.

    Raises:
        UsageError: if one of them is no number that can be meant.
    """
    if rounds is not None and (not isinstance(rounds, int) or isinstance(rounds, bool) or rounds < 1):
        raise UsageError(
            f"rounds = {shown(rounds)}: give a whole number; at least one is needed, and 6 for an interval."
        )
    if seconds is not None and (not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds > 0):
        raise UsageError(f"seconds = {shown(seconds)}: give a time above 0, such as 2.")


@contextlib.contextmanager
def _watched(clock: Clock | None) -> Iterator[tuple[Clock, CounterSampler, CounterSampler]]:
    """The clock, and the witnesses of samples and blocks; a clock that is given measures another time than they see."""
    if clock is not None:
        yield clock, CounterSampler({}), CounterSampler({})
        return
    synchronize, threads = _device_wait(), working_threads()
    gpu = nvml.watched() if synchronize is not None else nvml.Watched({}, {})
    of_blocks = counter_sampler.of_blocks()
    of_blocks = CounterSampler(of_blocks.counters | gpu.counters, of_blocks.levels | gpu.levels)
    with contextlib.closing(counter_sampler.Collector()) as collector:
        yield Clock(synchronize, threads), counter_sampler.of_samples(threads, collector), of_blocks


def working_device() -> str:
    """Where the work is done, as far as it is known: `cuda` if this process uses a GPU, else `cpu`."""
    return "cpu" if _device_wait() is None else "cuda"


def _device_wait() -> Callable[[], None] | None:
    """Waits until the GPU is idle, if this process uses one."""
    torch = sys.modules.get("torch")
    return torch.cuda.synchronize if torch is not None and torch.cuda.is_initialized() else None


def _without_result(call: Callable[[], object]) -> Call:
    """The call, whose result is let go at once: a mapping would be read as laps, and outputs fill memory."""

    def timed(_number: int) -> None:
        call()

    return timed


def _raise(name: str, error: BaseException) -> None:
    with naming(name):
        raise error
