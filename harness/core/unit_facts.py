"""What a plan stores with each unit of work, so that nothing asks the catalogue about its pass and metrics once it is planned."""

from __future__ import annotations

from typing import Literal, NamedTuple

from modbench.harness.core.frozen import Frozen
from modbench.harness.core.passes import WALL, Phase


class Made(NamedTuple):
    """A metric that a unit measures.

    Attributes:
        key: the metric's key.
        unit: base unit of its values.
    """

    key: str
    unit: str


class UnitFacts(Frozen):
    """What later code needs to know of a unit's pass (`core/passes.py` says what each means) and of what it measures.

    Attributes:
        phase: the phase in which it runs.
        makes: the metrics that it measures, each of every case.
        samples: what its samples are.
        column: the column of samples that holds the value.
        alone: whether it runs with nothing at the same time.
        timed: whether it measures time.
        cold: whether it needs a fresh interpreter at any effort.
        repeated: whether it is repeated in every launch.
        trains: whether it trains a model.
        confirms: whether it trains again what a sweep found best.
        about_machine: whether it finds something about the machine, not about a case.
        predicts: whether its pass says itself how long it takes (`Pass.takes`).
        environment: environment variables that its process needs before it starts.
        most: how many times the predicted work it may take at most.
        besides_s: seconds that it may take at most besides that work.
    """

    phase: Phase
    makes: tuple[Made, ...]
    samples: Literal["launches", "seeds", "one"]
    column: str
    alone: bool
    timed: bool
    cold: bool
    repeated: bool
    trains: bool
    confirms: bool
    about_machine: bool
    predicts: bool
    environment: tuple[tuple[str, str], ...]
    most: float = 1.0
    besides_s: float = 0.0

    @property
    def times(self) -> bool:
        """Whether its samples are wall times of calls."""
        return self.column == WALL
