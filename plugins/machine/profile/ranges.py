"""Ranges of a profiled call: nested by time, summed by name and by component. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

# Prefix of the ranges of modules, and the name of the outermost range.
MODULE, ROOT = "module ", "the whole call"
# Kernels of a call can add up to its duration; a little more, for two clocks.
MOST_BUSY = 1.05
# The steps that models name (models/layers/kernels.py), and the parts of a training step.
SPANS = {
    *("router", "top-k and sort", "gather", "scatter", "chosen tokens", "experts", "auxiliary loss"),
    *("forward", "backward", "optimizer"),
}


@dataclass
class Range:
    """A part of a call, and the parts inside it.

    Attributes:
        name: as it was recorded.
        start: in µs of the profiler's clock.
        end: the same.
        device_s: seconds that the device worked for it; None on a CPU, where its own duration counts.
        inner: ranges inside.
    """

    name: str
    start: float
    end: float
    device_s: float | None = None
    inner: list[Range] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Its duration."""
        return (self.end - self.start) / 1e6 if self.device_s is None else self.device_s

    @property
    def own_seconds(self) -> float:
        """Its duration without the ranges inside."""
        return max(0.0, self.seconds - sum(each.seconds for each in self.inner))


def tree(events: Sequence[Any], names: set[str], *, on_gpu: bool = False) -> list[Range]:
    """Build the ranges of a profile, nested by time.

    Args:
        events: `profile.events()`.
        names: events that are ranges, in addition to modules.
        on_gpu: whether a range's time is that of the kernels launched inside it, instead of the host's.
    """
    found = sorted(
        (
            Range(e.name, e.time_range.start, e.time_range.end, e.device_time_total / 1e6 if on_gpu else None)
            for e in events
            # A range appears again on the device's timeline; what it launched is recorded with the host's.
            if e.device_type.name == "CPU" and (e.name in names or e.name.startswith(MODULE))
        ),
        key=lambda each: (each.start, -each.end),
    )
    outermost: list[Range] = []
    open_: list[Range] = []
    for each in found:
        while open_ and each.start >= open_[-1].end:
            open_.pop()
        (open_[-1].inner if open_ else outermost).append(each)
        open_.append(each)
    return outermost


# What the profiler calls its own records and those of CUDA's runtime, by kind and, in older versions of torch, by name.
_RECORDS = {"cuda_runtime", "cuda_driver", "overhead"}
_OVERHEAD = {
    *("Activity Buffer Request", "Buffer Flush", "Instrumentation", "Lazy Function Loading", "Resource"),
    "Runtime Triggered Module Loading",
}
_RUNTIME = ("cudaLaunch", "cudaMem", "cuLaunch", "cuMem")


def count_kernels_once(events: Sequence[Any]) -> None:
    """Take kernels away from records of CUDA's runtime and of the profiler's overhead.

    Such a record carries the identifier of the operator around it, so torch (2.11 to 2.13, pull request 193392) gives it the
    operator's kernels too, and sums over operators and ranges count them once more for each record.
    """
    for event in events:
        kind, name = getattr(event, "activity_type", None), event.name
        if event.device_type.name == "CPU" and (kind in _RECORDS or name in _OVERHEAD or name.startswith(_RUNTIME)):
            event.kernels.clear()


def counted_twice(root: Range) -> str | None:
    """What is wrong if a call's kernels add up to more than the call took, the device idle before and after."""
    wall_s = (root.end - root.start) / 1e6
    if root.seconds <= MOST_BUSY * wall_s:
        return None
    return (
        f"the kernels of a call of {wall_s:.3g} s add up to {root.seconds:.3g} s: the profiler counts some more than once, or "
        "they run side by side on several streams. Seconds by module would be wrong; timings of `modbench run` are not affected."
    )


def operators(events: Sequence[Any], calls: Sequence[Range], *, on_gpu: bool = False) -> list[dict[str, Any]]:
    """Calls and own seconds of every ATen operator, per call of the given ones, the slowest first."""
    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        inside = any(call.start <= event.time_range.start <= call.end for call in calls)
        if inside and event.name.startswith("aten::") and event.device_type.name == "CPU":
            row = found.setdefault(event.name, {"name": event.name, "calls": 0.0, "own_seconds": 0.0})
            row["calls"] += 1 / len(calls)
            row["own_seconds"] += getattr(event, own) / 1e6 / len(calls)
    return sorted(found.values(), key=lambda row: -row["own_seconds"])


def walk(ranges: Sequence[Range]) -> Iterator[Range]:
    """Iterate over all ranges, outermost first."""
    for each in ranges:
        yield each
        yield from walk(each.inner)


def by_name(ranges: Sequence[Range]) -> dict[str, dict[str, float]]:
    """Sum by name: calls, seconds, and seconds without inner ranges."""
    found: dict[str, dict[str, float]] = {}
    for each in walk(ranges):
        row = found.setdefault(each.name, {"calls": 0, "seconds": 0.0, "own_seconds": 0.0})
        row["calls"] += 1
        row["seconds"] += each.seconds
        row["own_seconds"] += each.own_seconds
    return found


def typical(calls: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians over several calls of such sums, name by name."""
    names = dict.fromkeys(name for call in calls for name in call)
    return {
        name: {key: median(call[name][key] for call in calls if name in call) for key in rows[0]}
        for name in names
        if (rows := [call[name] for call in calls if name in call])
    }


# Modules whose last name says what they are; all others belong to what contains them.
_PARTS = {"attention": "attention", "mlp": "mlp", "head": "head", "embedding": "embedding", "router": "router"}
REST = "the rest"


def components(ranges: Sequence[Range], spans: set[str]) -> dict[str, float]:
    """Seconds by component: every moment belongs to the innermost range that is a component; they add up to the whole.

    Args:
        ranges: nested.
        spans: names of ranges that are components.
    """
    found: dict[str, float] = {}

    def add(inside: Sequence[Range], around: str) -> None:
        for each in inside:
            component = _component(each.name, spans) or around
            found[component] = found.get(component, 0.0) + each.own_seconds
            add(each.inner, component)

    add(ranges, REST)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _component(name: str, spans: set[str]) -> str | None:
    if name in spans:
        return name if name != "forward" else REST
    last = name.removeprefix(MODULE).rpartition(".")[2]
    if last.startswith("norm"):
        return "norm"
    return _PARTS.get(last) if name.startswith(MODULE) else None
