"""Validity check: are products computed in the case's number format? Fewer digits make a call faster, and are another result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from modbench.harness.core.units import about
from modbench.harness.domain.case import ELEMENT_BYTES, Dtype
from modbench.harness.machine.process.torch_modes import Operator, OperatorMode
from modbench.harness.planning.flops import counter
from modbench.harness.planning.flops.counter import is_cheap

# Share of the FLOPs below which a narrower format is a detail, such as a router's.
LEAST_SHARE = 0.05
# The factors of a product, or attention's query, key and value; a mask may follow.
FACTORS = 3


class Precision(OperatorMode):
    """Sums the FLOPs of products by the narrowest number format among their factors, over all calls while it is entered.

    Args:
        wanted: the case's number format. A wider one costs more, and is not reported.
    """

    def __init__(self, wanted: Dtype) -> None:
        super().__init__()
        self.wanted = wanted
        self.total = 0
        self.narrow: dict[str, int] = {}

    def after(self, operator: Operator, args: Sequence[Any], out: object) -> None:
        """Add the FLOPs of a product."""
        if operator.namespace == "quantized" and not is_cheap(operator):
            self.narrow.setdefault(f"{operator.name()}", 0)
        formula = counter.formula_of(operator)
        if formula is None:
            return
        flops = int(formula(*args, out_val=out))
        self.total += flops
        formats = [arg.dtype for arg in args if isinstance(arg, Tensor) and arg.dtype != torch.bool][:FACTORS]
        narrowest = min(formats, key=lambda dtype: dtype.itemsize)
        if narrowest.itemsize < ELEMENT_BYTES[self.wanted]:
            name = str(narrowest).removeprefix("torch.")
            self.narrow[name] = self.narrow.get(name, 0) + flops

    def found(self) -> str | None:
        """What was computed in another format, in one sentence; None: nothing that matters."""
        unknown = [name for name, flops in self.narrow.items() if not flops]
        if unknown:
            return f"{unknown[0]} ran, in a case of {self.wanted}"
        share = sum(self.narrow.values()) / max(1, self.total)
        if share < LEAST_SHARE:
            return None
        return f"{about(share)} of the FLOPs ran in {' and '.join(sorted(self.narrow))}, in a case of {self.wanted}"
