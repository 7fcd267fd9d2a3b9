"""torch's FLOP counter, with the operators it misses: a count of what ran, to compare with the closed form; audited."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from modbench.harness.flops.formulas import Formula, Packet, attention_formulas, other_formulas
from modbench.harness.flops.operators import Audit
from modbench.harness.process.torch_modes import Operator


@dataclass(frozen=True)
class Count:
    """FLOPs of one call, counted from the operators that ran.

    Attributes:
        total: all of them.
        modules: by module path (`blocks.0.attention`), its children included.
        operators: calls without a formula: `cheap` ones, 0 by convention, and `unknown` ones, which make this a lower bound.
    """

    total: int
    modules: dict[str, int]
    operators: dict[str, dict[str, int]]

    @property
    def unknown(self) -> list[str]:
        """Operators that may compute FLOPs but were counted as 0."""
        return sorted(self.operators["unknown"])


def count(module: nn.Module, call: Callable[[], object], *, causal: bool = False) -> Count:
    """Count the FLOPs of one call of a module.

    Args:
        module: gives the module paths.
        call: what is counted; on the meta device nothing is computed.
        causal: count fused attention that masks over the lower triangle instead of the full square.
    """
    formulas = _formulas(causal=causal)
    counter, audit = FlopCounterMode(display=False, custom_mapping=formulas), Audit()
    with audit, counter:
        call()
    root = type(module).__name__
    modules = {
        path.removeprefix(f"{root}."): int(sum(flops.values()))
        for path, flops in counter.get_flop_counts().items()
        if path.startswith(f"{root}.")
    }
    return Count(int(counter.get_total_flops()), modules, audit.without_formula({*flop_registry, *formulas}))


def formula_of(operator: Operator) -> Formula | None:
    """The formula of an operator's FLOPs, called with its arguments and `out_val`; None if it has none."""
    packet = operator.overloadpacket
    return _formulas(causal=False).get(packet) or flop_registry.get(packet)


@functools.cache
def _formulas(*, causal: bool) -> dict[Packet, Formula]:
    missing = {packet: formula for packet, formula in other_formulas().items() if packet not in flop_registry}
    return attention_formulas(causal=causal) | missing


def forward(module: nn.Module, tokens_BT: Tensor, *, causal: bool = False) -> Count:
    """Count one forward pass of a language model in evaluation mode, without gradients."""
    module.eval()
    with torch.no_grad():
        return count(module, lambda: module(tokens_BT), causal=causal)


def both(module: nn.Module, tokens_BT: Tensor) -> tuple[Count, int]:
    """Count one forward pass of a language model in evaluation mode, and the same call with causal attention."""
    return with_causal(lambda: forward(module, tokens_BT))


def with_causal(counting: Callable[[], Count]) -> tuple[Count, int]:
    """What `counting` counts, and the FLOPs of the same calls with causal attention."""
    whole = FlopCounterMode(display=False, custom_mapping=_formulas(causal=True))
    with whole:
        found = counting()
    return found, int(whole.get_total_flops())


def train(module: nn.Module, tokens_BT: Tensor, loss: Callable[[Tensor], Tensor] | None = None) -> Count:
    """Count forward and backward, of a `loss` of the tokens if that is given.

    On the meta device attention's backward is twice its forward; fused, it is 2.5 times.
    """

    def call() -> None:
        if loss is not None:
            loss(tokens_BT).backward()
            return
        if getattr(module, "has_auxiliary", False):
            logits, auxiliary = module(tokens_BT, auxiliary=True)
        else:
            logits, auxiliary = module(tokens_BT), 0.0
        # Any scalar of the logits will do: only matrix products count.
        (logits.float().square().mean() + auxiliary).backward()

    module.train()
    return count(module, call)
