"""What one process says of its arms: each against the anchor that was in all of its blocks, all arms at once, in numpy.

    process  a launch: a fresh process, which times all arms of a comparison in turn
    round    every arm but the anchor has one block in each
    block    the anchor and one arm, interleaved, on one input
    cell     the samples of an arm in a block
    sample   some calls: seconds for each call (`wall_s`, `cpu_s`), their number (`calls`), and what witnesses saw

Samples become a mean log for each cell, that becomes d = arm - anchor for each block, and the d of an arm become two numbers for
each process and clock, both log-ratios above 0 where the arm takes longer than the anchor:

    medians  the median of d: of a typical call. Disturbed samples stay in
    means    the log-ratio of mean times, every input with the same weight: if one call in ten stalls, or six of sixteen inputs
             cost four times as much, this moves and the median does not. Without samples that something outside the model
             disturbed, unless an arm would lose one of its inputs

In two blocks the anchor takes 10 ms and 12 ms, an arm 5 ms and 6 ms: d is -0.69 twice, and so are both numbers.

The time of an arm (`typical`, `mean`) is that of the anchor, times what the arm takes beside it. So the quotient of two arms'
times is their ratio, which is taken within blocks; that of their own medians would be another number where the machine changes
from block to block. `paired.between` subtracts two arms, process by process.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from modbench.harness.stats import contamination
from modbench.harness.stats.block_effects import Columns
from modbench.harness.stats.contamination import Bools, Floats, Ints


class Waits(NamedTuple):
    """Seconds over all samples of an arm: CPU time of its thread, that of others, and its own waits; None: not recorded."""

    cpu_s: float
    others_s: float | None
    blocked_s: float | None


class ByClock(NamedTuple):
    """What a process says of its arms by one clock, on the log scale, by the arm's number (`Process.number`).

    Attributes:
        logs: mean log of each cell.
        d: that of each cell of another arm minus that of the anchor's in the same block, by arm and block.
        medians: the effect of each arm by medians, above 0 where it takes longer than the anchor; that of the anchor is 0, and
            that of an arm that shares no block with it (`Process.shares`) no number.
        means: the same by means.
        typical: the log of the time of a typical call.
        mean: the log of the mean time.
    """

    logs: Floats
    d: Floats
    medians: Floats
    means: Floats
    typical: Floats
    mean: Floats


class _Sums(NamedTuple):
    """Samples of cells: their number, sum and variance."""

    n: Floats
    total: Floats
    variance: Floats


class Process:
    """The samples of all arms of one process, and what follows from them. A cell holds the samples of an arm in a block.

    Args:
        arms: columns of samples by arm: `block`, `round`, what was measured (`wall_s`), and what witnesses saw of each sample.
        anchor: the arm that was in every block; it lacks among the arms if it failed.
        blocks: what witnesses saw of the blocks.
    """

    def __init__(self, arms: Mapping[str, Columns], anchor: str, blocks: Columns | None = None) -> None:
        self.arms, self.anchor, self.blocks = arms, anchor, blocks or {}
        self._clocks: dict[str, ByClock] = {}
        self.number = {name: number for number, name in enumerate(arms)}
        self._has = frozenset.intersection(*(frozenset(name for name in each if each[name]) for each in arms.values()))
        sizes = [len(each["block"]) for each in arms.values()]
        numbers, block = np.unique(self._flat("block"), return_inverse=True)
        cells, self._cell = np.unique(
            np.repeat(np.arange(len(arms)), sizes) * len(numbers) + block, return_inverse=True
        )
        self._arm, self._block = cells // len(numbers), cells % len(numbers)
        own = self._arm == (self.number[anchor] if anchor in arms else -1)
        there = np.full(len(numbers), -1)
        there[self._block[own]] = np.flatnonzero(own)
        # Cells of arms that share their block with the anchor, and the cell of the anchor there; and where each arm has its own.
        self._mine = np.flatnonzero(~own & (there[self._block] >= 0))
        self._theirs = there[self._block[self._mine]]
        self._ends = np.searchsorted(self._arm[self._mine], np.arange(len(arms) + 1))

    def _shared(self, arm: str) -> slice:
        """Where in `_mine` an arm has its cells."""
        at = self.number[arm]
        return slice(*self._ends[at : at + 2].tolist())

    def _flat(self, column: str) -> Floats:
        """A column of all arms, one after the other."""
        return np.fromiter(chain.from_iterable(each[column] for each in self.arms.values()), float)

    def _of_cells(self, column: str) -> Floats:
        """What all samples of a cell have in common: its round, its input."""
        found = np.empty(len(self._arm))
        found[self._cell] = self._flat(column)
        return found

    # --- what was disturbed

    @functools.cached_property
    def _disturbed(self) -> Bools:
        """Of each sample whether something outside the model disturbed it."""
        seen: dict[str, Any] = {name: self._flat(name) for name in contamination.SEEN if name in self._has}
        return contamination.disturbed(seen, self.blocks)

    @functools.cached_property
    def _bad(self) -> Bools:
        """Of each cell whether one of its samples was disturbed."""
        return np.bincount(self._cell, self._disturbed, len(self._arm)) > 0

    @functools.cached_property
    def disturbed(self) -> dict[str, float]:
        """The share of each arm's blocks in which one of its samples was disturbed."""
        shares = np.bincount(self._arm, self._bad) / np.bincount(self._arm)
        return dict(zip(self.arms, shares.tolist(), strict=True))

    @functools.cached_property
    def bad_blocks(self) -> dict[str, dict[int, bool]]:
        """Of each arm but the anchor its blocks, and whether a sample of it or of the anchor was disturbed there."""
        bad = self._bad.copy()
        bad[self._mine] |= bad[self._theirs]
        names = [*self.arms]
        found: dict[str, dict[int, bool]] = {name: {} for name in names}
        for arm, block, each in zip(self._arm.tolist(), self._block.tolist(), bad.tolist(), strict=True):
            found[names[arm]][block] = each
        found.pop(self.anchor, None)
        return found

    @functools.cached_property
    def quiet(self) -> bool:
        """Whether nothing was disturbed."""
        return not self._disturbed.any()

    @functools.cached_property
    def ticked(self) -> frozenset[str]:
        """Arms whose CPU time was seen in every sample: a clock of coarse steps does not move in a short call."""
        return frozenset(name for name, each in self.arms.items() if ticked(each))

    @functools.cached_property
    def waits(self) -> dict[str, Waits]:
        """What the threads of each arm did."""
        return {name: waits(each) for name, each in self.arms.items()}

    # --- effects and times

    def shares(self, arm: str) -> bool:
        """Whether an arm shares a block with the anchor, which it does itself."""
        shared = self._shared(arm)
        return shared.start < shared.stop or arm == self.anchor

    def of_blocks(self, arm: str, column: str = "wall_s") -> Floats:
        """Return the effects of the blocks that an arm shares with the anchor, in their order."""
        return self.by(column).d[self._shared(arm)]

    def logs(self, arm: str, column: str = "wall_s") -> Floats:
        """Return the mean log of an arm's samples by block."""
        found: Floats = self.by(column).logs[self._arm == self.number[arm]]
        return found

    def rounds(self, arm: str, column: str = "wall_s") -> dict[float, float]:
        """Return the effects of an arm's blocks by round."""
        rounds = self._of_cells("round")[self._mine[self._shared(arm)]]
        return dict(zip(rounds.tolist(), self.of_blocks(arm, column).tolist(), strict=True))

    def inputs(self, arm: str) -> Ints:
        """Return the input of each block that an arm shares with the anchor, by its number."""
        return self._input[self._mine[self._shared(arm)]]

    def by(self, column: str) -> ByClock:
        """Return what the process says by one clock, computed when it is first asked for."""
        if column not in self._clocks:
            with np.errstate(divide="ignore", invalid="ignore"):  # where a clock did not tick
                self._clocks[column] = self._by(column)
        return self._clocks[column]

    def _by(self, column: str) -> ByClock:
        logs = np.bincount(self._cell, np.log(self._flat(column))) / np.bincount(self._cell)
        d, of = logs[self._mine] - logs[self._theirs], self._arm[self._mine]
        shared, first, counts = np.unique(of, return_index=True, return_counts=True)
        ordered = d[np.lexsort((d, of))]
        middles = (ordered[first + (counts - 1) // 2] + ordered[first + counts // 2]) / 2
        means, mean = self._log_means(column)
        medians, typical = np.full((2, len(self.arms)), np.nan)
        medians[shared] = middles
        alone = [name for name in self.arms if name == self.anchor or not self.shares(name)]
        typical[[self.number[name] for name in alone]] = [np.median(np.log(self.arms[name][column])) for name in alone]
        if self.anchor in self.arms:
            anchor, there = self.number[self.anchor], [self.shares(name) for name in self.arms]
            medians[anchor] = means[anchor] = 0.0
            typical[there], mean[there] = typical[anchor] + medians[there], mean[anchor] + means[there]
        return ByClock(logs, d, medians, means, typical, mean)

    # --- means

    def _log_means(self, column: str) -> tuple[Floats, Floats]:
        """The effect of each arm by means, and the log of its own mean time, from undisturbed samples.

        From all where an input would be lost: the effect of an arm that was not disturbed itself may lose some.
        """
        every, cells = self._sums(column, np.ones(len(self._cell), bool)), np.arange(len(self._arm))
        clean = every if self.quiet else self._sums(column, ~self._disturbed)
        calm = np.bincount(self._arm, self._bad) == 0
        alone = self._mean_of(cells, cells, self._whole(cells[clean.n > 0]), every, clean)
        both = self._mine[(clean.n[self._mine] > 0) & (clean.n[self._theirs] > 0)]
        used = self._whole(both) | (calm & (np.bincount(self._arm[both], minlength=len(calm)) > 0))
        kept = ~used[self._arm[self._mine]] | np.isin(self._mine, both)
        mine, theirs = self._mine[kept], self._theirs[kept]
        beside = self._mean_of(mine, mine, used, every, clean) - self._mean_of(mine, theirs, used, every, clean)
        return beside, alone

    def _whole(self, cells: Ints) -> Bools:
        """Of each arm whether it has some of these cells, and they visited all of its inputs (without inputs: blocks)."""
        what = self._input if "input" in self._has else self._block
        width = int(what.max()) + 1

        def visited(some: Ints) -> Ints:
            visits = np.bincount(self._arm[some] * width + what[some], minlength=len(self.arms) * width)
            counts: Ints = (visits > 0).reshape(-1, width).sum(1)
            return counts

        found = visited(cells)
        whole: Bools = (found > 0) & (found == visited(np.arange(len(self._arm))))
        return whole

    @functools.cached_property
    def _input(self) -> Ints:
        """The number of each cell's input; without inputs all samples have the same weight."""
        if "input" not in self._has:
            return np.zeros(len(self._arm), np.int64)
        return self._of_cells("input").astype(np.int64)

    def _sums(self, column: str, kept: Bools) -> _Sums:
        """Sums over the samples that are kept, of every cell."""
        values, cell, cells = self._flat(column)[kept], self._cell[kept], len(self._arm)
        n, total = np.bincount(cell, minlength=cells), np.bincount(cell, values, cells)
        rest = values - (total / np.maximum(n, 1))[cell]
        squares = np.bincount(cell, rest * rest, cells)
        return _Sums(
            n.astype(np.float64), total.astype(np.float64), (squares / np.maximum(n - 1, 1)).astype(np.float64)
        )

    def _mean_of(self, mine: Ints, cells: Ints, by_clean: Bools, every: _Sums, clean: _Sums) -> Floats:
        """Log of the mean over inputs of the mean at each input, of the arm of each cell of `mine`, taken from `cells`.

        The log of a noisy mean is too low by half its relative variance; this is added, estimated from the samples of one block,
        which share their input.
        """
        of, inputs, groups = self._arm[mine], self._input[cells], len(self.arms)
        n, total, variance = (
            np.where(by_clean[of], some[cells], all_[cells]) for some, all_ in zip(clean, every, strict=True)
        )
        most = int(self._input.max()) + 1
        visits = np.bincount(of * most + inputs, n, groups * most).reshape(groups, most)
        weights = np.where(n > 0, 1 / ((visits > 0).sum(1)[of] * visits[of, inputs]), 0.0)
        mean = np.bincount(of, total * weights, groups)
        noise = np.bincount(of, variance * n * weights**2, groups)
        return np.log(mean) + noise / mean**2 / 2


def ticked(samples: Columns) -> bool:
    """Whether CPU time was seen in every sample."""
    return bool(samples.get("cpu_s")) and all(samples["cpu_s"])


def waits(samples: Columns) -> Waits:
    """Return what the threads of an arm did."""
    cpu_s = sum(cpu * calls for cpu, calls in zip(samples["cpu_s"], samples["calls"], strict=True))
    others_s, blocked_s = (sum(samples[name]) if name in samples else None for name in ("others_s", "blocked_s"))
    return Waits(cpu_s, others_s, blocked_s)
