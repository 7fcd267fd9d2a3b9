"""When a run reaches a target: the first crossing of the isotonic fit of the curve that it prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from modbench.extend import Frozen
from modbench.plugins.ab.printed import Target


class Point(NamedTuple):
    """A point of a curve.

    Attributes:
        step: as printed.
        value: as printed.
        wall_s: from the start of the run until it was printed.
        cpu_s: CPU time until then; None where it is not known.
    """

    step: float
    value: float
    wall_s: float
    cpu_s: float | None


class Reached(Frozen):
    """How a run got to its target.

    Attributes:
        steps: at the crossing; None: it never reached the target.
        wall_s: from its start to the crossing.
        cpu_s: CPU time until then.
        step_s: wall time of one step, from the first point to the last.
        step_cpu_s: CPU time of one step.
        best: the best value of the fit.
    """

    steps: float | None
    wall_s: float | None
    cpu_s: float | None
    step_s: float
    step_cpu_s: float | None
    best: float


def reached(points: Sequence[Point], target: Target) -> Reached:
    """Say when a curve reaches a target.

    The fit is monotone, so that one lucky value crosses nothing; it is linear between the centres of its levels.

    Args:
        points: at least two, at different steps.
        target: the value to reach.
    """
    from scipy import optimize  # a tenth of a second, of targets alone

    sign = 1.0 if target.better == "lower" else -1.0
    rows = np.asarray([(each.step, each.value, each.wall_s, each.cpu_s or 0.0) for each in points])
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    steps, values, wall, cpu = rows.T
    level = optimize.isotonic_regression(sign * values, increasing=False).x
    starts = np.flatnonzero(np.diff(level, prepend=np.inf))
    centres = np.add.reduceat(steps, starts) / np.diff(starts, append=len(steps))
    levels, goal = level[starts], sign * target.value
    known = all(each.cpu_s is not None for each in points) and bool(cpu[0])
    took = steps[-1] - steps[0]
    made = Reached(
        steps=None,
        wall_s=None,
        cpu_s=None,
        step_s=float((wall[-1] - wall[0]) / took),
        step_cpu_s=float((cpu[-1] - cpu[0]) / took) if known and cpu[-1] > cpu[0] else None,
        best=float(sign * levels[-1]),
    )
    if levels[-1] > goal:
        return made
    at = float(np.interp(-goal, -levels, centres))
    wall_s, cpu_s = (float(np.interp(at, steps, each)) for each in (wall, cpu))
    return made.model_copy(update={"steps": at, "wall_s": wall_s, "cpu_s": cpu_s if known else None})
