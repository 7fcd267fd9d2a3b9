"""How a sweep confirms what it explored: on fresh seeds, and on held-out windows that chose nothing. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modbench.harness.core.frozen import Frozen, Margin

# The anchor of the sweep; its best other variant, and the next best; the same routing by noise.
Role = Literal["anchor", "best", "runner_up", "control"]
# What the best is compared with, in this order.
RIVALS: tuple[Role, ...] = ("anchor", "control", "runner_up")
# Part of the held-out windows: all, or every other one, so that no window that chose a size confirms it.
HeldOutPart = Literal["all", "explore", "confirm"]
# Seeds of a smoke run, which claims nothing.
SMOKE_SEEDS = 2


class ConfirmPlan(Frozen):
    """How the variants that a sweep found best are compared again.

    Attributes:
        roles: what is trained again, each at its best size: the `anchor`, the `best` other variant that does not route by noise,
            the `runner_up`, and the `control`, which is the best with routing by noise.
        candidates: which variants may be the best, as a `-k` expression over case ids; None: all but the anchor and those that
            route by noise.
        controls: which may be the control, likewise; None: the best with routing by noise.
        margin: difference that shall be told from none, as a share of the anchor's loss.
        power: probability with which a difference as large as the margin is told from none.
        looks: how often the result is looked at, after equal numbers of seeds.
        seeds: seeds of an arm at the last look; None: as many as the spread of the sweep asks for.
        most_seeds: the most seeds of an arm; where the spread asks for more, the result may stay undecided.
        first_seed: seeds count from here; the sweep's own seeds are below.
    """

    roles: Annotated[tuple[Role, ...], Field(min_length=2)] = ("anchor", "best")
    candidates: str | None = None
    controls: str | None = None
    margin: Margin = 0.015
    power: Annotated[float, Field(gt=0.5, lt=1)] = 0.8
    looks: Annotated[int, Field(ge=1, le=20)] = 4
    seeds: Annotated[int, Field(ge=4, le=1000)] | None = None
    most_seeds: Annotated[int, Field(ge=4, le=1000)] = 24
    first_seed: Annotated[int, Field(ge=1, lt=2**62)] = 1000

    @model_validator(mode="after")
    def _compares_the_best(self) -> ConfirmPlan:
        if len(set(self.roles)) < len(self.roles) or "best" not in self.roles:
            raise ValueError(f"roles {list(self.roles)} must hold 'best' and each role once")
        return self

    @property
    def most(self) -> int:
        """The most seeds of an arm that may be asked for."""
        return self.seeds or self.most_seeds

    def fresh(self, claims: bool) -> range:  # noqa: FBT001  # of the suite
        """The fresh seeds that may be asked for; a suite that claims nothing has few."""
        return range(self.first_seed, self.first_seed + (self.most if claims else SMOKE_SEEDS))

    @property
    def rivals(self) -> tuple[Role, ...]:
        """The roles that the best is compared with."""
        return tuple(role for role in RIVALS if role in self.roles)
