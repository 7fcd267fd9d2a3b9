"""Labels on samples: which were noisy, and by what. Nothing is dropped; a second estimate uses the clean samples.

Computed from the witnesses' columns for each report, never stored: thresholds may change later, samples may not. What a model
does itself, such as collecting its garbage (`collect_s`), is its cost and no noise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median_high
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

# Samples of a variant, or what witnesses saw of blocks, by column.
Columns = Mapping[str, Sequence[float]]
Floats: TypeAlias = "npt.NDArray[np.float64]"
Ints: TypeAlias = "npt.NDArray[np.int64]"
Bools: TypeAlias = "npt.NDArray[np.bool_]"
# A disturbance shorter than this share of a sample or block is too small to move it by half the smallest margin.
SHARE = 0.01
# Above this share of noisy blocks a time, or a ratio without an interval, says more of the machine than of what was timed.
MOST = 0.5
# Columns of samples that witnesses fill.
WITNESSED = ("wait_s", "involuntary", "recompiles")
# Below this share of the run's median SM clock a GPU's block is slow for reasons other than the model (nvbench's test).
CLOCK_SHARE = 0.95
# Throttle reasons that invalidate a block: hardware and thermal slow-downs, power brake. A power cap is normal at full load.
THROTTLED = 0x8 | 0x20 | 0x40 | 0x80
POWER_CAPPED = 0x4
# The driver's own counts of seconds in which heat or the power brake held the clocks down.
THROTTLED_S = ("thermal_s", "thermal_hw_s", "power_brake_s")
# Columns of samples that tell whether one was noisy; a sample took `sample_s` where it is there, else `wall_s` times `calls`.
SEEN = ("block", "wall_s", "calls", "sample_s", *WITNESSED)


def causes(samples: Columns, blocks: Columns | None = None) -> list[frozenset[str]]:
    """Find what made each sample noisy: a set of causes by name, empty for none.

    Args:
        samples: a variant's raw samples.
        blocks: what witnesses saw of the blocks that the samples belong to.
    """
    found = _marks(samples, blocks or {})
    return [frozenset(cause for cause, marks in found.items() if marks[i]) for i in range(len(samples["wall_s"]))]


def noisy(samples: Columns, blocks: Columns | None = None) -> Bools:
    """Return of each sample whether anything made it noisy."""
    marks = [*_marks(samples, blocks or {}).values()]
    return np.any(marks, axis=0) if marks else np.zeros(len(samples["wall_s"]), bool)


def _marks(samples: Columns, blocks: Columns) -> dict[str, Bools]:
    """By cause, whether it made each sample noisy; a cause that did so with none may lack."""
    n, found = len(samples["wall_s"]), dict[str, Bools]()
    if any(_has(samples, name) for name in WITNESSED):
        walls = _values(samples, "wall_s", n) * _values(samples, "calls", n)
        wall = _values(samples, "sample_s", n) if _has(samples, "sample_s") else walls
        found["preempted"] = _values(samples, "wait_s", n) > SHARE * wall
        # A switch to a kernel thread takes microseconds and disturbs nothing; where waits are not measured every switch counts.
        if "wait_s" not in samples:
            found["preempted"] |= _values(samples, "involuntary", n) > 0
        found["recompiled"] = _values(samples, "recompiles", n) > 0
    if blocks:
        numbers = np.asarray(samples["block"])
        for cause, marks in _block_marks(blocks).items():
            found[cause] = np.isin(numbers, np.asarray(blocks["block"])[marks])
    return {cause: marks for cause, marks in found.items() if marks.any()}


def _block_marks(blocks: Columns) -> dict[str, Bools]:
    """By cause, whether it made each block noisy."""
    n = len(blocks["block"])
    wall, clocks = _values(blocks, "wall_s", n), _values(blocks, "sm_mhz", n)
    # The bits show the moment after the block, when the GPU is idle again; the counts miss nothing in between.
    held_s = np.max([_values(blocks, name, n) for name in THROTTLED_S], axis=0)
    return {
        "stolen by other guests": _values(blocks, "steal_s", n) > SHARE * wall,
        "throttled": (held_s > SHARE * wall) | ((_values(blocks, "throttle", n).astype(int) & THROTTLED) > 0),
        "not watched: the GPU's driver did not answer": _values(blocks, "unanswered", n) > 0,
        "another process on the GPU": _values(blocks, "foreign", n) > 0,
        "slow GPU clock": clocks < (CLOCK_SHARE * median_high(clocks.tolist()) if n else 0.0),
    }


def power_capped(blocks: Columns) -> list[bool]:
    """For every block, whether the power cap held its clocks down: by the driver's count, else by the bit read after it."""
    if "power_capped_s" in blocks:
        both = zip(blocks["power_capped_s"], blocks["wall_s"], strict=True)
        return [capped > SHARE * wall for capped, wall in both]
    return [bool(int(value) & POWER_CAPPED) for value in blocks.get("throttle", ())]


def _has(columns: Columns, name: str) -> bool:
    return len(columns.get(name, ())) > 0


def _values(columns: Columns, name: str, n: int) -> Floats:
    """A column of n values; 0 where it was not recorded."""
    return np.asarray(columns[name], float) if _has(columns, name) else np.zeros(n)


def share_of_blocks(samples: Columns, blocks: Columns | None = None) -> float:
    """Share of a variant's blocks with a noisy sample."""
    found = np.asarray(samples["block"])
    bad = np.unique(found[noisy(samples, blocks)])
    return len(bad) / len(np.unique(found)) if len(found) else 0.0


def stretch(sides: Iterable[Columns]) -> float:
    """How many times as long samples took as without waiting for a processor; 1 where that was not recorded."""
    whole = waited = 0.0
    for samples in sides:
        if samples.get("wait_s"):
            whole += sum(wall * calls for wall, calls in zip(samples["wall_s"], samples["calls"], strict=True))
            waited += sum(samples["wait_s"])
    return whole / (whole - waited) if 0 < waited < whole else 1.0


def counted(found: Iterable[frozenset[str]]) -> dict[str, int]:
    """Number of samples that each cause made noisy, most frequent first."""
    return dict(Counter(cause for causes_of_one in found for cause in sorted(causes_of_one)).most_common())


ESCAPED_SHARE = 0.05
# Waiting for an idle device already takes some microseconds.
ESCAPED_FLOOR_S = 5e-5


def escape_limit(seconds: float) -> float:
    """Seconds that a device may work after a stream that took `seconds`, before work counts as escaped."""
    return max(ESCAPED_FLOOR_S, ESCAPED_SHARE * seconds)
