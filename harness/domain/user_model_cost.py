"""What a user's model costs, as it was counted before a run, in a process of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from modbench.harness.core.immutable import Frozen
from modbench.harness.machine.roofline.work import Listed

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class UserModelCost(Frozen):
    """Costs of a case of a user's model, which has no closed form.

    Attributes:
        params: number of parameters.
        forward: FLOPs of a forward pass; where they depend on the tokens, the mean over some random batches.
        computed: whether it was run on real tensors, since shapes alone do not tell.
        unknown: operators that the counter has no formula for, which make FLOPs a lower bound.
        memory: bytes at the peak of a training step; None: not forecast.
        memory_reason: why they are not.
        read: the keys of its configuration that it reads, built and called; None: a method that is called later may read more.
        operators: of a forward pass; None: not recorded.
        operators_reason: why they are not.
    """

    params: int = Field(ge=0)
    forward: Amount
    computed: bool = False
    unknown: tuple[str, ...] = ()
    read: tuple[str, ...] | None = None
    memory: Amount | None = None
    memory_reason: str | None = None
    operators: Listed | None = None
    operators_reason: str | None = None

    @property
    def train_step(self) -> float:
        """FLOPs of a training step: backward is twice forward."""
        return 3 * self.forward

    @property
    def source(self) -> str:
        """How its FLOPs were counted, in words."""
        said = "counted on random batches, as they depend on values" if self.computed else "counted on shapes alone"
        return said + f"; a lower bound: no formula for {', '.join(self.unknown)}" * bool(self.unknown)
