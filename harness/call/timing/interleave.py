"""Interleaved timing: rounds of blocks that hold variants and their baseline, in one order and then in reverse.

Timing A and then B was wrong by up to 51 % on a shared machine; blocks of the baseline and at most three variants, visited in
random order and then in reverse, cancel drift inside the block (Abedi & Brecht, ICPE 2017). No torch here: the clock and
the calls are arguments, so that a test can plant an effect and a fake clock.
"""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from modbench.harness.call.timing import nvtx
from modbench.harness.core.units import percent
from modbench.harness.domain.case import VARIANTS_PER_BLOCK
from modbench.harness.machine.counter_sampler import CounterSampler
from modbench.harness.machine.process import clocks
from modbench.harness.stats import trend_test
from modbench.harness.stats.against_baseline import Process

# Long enough that reading the clocks costs under 0.1 % of a sample.
SHORTEST_SAMPLE_S = 2e-3
# Calls without a new graph after which a variant counts as compiled, and the most turns to wait for that.
QUIET_CALLS, MOST_TURNS = 3, 60

# Further columns of a sample, for calls that time their own parts: `forward/wall_s` and the like.
Laps = Mapping[str, float]
Call = Callable[[int], object]
Samples = dict[str, list[float]]


class Clock:
    """Wall time, CPU time of this thread, and the wait for a device.

    Args:
        synchronize: waits until the device is idle; None on a CPU, where calls return when they are done.
        threads: with more than one, CPU time is the whole process's.
    """

    def __init__(self, synchronize: Callable[[], None] | None = None, threads: int = 1) -> None:
        self.on_device = synchronize is not None
        self.synchronize = synchronize or (lambda: None)
        self.cpu_s = clocks.thread_time if threads == 1 else clocks.process_time

    def wall_s(self) -> float:
        """Seconds of a monotonic clock."""
        return clocks.perf_counter()


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: rounds, each of which visits every variant twice.
        warm_up_calls: calls of every variant before the first round.
        warm_up_s: seconds that the warm-up takes at least, all variants together.
    """

    rounds: int
    warm_up_calls: int = 1
    warm_up_s: float = 0.0


@dataclass
class Measured:
    """Results of a session.

    Attributes:
        samples: variant to columns `round, block, position, calls, input, wall_s, cpu_s`, times per call, and what witnesses saw.
        blocks: what witnesses saw of each block, by column; `block` and `wall_s` among them.
        unsteady: variants that still drifted after a second warm-up, with a sentence for each.
        first_call_s: variant to the seconds of its first call.
        warmed_up_again: variant to what was wrong with it before a second warm-up; empty: there was none.
        steadiness_tested: whether there were enough blocks to test whether the variants were warm.
    """

    samples: dict[str, Samples] = field(default_factory=dict)
    blocks: Samples = field(default_factory=dict)
    unsteady: dict[str, str] = field(default_factory=dict)
    first_call_s: dict[str, float] = field(default_factory=dict)
    warmed_up_again: dict[str, str] = field(default_factory=dict)
    steadiness_tested: bool = False


def deal(variants: Sequence[str], baseline: str, rng: random.Random) -> list[list[str]]:
    """Make one round: blocks of the baseline and at most three other variants, each in random order followed by its reverse."""
    others = [variant for variant in variants if variant != baseline]
    rng.shuffle(others)
    groups = [others[i : i + VARIANTS_PER_BLOCK] for i in range(0, len(others), VARIANTS_PER_BLOCK)] or [[]]
    dealt = []
    for group in groups:
        block = [variant for variant in (baseline, *group) if variant in variants]
        rng.shuffle(block)
        dealt.append(block + block[::-1])
    return dealt


class Session:
    """Times all variants of one comparison in this process.

    Args:
        calls: variant to a function that runs it once on the input with the given number, and may return its `Laps`.
        baseline: the variant that is in every block.
        rng: draws the orders.
        clock: what to read.
        on_error: called at once with a variant that raised; the variant is then dropped, so that it does not affect the
            others.
        survivable: exceptions of a variant that do not stop the others.
        of_samples: read around every sample.
        of_blocks: read around every block.
        tidy: called after every sample, untimed; raises if the variant left something behind that would affect the others.
        settled: whether the device's clock is stable; the warm-up waits for it for a while.
        column: the time that is reported, from which the drift is computed.
        wait_for_turn: called before the warm-up and before every round; None: no other process takes turns with this one.
        inputs: number of inputs. Each round has one, so that all variants meet every input equally often; their order is
            drawn anew after each cycle, so that a machine that gets slower does not make the last ones look dear.
    """

    def __init__(
        self,
        calls: dict[str, Call],
        baseline: str,
        *,
        rng: random.Random,
        clock: Clock,
        on_error: Callable[[str, BaseException], None],
        survivable: tuple[type[BaseException], ...] = (Exception,),
        of_samples: CounterSampler | None = None,
        of_blocks: CounterSampler | None = None,
        tidy: Callable[[], None] = lambda: None,
        settled: Callable[[], bool] = lambda: True,
        wait_for_turn: Callable[[], None] | None = None,
        column: str = "wall_s",
        inputs: int = 1,
    ) -> None:
        self.calls, self.baseline, self.rng, self.clock = calls, baseline, rng, clock
        self.on_error, self.survivable, self.settled, self.tidy = on_error, survivable, settled, tidy
        self.wait_for_turn, self.column, self.inputs = wait_for_turn, column, inputs
        self.of_samples, self.of_blocks = of_samples or CounterSampler({}), of_blocks or CounterSampler({})
        self.repeats: dict[str, int] = {}
        self.shortest: dict[str, float] = {}
        self._next_inputs: list[int] = []
        self.made = Measured()

    def measure(self, effort: Effort) -> Measured:
        """Warm up, measure, and test whether the variants were steady; if one was not, and there is time, repeat once.

        In turns nothing is tested or repeated: what drifts is compared with rounds of the others right beside it, and more rounds
        would have none.
        """
        self._warm_up(effort.warm_up_calls, effort.warm_up_s, first=True)
        unsteady = self._play(effort)
        if unsteady and not self._out_of_time(effort.rounds):
            self.made.warmed_up_again = unsteady
            self._warm_up(2 * effort.warm_up_calls, 2 * effort.warm_up_s)
            unsteady = self._play(effort)
        self.made.unsteady = unsteady
        return self.made

    def _attempt(self, variant: str, number: int, repeats: int) -> dict[str, float] | None:
        """Take a sample; None if the variant raised and was dropped."""
        try:
            gc.collect(1)  # untimed: what other variants left is not collected at this variant's expense
            row = self._timed(self.calls[variant], number, repeats)
            self.tidy()
        except self.survivable as error:
            del self.calls[variant]
            self.made.samples.pop(variant, None)
            self.on_error(variant, error)
            return None
        return row

    def _warm_up(self, calls: int, seconds: float, *, first: bool = False) -> None:
        """Call all variants in turn until each has had its calls, none compiles any more, and the time is up."""
        shortest: dict[str, float] = {}
        quiet = dict.fromkeys(self.calls, 0)
        if self.wait_for_turn is not None:
            self.wait_for_turn()
        start, turn = self.clock.wall_s(), 0
        while self.calls:
            for variant in list(self.calls):
                row = self._attempt(variant, turn % self.inputs, 1)
                if row is None:
                    continue
                if first and turn == 0:
                    self.made.first_call_s[variant] = row["wall_s"]
                quiet[variant] = 0 if row.get("recompiles") else quiet[variant] + 1
                shortest[variant] = min(_ran_s(row), shortest.get(variant, math.inf))
            turn += 1
            waited = self.clock.wall_s() - start
            ready = all(quiet[variant] >= min(calls, QUIET_CALLS) for variant in self.calls) and self.settled()
            if turn >= calls and waited >= seconds and (ready or (turn >= MOST_TURNS and waited >= 10 * seconds)):
                break
        self.shortest = shortest
        for variant, wall in shortest.items():
            self.repeats[variant] = max(1, min(1000, math.ceil(SHORTEST_SAMPLE_S / max(wall, 1e-9))))
        if self.clock.on_device and self.calls:
            # What a sample costs besides its calls must weigh equally on all variants.
            self.repeats = dict.fromkeys(self.calls, max(self.repeats[variant] for variant in self.calls))

    def _play(self, effort: Effort) -> dict[str, str]:
        """Take fresh samples in every round; returns a sentence for each variant that drifted."""
        self.made.samples = {variant: {} for variant in self.calls}
        self.made.blocks = {}
        for round_ in range(effort.rounds):
            if self._out_of_time(round_):
                break
            if self.wait_for_turn is not None:
                self.wait_for_turn()
            self._round(round_)
        if self.wait_for_turn is not None:
            return {}
        effects = self._effects()
        blocks_each = min(map(len, effects.values()), default=0)
        self.made.steadiness_tested = trend_test.testable([blocks_each], len(effects)) if effects else False
        # In words, as a record keeps it.
        return {
            variant: f"relative to the baseline it drifted by {percent(found.change, sign='+')} over {found.blocks} blocks "
            f"(Mann-Kendall p = {found.p:.2g})"
            for variant, found in trend_test.unsteady(effects).items()
        }

    def _out_of_time(self, played: int) -> bool:  # noqa: ARG002  # a session of its own kind reads it
        """Whether no more is measured after so many rounds; a run's number of rounds is fixed."""
        return False

    def _effects(self) -> dict[str, list[float]]:
        if not self.made.samples.get(self.baseline):
            return {}
        process = Process(
            {variant: columns for variant, columns in self.made.samples.items() if columns}, self.baseline
        )
        return {
            variant: process.of_blocks(variant, self.column).tolist()
            for variant in process.variants
            if variant != self.baseline
        }

    def _round(self, round_: int) -> None:
        if not self._next_inputs:
            self._next_inputs = self.rng.sample(range(self.inputs), self.inputs)
        number = self._next_inputs.pop()
        for block in deal(list(self.calls), self.baseline, self.rng):
            self._block(round_, number, block)

    def _block(self, round_: int, number: int, block: Sequence[str]) -> None:
        number_of_block = len(self.made.blocks.get("block", ()))
        before, start = self.of_blocks.read(), self.clock.wall_s()
        for position, variant in enumerate(block):
            if variant not in self.calls:
                continue
            with nvtx.sample(variant):
                row = self._attempt(variant, number, self.repeats[variant])
            if row is not None:
                where = {
                    "round": round_,
                    "block": number_of_block,
                    "position": position,
                    "calls": self.repeats[variant],
                    "input": number,
                }
                _append(self.made.samples[variant], where | row)
        seen = {"block": number_of_block, "wall_s": self.clock.wall_s() - start} | self.of_blocks.since(before)
        _append(self.made.blocks, seen)

    def _timed(self, call: Call, number: int, repeats: int) -> dict[str, float]:
        """Measure wall and CPU seconds per call, with the device idle before and after each; then read the witnesses."""
        before = self.of_samples.read()
        self.clock.synchronize()
        wall, cpu = self.clock.wall_s(), self.clock.cpu_s()
        made = []
        for _ in range(repeats):
            made.append(call(number))
            self.clock.synchronize()  # else the next call would be launched while this one runs: a rate, not a latency
        wall, cpu = self.clock.wall_s() - wall, self.clock.cpu_s() - cpu
        seen = self.of_samples.since(before)
        row = {"wall_s": wall / repeats, "cpu_s": cpu / repeats} | _laps(made) | seen
        if "voluntary" in seen and "wait_s" in seen:
            # Time that it neither ran nor could have run. Without a switch of its own will another guest took that time.
            row["blocked_s"] = max(0.0, wall - cpu - seen["wait_s"]) if seen["voluntary"] else 0.0
        return row


