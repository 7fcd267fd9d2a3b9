"""Facts of cases and units that their plan stores, so that nothing looks them up in the catalogue afterwards."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator

from modbench.harness.core import titles
from modbench.harness.core.frozen import Frozen
from modbench.harness.domain.phases import WALL, Phase

# Of a stranger's folder too: no title steers a terminal.
Title = Annotated[str, AfterValidator(lambda text: text and titles.checked(text))]


class CaseFacts(Frozen):
    """Facts of a case's model and router; none of them changes a number.

    Attributes:
        short: short name of the model, as in ids.
        shipped: whether modbench ships the model.
        own_router: whether its router is the user's, whose cost no closed form knows.
        keys: routing keys that the model reads; None for a model that is not in the catalogue: nobody knows.
        dynamic: whether its cost depends on the input, as the model's file declares; None: as for `keys`.
        sees_future: whether a top-k depends on later tokens, as the model's file declares; None: as for `keys`.
        trained: whether it comes with trained weights, as a checkpoint does; of a user's own file nobody knows.
        title: what tables and figures call the arm, in the user's words; empty: its own name.
    """

    short: str
    shipped: bool
    own_router: bool
    keys: tuple[str, ...] | None = None
    dynamic: bool | None = None
    sees_future: bool | None = None
    trained: bool = False
    title: Title = ""

    @property
    def runs_user_code(self) -> bool:
        """Whether building the case runs a user's code: a model or a router. It may do anything, such as end its process."""
        return not self.shipped or self.own_router

    @property
    def routes(self) -> bool:
        """Whether the model of the catalogue routes tokens, so that its loss is also measured without the future."""
        return self.keys is not None and bool({"router", "choice"} & {*self.keys})


class Made(NamedTuple):
    """A metric that a unit measures.

    Attributes:
        key: the metric's key.
        unit: base unit of its values.
    """

    key: str
    unit: str


class UnitFacts(Frozen):
    """Facts of a unit's pass, whose attributes `domain/passes.py` explains, and of its metrics.

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
        about_machine: whether it finds out something that belongs to no metric: about the machine, or of a whole model.
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
