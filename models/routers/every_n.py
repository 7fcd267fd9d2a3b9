"""Every-n router: evenly spaced positions, whatever the tokens are. A control: does routing learn more than position?

Shapes: B batch, T tokens.
"""

from __future__ import annotations

from torch import Tensor

from modbench.models.layers.context import ForwardContext
from modbench.models.layers.router import Router


class EveryN(Router):
    """Selects position p where floor((p + 1)·c) exceeds floor(p·c): of the first T tokens exactly floor(c·T)."""

    def _evenly_spaced(self, position_BT: Tensor) -> Tensor:
        p = position_BT.double()
        return ((p + 1) * self.capacity + 1e-9).floor() > (p * self.capacity + 1e-9).floor()

    def score(self, x_BTD: Tensor, ctx: ForwardContext) -> Tensor:
        """1 at selected positions; of the rest earlier ones score higher, in case k is larger than the number selected."""
        p = ctx.position_BT
        r = self._evenly_spaced(p).float() - p.float() / (2 * self.config.max_seq_len)
        return r.expand(x_BTD.shape[:2])

    def selects(self, x_BTD: Tensor, r_BT: Tensor, ctx: ForwardContext) -> Tensor:
        """The evenly spaced positions."""
        return self._evenly_spaced(ctx.position_BT).expand(r_BT.shape)


ROUTER = EveryN
