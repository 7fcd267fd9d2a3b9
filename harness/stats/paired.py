"""Two variants of one comparison: the numbers of each process by both clocks (`against_baseline.py`), and what was noisy.

Wall time is what a user waits for, and what a busy machine makes noisy. CPU time is what the thread ran: waiting for a processor
does not touch it. It sees no other waiting either, no other thread and no GPU, so that it stands for wall time only where one
thread did the work and did not wait of itself (`unfit`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from modbench.harness.core.contracts import Estimand
from modbench.harness.stats import noise
from modbench.harness.stats.against_baseline import Process, Waits, waits
from modbench.harness.stats.noise import Columns
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import (
    NOT_RECORDED,
    SEVERAL_THREADS,
    ByClock,
    Contrast,
    Rule,
    Seen,
    Side,
    contrast,
)

# CPU time of other threads, and waiting of its own, up to these shares of a variant's CPU time move no verdict.
MOST_OTHERS, MOST_BLOCKED = 0.02, noise.SHARE


@dataclass(frozen=True)
class ProcessSamples:
    """Samples of a pair in one process.

    Attributes:
        case: samples of the case; None if it is the baseline.
        other: samples of the variant that it is compared with; None if it is the baseline.
        baseline: samples of the variant that was in every block.
        blocks: what witnesses saw of the blocks.
    """

    case: Columns | None
    other: Columns | None
    baseline: Columns
    blocks: Columns

    @property
    def process(self) -> Process:
        """The process that they are from, whose variants are `case`, `other` and `baseline`."""
        variants = {"case": self.case, "other": self.other, "baseline": self.baseline}
        return Process({name: each for name, each in variants.items() if each is not None}, "baseline", self.blocks)


class Numbers(NamedTuple):
    """What a pair's samples say of each side, and of the machine meanwhile: what `contrast.contrast` takes."""

    base: Side
    new: Side
    seen: Seen

    def contrast(self, rule: Rule | None = None) -> Contrast:
        """Compare the two as the only contrast of its family."""
        return contrast(self.base, self.new, "interleaved", rule or Rule(), self.seen)

    def within(self) -> list[float]:
        """The effects of the rounds of a single process, above 0 where the case is better."""
        base, new = self.base.wall.rounds, self.new.wall.rounds
        return [base[key] - new[key] for key in new if key in base]

    def shifted(self, by: float) -> Numbers:
        """Return numbers whose effect is larger by a known amount: of a rate, which has no other estimand than its own."""

        def shift(clock: ByClock) -> ByClock:
            return ByClock({key: value + by for key, value in clock.own.items()})

        base = Side(shift(self.base.wall), self.base.cpu and shift(self.base.cpu))
        new = (each and ByClock(each.own) for each in self.new)
        return Numbers(base, Side(*new), self.seen)  # type: ignore[arg-type]

    def effects(self, *, by_cpu: bool = False) -> list[float]:
        """The effect of each process, above 0 where the case is better; none by CPU time where that does not count."""
        base, new = (side.cpu if by_cpu else side.wall for side in (self.base, self.new))
        return (
            [] if base is None or new is None else [base.own[key] - new.own[key] for key in new.own if key in base.own]
        )


def numbers(
    timing_processes: Sequence[ProcessSamples],
    *,
    column: str = "wall_s",
    one_thread: bool,
    averaged: bool = True,
    estimand: Estimand = "median",
) -> Numbers:
    """Return the numbers of a pair, of which there is at least one process, as `between` does."""
    processes = dict(enumerate(each.process for each in timing_processes))
    case, other = ("baseline" if getattr(timing_processes[0], side) is None else side for side in ("case", "other"))
    return between(processes, case, other, column=column, one_thread=one_thread, averaged=averaged, estimand=estimand)


def between(
    processes: Mapping[int, Process],
    case: str,
    other: str,
    *,
    column: str = "wall_s",
    one_thread: bool,
    averaged: bool = True,
    estimand: Estimand = "median",
) -> Numbers:
    """Return the numbers of two variants, each side's against the baseline of its blocks, process by process.

    Args:
        processes: by number, those in which both variants and their baseline were timed.
        case: a variant.
        other: the variant that it is compared with.
        column: what is compared.
        one_thread: whether one thread does all the work, so that its CPU time is comparable.
        averaged: whether samples have a mean; quantiles have none.
        estimand: what the effect is of: medians over blocks, or means.
    """

    def by_clock(clock: str) -> Iterator[ByClock]:
        """The numbers of both sides in each process in which both share blocks with the baseline."""
        shared = {
            number: (each, each.by(clock))
            for number, each in processes.items()
            if (clock != "cpu_s" or each.ticked.issuperset((case, other, each.baseline)))
            and each.shares(case)
            and each.shares(other)
        }
        for name, across in ((other, case), (case, other)):
            medians = {number: found.medians.item(each.number[name]) for number, (each, found) in shared.items()}
            means = {
                number: found.means.item(each.number[name]) for number, (each, found) in shared.items() if averaged
            }
            rounds: dict[float, float] = {}
            if len(processes) == 1:
                for each, _ in shared.values():
                    rounds = each.rounds(name, clock) if name != each.baseline else {}
                    rounds = rounds or dict.fromkeys(each.rounds(across, clock), 0.0)
            yield ByClock(means, medians) if estimand == "mean" else ByClock(medians, means, rounds)

    walls, cpus = by_clock(column), by_clock("cpu_s") if one_thread else (None, None)
    base, new = map(Side, walls, cpus)
    unfit = _unfit(processes, case, other) if one_thread else SEVERAL_THREADS
    return Numbers(base, new, Seen(_noisy(processes, case, other), unfit))


def unfit(sides: Iterable[Sequence[Columns]]) -> Reason | None:
    """Why the CPU time of the thread does not stand for what the variants take; None where it does.

    Args:
        sides: the samples of each variant in all processes.
    """
    return unfit_of([waits(each) for each in side] for side in sides)


def unfit_of(sides: Iterable[Sequence[Waits]]) -> Reason | None:
    """The same of what the threads of each variant did in all processes."""
    for side in sides:
        cpu_s = sum(each.cpu_s for each in side)
        for name, most in (("others_s", MOST_OTHERS), ("blocked_s", MOST_BLOCKED)):
            seconds = [getattr(each, name) for each in side]
            if None in seconds:
                return NOT_RECORDED
            share = sum(seconds) / cpu_s if cpu_s else 0.0  # of a clock that never ticked, which `contrast` says
            if share > most:
                waits = Reason("waits", share=share)
                return Reason("other_threads", share=share) if name == "others_s" else waits
    return None


def _unfit(processes: Mapping[int, Process], case: str, other: str) -> Reason | None:
    variants = dict.fromkeys((case, other, *(each.baseline for each in processes.values())))
    return unfit_of([each.waits[variant] for each in processes.values()] for variant in variants)


def _noisy(processes: Mapping[int, Process], case: str, other: str) -> float:
    """Share of blocks, of either variant, in which one of its samples or of the baseline's was noisy."""
    if all(each.quiet for each in processes.values()):
        return 0.0
    bad = every = 0
    for each in processes.values():
        mine, theirs = (each.bad_blocks.get(variant, {}) for variant in (case, other))
        bad += sum(mine.get(block, False) or theirs.get(block, False) for block in {**mine, **theirs})
        every += len({**mine, **theirs})
    return bad / every if every else 0.0
