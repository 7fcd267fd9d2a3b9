"""Ranges of a profiled call: nested by time, summed by name and by component. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

# How ranges of modules are called, and the range of all.
MODULE, ROOT = "module ", "the whole call"
# The steps that models name (models/layers/span.py), and the parts of a training step.
SPANS = {
    *("router", "top-k and sort", "gather", "scatter", "chosen tokens", "experts", "auxiliary loss"),
    *("forward", "backward", "optimizer"),
}


@dataclass
class Range:
    """A stretch of a call, and the stretches inside it.

    Attributes:
        name: as it was recorded.
        start: in µs of the profiler's clock.
        end: as well.
        device_s: seconds that the device worked for it; None on a CPU, where the stretch itself is the work.
        inner: ranges inside.
    """

    name: str
    start: float
    end: float
    device_s: float | None = None
    inner: list[Range] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end - self.start) / 1e6 if self.device_s is None else self.device_s

    @property
    def own_seconds(self) -> float:
        """How long it took, ranges inside it left out."""
        return max(0.0, self.seconds - sum(each.seconds for each in self.inner))


def tree(events: Sequence[Any], names: set[str], *, on_gpu: bool = False) -> list[Range]:
    """Ranges of a profile, nested by time.

    Args:
        events: `profile.events()`.
        names: which of them are ranges, beside the modules.
        on_gpu: a range takes what the kernels take that were launched inside, not what the launching takes.
    """
    found = sorted(
        (
            Range(e.name, e.time_range.start, e.time_range.end, e.device_time_total / 1e6 if on_gpu else None)
            for e in events
            # A range stands once more on the device's own timeline; what it launched is noted at the host's.
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


def walk(ranges: Sequence[Range]) -> Iterator[Range]:
    """Every range, outermost first."""
    for each in ranges:
        yield each
        yield from walk(each.inner)


def by_name(ranges: Sequence[Range]) -> dict[str, dict[str, float]]:
    """Per name: calls, seconds, and seconds of its own."""
    found: dict[str, dict[str, float]] = {}
    for each in walk(ranges):
        row = found.setdefault(each.name, {"calls": 0, "seconds": 0.0, "own_seconds": 0.0})
        row["calls"] += 1
        row["seconds"] += each.seconds
        row["own_seconds"] += each.own_seconds
    return found


def typical(calls: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """The same of several calls: medians, name by name, of the numbers in each row."""
    names = dict.fromkeys(name for call in calls for name in call)
    return {
        name: {key: median(call[name][key] for call in calls if name in call) for key in rows[0]}
        for name in names
        if (rows := [call[name] for call in calls if name in call])
    }


# Modules whose last name says what they are; all others are part of whatever they stand in.
_PARTS = {"attention": "attention", "mlp": "mlp", "head": "head", "embedding": "embedding", "router": "router"}
REST = "the rest"


def components(ranges: Sequence[Range], spans: set[str]) -> dict[str, float]:
    """Seconds by component: every moment belongs to the innermost range that is one, and all add up to the whole.

    Args:
        ranges: nested.
        spans: names that are components of their own.
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
