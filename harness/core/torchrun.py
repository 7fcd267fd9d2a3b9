"""Several processes on one training run: what torchrun set up, read from its environment. No torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from modbench.harness.core.errors import UsageError
from modbench.harness.core.train_plan import TrainRun


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
        local: its number on this machine: the GPU that it takes.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this one writes and speaks."""
        return self.rank == 0

    def check(self, run: TrainRun) -> None:
        """Refuse a batch that cannot be dealt out evenly.

        Raises:
            UsageError: naming a batch size that can.
        """
        parts = self.world * run.accumulate
        if run.batch_size % parts:
            raise UsageError(
                f"train.batch_size {run.batch_size} cannot be dealt to {self.world} ranks in {run.accumulate} piece(s) each: "
                f"take a multiple of {parts}."
            )


ALONE = Ranks()


def from_environment() -> Ranks:
    """What torchrun says; one process where it says nothing."""
    if "WORLD_SIZE" not in os.environ:
        return ALONE
    said = {key: os.environ.get(key, "0") for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    try:
        return Ranks(*(int(value) for value in said.values()))
    except ValueError:
        raise UsageError(f"the environment says {said}: torchrun writes whole numbers there.") from None
