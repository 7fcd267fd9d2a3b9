"""Every-n router: tokens pass by their place alone, evenly spaced. A control: does routing learn more than position?

Shapes: B batch, T tokens.
"""

from __future__ import annotations

from torch import Tensor

from modbench.models.layers.router import Router
from modbench.models.layers.trip import Trip


class EveryN(Router):
    """Position p passes where floor((p + 1)·c) exceeds floor(p·c): of the first T tokens exactly floor(c·T)."""

    sees_tokens = False

    def _hits(self, position_BT: Tensor) -> Tensor:
        p = position_BT.double()
        return ((p + 1) * self.capacity + 1e-9).floor() > (p * self.capacity + 1e-9).floor()

    def score(self, x_BTD: Tensor, trip: Trip) -> Tensor:
        """1 where the place passes; among the rest earlier places first, for a k that these cannot fill."""
        p = trip.position_BT
        r = self._hits(p).float() - p.float() / (2 * self.config.max_seq_len)
        return r.expand(x_BTD.shape[:2])

    def passes(self, x_BTD: Tensor, r_BT: Tensor, trip: Trip) -> Tensor:
        """The place decides."""
        return self._hits(trip.position_BT).expand(r_BT.shape)


ROUTER = EveryN
