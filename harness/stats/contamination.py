"""Labels on samples: which were disturbed, and by what. Nothing is dropped; a second estimate uses the clean samples.

Computed from the witnesses' columns for each report, never stored: thresholds may change later, samples may not. What a model
does itself, such as collecting its garbage (`collect_s`), is its cost and no disturbance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from statistics import median_high

from modbench.harness.stats.block_effects import Columns
from modbench.harness.stats.memo import remembered

# A disturbance shorter than this share of a sample or block is too small to move it by half the smallest margin.
SHARE = 0.01
# Above this share of disturbed blocks a time, or a ratio without an interval, says more of the machine than of what was timed.
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


NOTHING: frozenset[str] = frozenset()


@remembered
def causes(samples: Columns, blocks: Columns | None = None) -> list[frozenset[str]]:
    """Find what disturbed each sample: a set of causes by name, empty for none.

    Args:
        samples: an arm's raw samples; the witnesses watched `sample_s` if present, else `wall_s` times `calls`.
        blocks: what witnesses saw of the blocks that the samples belong to.
    """
    if not blocks and not any(samples.get(name) for name in WITNESSED):
        return [NOTHING] * len(samples["wall_s"])
    walls = (wall * calls for wall, calls in zip(samples["wall_s"], samples["calls"], strict=True))
    total = list(samples.get("sample_s") or walls)
    marks: list[set[str]] = [set() for _ in total]
    for i, wall in enumerate(total):
        waited = _at(samples, "wait_s", i)
        # A switch to a kernel thread takes microseconds and disturbs nothing; where waits are not measured every switch counts.
        if waited > SHARE * wall or ("wait_s" not in samples and _at(samples, "involuntary", i) > 0):
            marks[i].add("preempted")
        if _at(samples, "recompiles", i) > 0:
            marks[i].add("recompiled")
    if blocks:
        clocks = blocks.get("sm_mhz")
        slow = CLOCK_SHARE * median_high(clocks) if clocks else 0.0
        of_block = {block: _block_causes(blocks, i, slow) for i, block in enumerate(blocks["block"])}
        for mark, block in zip(marks, samples["block"], strict=True):
            mark.update(of_block.get(block, ()))
    return [frozenset(mark) for mark in marks]


def _block_causes(blocks: Columns, i: int, slow_mhz: float) -> frozenset[str]:
    wall = blocks["wall_s"][i]
    found = set()
    if _at(blocks, "steal_s", i) > SHARE * wall:
        found.add("stolen by other guests")
    # The bits show the moment after the block, when the GPU is idle again; the counts miss nothing in between.
    held_s = max(_at(blocks, name, i) for name in THROTTLED_S)
    if held_s > SHARE * wall or int(_at(blocks, "throttle", i)) & THROTTLED:
        found.add("throttled")
    if _at(blocks, "unanswered", i) > 0:
        found.add("not watched: the GPU's driver did not answer")
    if _at(blocks, "foreign", i) > 0:
        found.add("another process on the GPU")
    if _at(blocks, "sm_mhz", i) < slow_mhz:
        found.add("slow GPU clock")
    return frozenset(found)


def power_capped(blocks: Columns) -> list[bool]:
    """For every block, whether the power cap held its clocks down: by the driver's count, else by the bit read after it."""
    if "power_capped_s" in blocks:
        both = zip(blocks["power_capped_s"], blocks["wall_s"], strict=True)
        return [capped > SHARE * wall for capped, wall in both]
    return [bool(int(value) & POWER_CAPPED) for value in blocks.get("throttle", ())]


def _at(columns: Columns, name: str, i: int) -> float:
    values = columns.get(name)
    return values[i] if values else 0.0


@remembered
def clean(samples: Columns, blocks: Columns | None = None) -> Columns:
    """Undisturbed samples, with all their columns: the samples themselves where none was disturbed."""
    kept = [i for i, found in enumerate(causes(samples, blocks)) if not found]
    if len(kept) == len(samples["block"]):
        return samples
    return {name: [values[i] for i in kept] for name, values in samples.items()}


def share_of_blocks(samples: Columns, blocks: Columns | None = None) -> float:
    """Share of an arm's blocks with a disturbed sample."""
    by_block: dict[float, bool] = {}
    for block, found in zip(samples["block"], causes(samples, blocks), strict=True):
        by_block[block] = by_block.get(block, False) or bool(found)
    return sum(by_block.values()) / len(by_block) if by_block else 0.0


def stretch(sides: Iterable[Columns]) -> float:
    """How many times as long samples took as without waiting for a processor; 1 where that was not recorded."""
    whole = waited = 0.0
    for samples in sides:
        if samples.get("wait_s"):
            whole += sum(wall * calls for wall, calls in zip(samples["wall_s"], samples["calls"], strict=True))
            waited += sum(samples["wait_s"])
    return whole / (whole - waited) if 0 < waited < whole else 1.0


def counted(found: Iterable[frozenset[str]]) -> dict[str, int]:
    """Number of samples that each cause disturbed, most frequent first."""
    return dict(Counter(cause for causes_of_one in found for cause in sorted(causes_of_one)).most_common())


ESCAPED_SHARE = 0.05
# Waiting for an idle device already takes some microseconds.
ESCAPED_FLOOR_S = 5e-5


def escape_limit(seconds: float) -> float:
    """Seconds that a device may work after a stream that took `seconds`, before work counts as escaped."""
    return max(ESCAPED_FLOOR_S, ESCAPED_SHARE * seconds)
