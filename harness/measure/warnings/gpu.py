"""Warnings about what a GPU reports: its memory, its power, and what its events see."""

from __future__ import annotations

from modbench.harness.core.units import about
from modbench.harness.domain.evidence import Evidence, warning
from modbench.harness.domain.notes import MemoryNotes, TimeNotes
from modbench.harness.stats import noise

# Share of the end-to-end time in which the device is busy, where the host keeps up.
LEAST_BUSY = 0.7
# Share of the calls of a process.
MOST_ESCAPED = 0.2


@warning("Peaks this close to the memory limit are unreliable: measure on a larger GPU or with a smaller batch.")
def allocator_retried(evidence: Evidence) -> str | None:
    """The GPU allocator had to empty its cache and try again: the memory was nearly full."""
    times = sum(notes.alloc_retries or 0 for notes in evidence.notes(MemoryNotes))
    return f"the allocator retried {times:.0f} times: memory was nearly full" if times else None


@warning("Compare only variants with a similar share, or lock the clocks below the limit.")
def power_limited(evidence: Evidence) -> str | None:
    """The GPU reached its power limit: a variant may be faster only because the GPU was cooler."""
    capped = [block for each in evidence.processes for block in noise.power_capped(each.blocks)]
    return f"power-limited in {about(sum(capped) / len(capped))} of the blocks" if any(capped) else None


@warning(
    "Use larger batches, `--compile` or a CUDA graph; `latency/forward/device` shows the time of the device alone."
)
def launch_bound(evidence: Evidence) -> str | None:
    """The host cannot launch kernels fast enough: saved FLOPs cannot save time."""
    shares = [notes.device_share for notes in evidence.notes(TimeNotes) if notes.device_share is not None]
    if not shares or min(shares) >= LEAST_BUSY:
        return None
    return f"launch-bound: the device was busy for {about(min(shares))} of the end-to-end time"


@warning("Use the end-to-end time: it waits for the whole device.")
def side_stream(evidence: Evidence) -> str | None:
    """Work ran on another stream, where device events do not see it."""
    shares = [notes.escaped for notes in evidence.notes(TimeNotes) if notes.escaped is not None]
    for outcome in evidence.outcomes:
        late, seconds = outcome.samples.get("escaped_s"), outcome.samples.get("wall_s")
        if late and seconds:
            shares.append(sum(x > noise.escape_limit(s) for x, s in zip(late, seconds, strict=True)) / len(late))
    if not shares or max(shares) < MOST_ESCAPED:  # a single delay of the host also looks like this
        return None
    return f"in {about(max(shares))} of the calls work went on outside the stream that device events see"


@warning(
    "Either the model asks the host for something (`syncs/forward` counts how often), or it launches more kernels than "
    "the driver queues, about a thousand. Use the end-to-end time.",
)
def starved_device(evidence: Evidence) -> str | None:
    """Device timings include host time: the spin kernel ended before all work was queued."""
    shares = [sum(s) / len(s) for o in evidence.outcomes if (s := o.samples.get("starved"))]
    if not shares or max(shares) == 0:
        return None
    return f"in {about(max(shares))} of the device timings the device waited for the host"
