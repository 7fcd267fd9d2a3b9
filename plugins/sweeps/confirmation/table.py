"""`[confirm]` of a suite: how the variants that a sweep found best are compared again, on new seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from modbench.extend import Margin, SuiteTable, TablePlan, UsageError
from modbench.plugins.sweeps.isoflop.plan import IsoflopPlan

if TYPE_CHECKING:
    from modbench.extend import Suite

CONFIRMED = "loss/confirmed"
CAUSAL = "loss/val_causal"
# The baseline of the sweep; its best other variant, and the next best; the same routing by noise.
Role = Literal["baseline", "best", "runner_up", "control"]
# What the best is compared with, in this order.
MATCHES: tuple[Role, ...] = ("baseline", "control", "runner_up")
# Seeds of a smoke run, which claims nothing.
SMOKE_SEEDS = 2


class ConfirmPlan(TablePlan):
    """How the variants that a sweep found best are compared again.

    Attributes:
        roles: what is trained again, each at its best size: the `baseline`, the `best` other variant without random
            routing, the `runner_up`, and the `control`, which is the best with random routing.
        candidates: which variants may be the best, as a `-k` expression over case ids; None: all but the baseline and those
            that route at random.
        controls: which may be the control, likewise; None: the best with random routing.
        margin: difference that shall be found significant, as a share of the baseline's loss.
        power: probability with which a difference as large as the margin is found significant.
        interim_analyses: how often the result is judged, after equal numbers of seeds.
        seeds: seeds of a variant at the last analysis; None: as many as the standard deviation of the sweep asks for.
        most_seeds: the most seeds of a variant; where more are needed, the result may stay inconclusive.
        first_seed: seeds count from here; the sweep's own seeds are below.
    """

    table = "confirm"

    roles: Annotated[tuple[Role, ...], Field(min_length=2)] = ("baseline", "best")
    candidates: str | None = None
    controls: str | None = None
    margin: Margin = 0.015
    power: Annotated[float, Field(gt=0.5, lt=1)] = 0.8
    interim_analyses: Annotated[int, Field(ge=1, le=20)] = 4
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
        """The most seeds of a variant that may be asked for."""
        return self.seeds or self.most_seeds

    def fresh(self, claims: bool) -> range:  # noqa: FBT001  # of the suite
        """The new seeds that may be asked for; a suite that claims nothing has few."""
        return range(self.first_seed, self.first_seed + (self.most if claims else SMOKE_SEEDS))

    @property
    def matches(self) -> tuple[Role, ...]:
        """The roles that the best is compared with."""
        return tuple(role for role in MATCHES if role in self.roles)


def check_fresh(suite: Suite, first_seed: int, where: str) -> None:
    """Check that a suite measures what fresh runs are judged by, and that none of its seeds both explores and is fresh.

    Raises:
        UsageError: if not; `where` begins the message.
    """
    for key in (CAUSAL, CONFIRMED):
        if key not in suite.metrics:
            raise UsageError(f"{where} needs metric {key!r}: add it to metrics.")
    if max(suite.seeds) >= first_seed:
        raise UsageError(
            f"{where}: seed {max(suite.seeds)} is one of the sweep's, and new seeds begin at {first_seed}. "
            "Raise first_seed, so that none is both."
        )


class ConfirmTable(SuiteTable[ConfirmPlan]):
    """It needs a sweep."""

    confirms = True
    without = "is not a sweep"

    def check(self, suite: Suite, source: str) -> None:
        """Check that there is a sweep to confirm, and that none of its seeds does both."""
        where = f"{source}: [confirm]"
        if IsoflopPlan.of(suite) is None:
            raise UsageError(f"{where} confirms the best of a sweep: it needs an [isoflop] table.")
        check_fresh(suite, ConfirmPlan.settled(suite).first_seed, where)
        if suite.claims and len(suite.seeds) < 2:
            raise UsageError(
                f"{where}: one seed shows no standard deviation, from which the number of new seeds follows: give seeds = [0, 1]."
            )


TABLE = ConfirmTable(ConfirmPlan)
