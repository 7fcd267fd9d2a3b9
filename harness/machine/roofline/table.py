"""Measured peaks of a machine by kind and shape, and the seconds that a call should take by them."""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Mapping, Sequence

from pydantic import Field, model_validator

from modbench.harness.core.errors import shown
from modbench.harness.core.immutable import Frozen
from modbench.harness.machine.roofline.work import EXTENTS, Kind, Listed, Work

# How far a ratio of predicted times lies from the measured one: within this share in 79 of 80 pairs, by
# `benchmarks/predicted.py` on the machine of docs/method-load.md without load.
RATIO_ERROR = 0.15
# At lengths up to this one the predicted gain of a routed model is too high by these shares: measured at T = 128 on two shared
# cores at load 5 to 11, commit 97bbf18. Its Python code is counted as a mean over dense and routed blocks.
SHORT, ROUTED_BIAS = 128, (0.08, 0.21)


class Point(Frozen):
    """A measured time: of one operator of this kind and size, without the time of launching it."""

    kind: Kind
    size: tuple[int, ...]
    seconds: float = Field(gt=0)

    @model_validator(mode="after")
    def _of_its_kind(self) -> Point:
        needed = max(1, EXTENTS.get(self.kind, 2) - 1)  # one product of a batch, one head, one parameter
        if len(self.size) != needed or min(self.size) < 1:
            raise ValueError(f"{shown(self.size)} is no size of {self.kind}, which has {needed} numbers from 1 on")
        return self


class Table(Frozen):
    """Peaks of one machine, device, number format and number of threads.

    Attributes:
        device: where it was measured.
        dtype: number format.
        threads: CPU threads.
        torch: version of torch.
        passes: how often every point was measured; the fastest sample of each counts.
        launch_s: seconds of launching one operator without gradients, the Python code of a model included.
        view_s: seconds of making a view.
        training_launch_s: as `launch_s`, in a training step.
        training_view_s: as `view_s`, in a training step.
        tensor_s: seconds that the optimizer spends on one parameter, whatever its size.
        points: times by kind and size, on a grid for each kind.
    """

    device: str
    dtype: str
    threads: int
    torch: str
    passes: int
    launch_s: float = Field(ge=0)
    view_s: float = Field(ge=0)
    training_launch_s: float = Field(ge=0)
    training_view_s: float = Field(ge=0)
    tensor_s: float = Field(ge=0)
    points: tuple[Point, ...]

    @model_validator(mode="after")
    def _without_holes(self) -> Table:
        sizes: dict[str, set[tuple[int, ...]]] = {}
        for point in self.points:
            sizes.setdefault(point.kind, set()).add(point.size)
        for kind, here in sizes.items():
            axes = [{*values} for values in itertools.zip_longest(*here)]
            if len({*map(len, here)}) > 1 or math.prod(map(len, axes)) != len(here):
                raise ValueError(f"{kind} lacks a size")
        return self

    @functools.cached_property
    def grids(self) -> Mapping[Kind, Grid]:
        """Rates by kind."""
        ordered = sorted(self.points, key=lambda point: point.kind)
        return {kind: Grid(list(points)) for kind, points in itertools.groupby(ordered, key=lambda point: point.kind)}

    def lacks(self, *calls: Listed) -> str | None:
        """Say why a time of one of these calls is not known; None if all are, and above 0."""
        unknown = sorted({work.kind for call in calls for work in call.work} - {"view", *self.grids})
        if unknown:
            return f"the peaks by shape have none for {', '.join(unknown)}"
        return None if all(map(self.seconds, calls)) else "no operator that takes time was recorded"

    def seconds(self, call: Listed) -> float:
        """Predicted seconds of one call: starts of operators and work, added up over its operators."""
        launch, view = (self.training_launch_s, self.training_view_s) if call.training else (self.launch_s, self.view_s)
        return call.launches * launch + call.views * view + sum(each.calls * self.of(each) for each in call.work)

    def of(self, work: Work) -> float:
        """Seconds of one operator without its launch."""
        if work.kind == "view":
            return 0.0
        times, size, extra = 1, work.size, 0.0
        if work.kind == "optimizer":
            size, extra = work.size[:1], self.tensor_s * work.size[1]
        elif len(size) == 1:
            size = (max(size[0], self.grids[work.kind].axes[0][0]),)
        elif len(size) > 1:  # batches of products, heads of attention: one after the other
            times, size = size[0], size[1:]
        return extra + times * amount(size) / self.grids[work.kind].rate(size)


def amount(size: Sequence[int]) -> float:
    """What a rate is per second of: multiply-adds, pairs of attention times a head's width, or bytes."""
    return float(math.prod(size))


class Grid:
    """Rates on a rectangular grid of sizes; between them multilinear in logarithms, outside as at the edge.

    Args:
        points: one for each combination of the axes' values.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        self.axes = [sorted({point.size[i] for point in points}) for i in range(len(points[0].size))]
        self.rates = {point.size: math.log(amount(point.size) / point.seconds) for point in points}
        self._known: dict[tuple[int, ...], float] = {}  # the layers and variants of a run share few sizes

    def rate(self, size: Sequence[int]) -> float:
        """Amount per second at a size."""
        key = tuple(size)
        if key not in self._known:
            self._known[key] = self._interpolated(key)
        return self._known[key]

    def _interpolated(self, size: tuple[int, ...]) -> float:
        ends = [_between(axis, value) for axis, value in zip(self.axes, size, strict=True)]
        total = 0.0
        for corner in itertools.product(*ends):
            share = math.prod(weight for _, weight in corner)
            if share:
                total += share * self.rates[tuple(value for value, _ in corner)]
        return math.exp(total)


def _between(axis: Sequence[int], value: int) -> list[tuple[int, float]]:
    """The two values of an axis around this one, with their weights."""
    value = min(max(value, axis[0]), axis[-1])
    high = min(max(1, bisect.bisect_left(axis, value)), len(axis) - 1)
    if len(axis) == 1:
        return [(axis[0], 1.0)]
    below, above = axis[high - 1], axis[high]
    weight = math.log(value / below) / math.log(above / below)
    return [(below, 1 - weight), (above, weight)]