def _ran_s(row: Mapping[str, float]) -> float:
    """Wall seconds of a call of its own, without those in which it waited for a processor that others had."""
    wall_s = row["wall_s"]
    return min(wall_s, max(wall_s - row.get("wait_s", 0.0), row["cpu_s"])) or wall_s


def _laps(made: Sequence[object]) -> dict[str, float]:
    """Mean laps of the calls of a sample, by column."""
    laps: list[Laps] = [each for each in made if isinstance(each, Mapping)]
    if not laps:
        return {}
    return {column: fmean(each[column] for each in laps) for column in laps[0]}


def _append(columns: Samples, row: Mapping[str, float]) -> None:
    for name, value in row.items():
        columns.setdefault(name, []).append(value)


class Stopwatch:
    """Measures laps of wall and CPU time, with the device idle at the end of each."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.laps = clock, dict[str, float]()
        clock.synchronize()
        self.last = (clock.wall_s(), clock.cpu_s())

    def lap(self, name: str) -> None:
        """End a lap, as columns `NAME/wall_s` and `NAME/cpu_s`."""
        self.clock.synchronize()
        now = (self.clock.wall_s(), self.clock.cpu_s())
        self.laps[f"{name}/wall_s"], self.laps[f"{name}/cpu_s"] = now[0] - self.last[0], now[1] - self.last[1]
        self.last = now

    def quantiles(self, wanted: dict[str, float]) -> Laps:
        """Quantiles over all laps (nearest rank), of wall and CPU time separately."""
        found = {}
        for column in ("wall_s", "cpu_s"):
            ordered = sorted(seconds for name, seconds in self.laps.items() if name.endswith(column))
            for name, share in wanted.items():
                found[f"{name}/{column}"] = ordered[max(0, math.ceil(share * len(ordered)) - 1)]
        return found


# Waits for this process's turn, where what started it lets it take turns with others; None: it is timed by itself.
its_turn: Callable[[], None] | None = None
