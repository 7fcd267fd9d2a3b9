"""What one process says of its variants: each against the baseline that was in all of its blocks, all variants at once, in numpy.

    process  a process: a fresh process, which times all variants of a comparison in turn
    round    every variant but the baseline has one block in each
    block    the baseline and one variant, interleaved, on one input
    cell     the samples of a variant in a block
    sample   some calls: seconds for each call (`wall_s`, `cpu_s`), their number (`calls`), and what witnesses saw

Samples become a mean log for each cell, that becomes d = variant - baseline for each block, and the d of a variant become two
numbers for each process and clock, both log-ratios above 0 where the variant takes longer than the baseline:

    medians  the median of d, for the median time of a call. Noisy samples stay in
    means    the log-ratio of mean times, every input with the same weight: if one call in ten stalls, or six of sixteen inputs
             cost four times as much, this moves and the median does not. Without samples that something outside the model
             made noisy, unless a variant would lose one of its inputs

In two blocks the baseline takes 10 ms and 12 ms, a variant 5 ms and 6 ms: d is -0.69 twice, and so are both numbers.

The time of a variant (`typical`, `mean`) is that of the baseline, times what the variant takes beside it. So the quotient of
two variants' times is their ratio, which is taken within blocks; that of their own medians would be another number where the
machine changes from block to block. `paired.between` subtracts two variants, process by process.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from modbench.harness.stats import noise
from modbench.harness.stats.noise import Bools, Columns, Floats, Ints


class Waits(NamedTuple):
    """Seconds over all samples of a variant: CPU time of its thread, that of others, and its own waits; None: not recorded."""

    cpu_s: float
    others_s: float | None
    blocked_s: float | None


class ByClock(NamedTuple):
    """What a process says of its variants by one clock, on the log scale, by the variant's number (`Process.number`).

    Attributes:
        logs: mean log of each cell.
        d: that of each cell of another variant minus that of the baseline's in the same block, by variant and block.
        medians: the effect of each variant by medians, above 0 where it takes longer than the baseline; that of the baseline is
            0, and that of a variant that shares no block with it (`Process.shares`) no number.
        means: the same by means.
        typical: the log of the median time of a call.
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
    """The samples of all variants of one process, and what follows from them. A cell holds the samples of a variant in a block.

    Args:
        variants: columns of samples by variant: `block`, `round`, what was measured (`wall_s`), and what witnesses saw of
            each sample.
        baseline: the variant that was in every block; it lacks among the variants if it failed.
        blocks: what witnesses saw of the blocks.
    """

    def __init__(self, variants: Mapping[str, Columns], baseline: str, blocks: Columns | None = None) -> None:
        self.variants, self.baseline, self.blocks = variants, baseline, blocks or {}
        self._clocks: dict[str, ByClock] = {}
        self.number = {name: number for number, name in enumerate(variants)}
        self._has = frozenset.intersection(
            *(frozenset(name for name in each if each[name]) for each in variants.values())
        )
        sizes = [len(each["block"]) for each in variants.values()]
        numbers, block = np.unique(self._flat("block"), return_inverse=True)
        cells, self._cell = np.unique(
            np.repeat(np.arange(len(variants)), sizes) * len(numbers) + block, return_inverse=True
        )
        self._variant, self._block = cells // len(numbers), cells % len(numbers)
        own = self._variant == (self.number[baseline] if baseline in variants else -1)
        there = np.full(len(numbers), -1)
        there[self._block[own]] = np.flatnonzero(own)
        # Cells of variants that share their block with the baseline, and the cell of the baseline there; and where each variant
        # has its own.
        self._mine = np.flatnonzero(~own & (there[self._block] >= 0))
        self._theirs = there[self._block[self._mine]]
        self._ends = np.searchsorted(self._variant[self._mine], np.arange(len(variants) + 1))

    def _shared(self, variant: str) -> slice:
        """Where in `_mine` a variant has its cells."""
        at = self.number[variant]
        return slice(*self._ends[at : at + 2].tolist())

    def _flat(self, column: str) -> Floats:
        """A column of all variants, one after the other."""
        return np.fromiter(chain.from_iterable(each[column] for each in self.variants.values()), float)

    def _of_cells(self, column: str) -> Floats:
        """What all samples of a cell have in common: its round, its input."""
        found = np.empty(len(self._variant))
        found[self._cell] = self._flat(column)
        return found

    # --- what was noisy

    @functools.cached_property
    def _noisy(self) -> Bools:
        """Of each sample whether something outside the model made it noisy."""
        seen: dict[str, Any] = {name: self._flat(name) for name in noise.SEEN if name in self._has}
        return noise.noisy(seen, self.blocks)

    @functools.cached_property
    def _bad(self) -> Bools:
        """Of each cell whether one of its samples was noisy."""
        return np.bincount(self._cell, self._noisy, len(self._variant)) > 0

    @functools.cached_property
    def noisy(self) -> dict[str, float]:
        """The share of each variant's blocks in which one of its samples was noisy."""
        shares = np.bincount(self._variant, self._bad) / np.bincount(self._variant)
        return dict(zip(self.variants, shares.tolist(), strict=True))

    @functools.cached_property
    def bad_blocks(self) -> dict[str, dict[int, bool]]:
        """Of each variant but the baseline its blocks, and whether a sample of it or of the baseline was noisy there."""
        bad = self._bad.copy()
        bad[self._mine] |= bad[self._theirs]
        names = [*self.variants]
        found: dict[str, dict[int, bool]] = {name: {} for name in names}
        for variant, block, each in zip(self._variant.tolist(), self._block.tolist(), bad.tolist(), strict=True):
            found[names[variant]][block] = each
        found.pop(self.baseline, None)
        return found

    @functools.cached_property
    def quiet(self) -> bool:
        """Whether nothing was noisy."""
        return not self._noisy.any()

    @functools.cached_property
    def ticked(self) -> frozenset[str]:
        """Variants whose CPU time was seen in every sample: a clock of coarse steps does not move in a short call."""
        return frozenset(name for name, each in self.variants.items() if ticked(each))

    @functools.cached_property
    def waits(self) -> dict[str, Waits]:
        """What the threads of each variant did."""
        return {name: waits(each) for name, each in self.variants.items()}

    # --- effects and times

    def shares(self, variant: str) -> bool:
        """Whether a variant shares a block with the baseline, which it does itself."""
        shared = self._shared(variant)
        return shared.start < shared.stop or variant == self.baseline

    def of_blocks(self, variant: str, column: str = "wall_s") -> Floats:
        """Return the effects of the blocks that a variant shares with the baseline, in their order."""
        return self.by(column).d[self._shared(variant)]

    def logs(self, variant: str, column: str = "wall_s") -> Floats:
        """Return the mean log of a variant's samples by block."""
        found: Floats = self.by(column).logs[self._variant == self.number[variant]]
        return found

    def rounds(self, variant: str, column: str = "wall_s") -> dict[float, float]:
        """Return the effects of a variant's blocks by round."""
        rounds = self._of_cells("round")[self._mine[self._shared(variant)]]
        return dict(zip(rounds.tolist(), self.of_blocks(variant, column).tolist(), strict=True))

    def inputs(self, variant: str) -> Ints:
        """Return the input of each block that a variant shares with the baseline, by its number."""
        return self._input[self._mine[self._shared(variant)]]

    def by(self, column: str) -> ByClock:
        """Return what the process says by one clock, computed when it is first asked for."""
        if column not in self._clocks:
            with np.errstate(divide="ignore", invalid="ignore"):  # where a clock did not tick
                self._clocks[column] = self._by(column)
        return self._clocks[column]

    def _by(self, column: str) -> ByClock:
        logs = np.bincount(self._cell, np.log(self._flat(column))) / np.bincount(self._cell)
        d, of = logs[self._mine] - logs[self._theirs], self._variant[self._mine]
        shared, first, counts = np.unique(of, return_index=True, return_counts=True)
        ordered = d[np.lexsort((d, of))]
        middles = (ordered[first + (counts - 1) // 2] + ordered[first + counts // 2]) / 2
        means, mean = self._log_means(column)
        medians, typical = np.full((2, len(self.variants)), np.nan)
        medians[shared] = middles
        alone = [name for name in self.variants if name == self.baseline or not self.shares(name)]
        typical[[self.number[name] for name in alone]] = [
            np.median(np.log(self.variants[name][column])) for name in alone
        ]
        if self.baseline in self.variants:
            baseline, there = self.number[self.baseline], [self.shares(name) for name in self.variants]
            medians[baseline] = means[baseline] = 0.0
            typical[there], mean[there] = typical[baseline] + medians[there], mean[baseline] + means[there]
        return ByClock(logs, d, medians, means, typical, mean)

    # --- means

    def _log_means(self, column: str) -> tuple[Floats, Floats]:
        """The effect of each variant by means, and the log of its own mean time, from undisturbed samples.

        From all where an input would be lost: the effect of a variant that was not noisy itself may lose some.
        """
        every, cells = self._sums(column, np.ones(len(self._cell), bool)), np.arange(len(self._variant))
        clean = every if self.quiet else self._sums(column, ~self._noisy)
        calm = np.bincount(self._variant, self._bad) == 0
        alone = self._mean_of(cells, cells, self._whole(cells[clean.n > 0]), every, clean)
        both = self._mine[(clean.n[self._mine] > 0) & (clean.n[self._theirs] > 0)]
        used = self._whole(both) | (calm & (np.bincount(self._variant[both], minlength=len(calm)) > 0))
        kept = ~used[self._variant[self._mine]] | np.isin(self._mine, both)
        mine, theirs = self._mine[kept], self._theirs[kept]
        beside = self._mean_of(mine, mine, used, every, clean) - self._mean_of(mine, theirs, used, every, clean)
        return beside, alone

    def _whole(self, cells: Ints) -> Bools:
        """Of each variant whether it has some of these cells, and they visited all of its inputs (without inputs: blocks)."""
        what = self._input if "input" in self._has else self._block
        width = int(what.max()) + 1

        def visited(some: Ints) -> Ints:
            visits = np.bincount(self._variant[some] * width + what[some], minlength=len(self.variants) * width)
            counts: Ints = (visits > 0).reshape(-1, width).sum(1)
            return counts

        found = visited(cells)
        whole: Bools = (found > 0) & (found == visited(np.arange(len(self._variant))))
        return whole

    @functools.cached_property
    def _input(self) -> Ints:
        """The number of each cell's input; without inputs all samples have the same weight."""
        if "input" not in self._has:
            return np.zeros(len(self._variant), np.int64)
        return self._of_cells("input").astype(np.int64)

    def _sums(self, column: str, kept: Bools) -> _Sums:
        """Sums over the samples that are kept, of every cell."""
        values, cell, cells = self._flat(column)[kept], self._cell[kept], len(self._variant)
        n, total = np.bincount(cell, minlength=cells), np.bincount(cell, values, cells)
        rest = values - (total / np.maximum(n, 1))[cell]
        squares = np.bincount(cell, rest * rest, cells)
        return _Sums(
            n.astype(np.float64), total.astype(np.float64), (squares / np.maximum(n - 1, 1)).astype(np.float64)
        )

    def _mean_of(self, mine: Ints, cells: Ints, by_clean: Bools, every: _Sums, clean: _Sums) -> Floats:
        """Log of the mean over inputs of the mean at each input, of the variant of each cell of `mine`, taken from `cells`.

        The log of a noisy mean is too low by half its relative variance; this is added, estimated from the samples of one block,
        which share their input.
        """
        of, inputs, groups = self._variant[mine], self._input[cells], len(self.variants)
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
    """Return what the threads of a variant did."""
    cpu_s = sum(cpu * calls for cpu, calls in zip(samples["cpu_s"], samples["calls"], strict=True))
    others_s, blocked_s = (sum(samples[name]) if name in samples else None for name in ("others_s", "blocked_s"))
    return Waits(cpu_s, others_s, blocked_s)
