"""The ranks of a training run, read from the environment that torchrun sets. No torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from modbench.harness.core.errors import UsageError
from modbench.harness.core.train_plan import TrainRun


@dataclass(frozen=True)
class Ranks:
    """This process among the processes of a run.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
        local: its number on this machine, which is also its GPU.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this rank writes files and reports progress."""
        return self.rank == 0

    def check(self, run: TrainRun) -> None:
        """Reject a batch that cannot be divided evenly.

        Raises:
            UsageError: if so; it names a batch size that can.
        """
        if self.world % run.ranks:
            raise UsageError(
                f"train.ranks {run.ranks}: `modbench run` starts the ranks of a job; else torchrun starts them. Leave it out."
            )
        parts = self.world * run.accumulate
        if run.batch_size % parts:
            raise UsageError(
                f"train.batch_size {run.batch_size} cannot be divided among {self.world} ranks, {run.accumulate} piece(s) each: "
                f"use a multiple of {parts}."
            )


ALONE = Ranks()


def from_environment() -> Ranks:
    """Read what torchrun set; a single process if it set nothing."""
    if "WORLD_SIZE" not in os.environ:
        return ALONE
    said = {key: os.environ.get(key, "0") for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    try:
        return Ranks(*(int(value) for value in said.values()))
    except ValueError:
        raise UsageError(f"the environment has {said}: torchrun sets whole numbers there.") from None
