"""The order of the jobs of a run, and the column of samples that are times. Nothing heavy is loaded."""

from __future__ import annotations

from enum import IntEnum

# The column of samples that are wall times of calls.
WALL = "wall_s"


class Phase(IntEnum):
    """The order of jobs: all jobs of one phase end before the next phase begins."""

    COUNT = 1
    TIME = 2
    FIT = 3
    TRAIN = 4
