"""From how many tokens the rows come that a module's weights are multiplied with, where they are more than it claims.

A block that runs twice on the tokens that it chose multiplies its weights with twice as many rows, and skips what it claims
to. One that computes all tokens, in one piece or in several, and masks, does not. So what counts is not how many rows there
are but whose: the gradient of what weights were multiplied with names the tokens that these rows come from. A gradient can be
cut, so it is not believed alone: all other tokens are then moved a little, and the rows may not change in a single bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from modbench.harness.subject.output_caching_guard import same_draws
from modbench.harness.subject.rows import RowWatch

# A router may choose another token where two scores are almost equal: other tokens are moved by so many units in the last place,
# and so often.
MOVED, TRIES = 8.0, 3


@dataclass(frozen=True)
class Call:
    """What a module was called with, and how many tokens it stated that it processed in that call."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    stated: int = 0


class _Factors(RowWatch):
    """Keeps what each of some weights is multiplied with."""

    def __init__(self, module: nn.Module, names: frozenset[str]) -> None:
        super().__init__(module)
        self.names, self.factors = names, dict[str, list[Tensor]]()

    def met(self, name: str, other: Tensor) -> None:
        """Keep the other factor; where it can have no gradient, as it is now."""
        if name in self.names:
            self.factors.setdefault(name, []).append(other if other.requires_grad else other.clone())


def rows_of_few(part: nn.Module, call: Call, sizes: Mapping[str, int], most: float) -> dict[str, float] | None:
    """Rows that each weight meets in a call, if most weights, by elements, meet those of a few tokens alone; else None.

    Args:
        part: the module, whose first argument is `[..., D]`, one vector for each token.
        call: one of its calls.
        sizes: elements of the weights that its claim is about, by their names in it.
        most: tokens that count as few.
    """
    given = call.args[0] if call.args else None
    if not isinstance(given, Tensor) or not given.is_floating_point() or given.ndim < 2:
        return None
    x_BTD = given.detach().clone().requires_grad_()
    with torch.enable_grad():
        watch = _watched(part, x_BTD.clone(), call, sizes)
        reached = {name: _reached(x_BTD, factors) for name, factors in watch.factors.items()}
    held = {name: mask_BT for name, mask_BT in reached.items() if int(mask_BT.sum()) <= most}
    chosen_BT = torch.stack([torch.zeros_like(given[..., 0], dtype=torch.bool), *held.values()]).any(dim=0)
    if int(chosen_BT.sum()) > most:
        return None
    step = MOVED * torch.finfo(given.dtype).eps * ~chosen_BT[..., None]
    for _ in range(TRIES):
        with torch.no_grad():
            first = _watched(part, given.clone(), call, sizes).factors
            again = _watched(part, given * (1 + step * torch.randn_like(given).sign()), call, sizes).factors
        same = {name for name in held if _equal(first.get(name, ()), again.get(name, ()))}
        if 2 * sum(sizes[name] for name in same) >= sum(sizes[name] for name in watch.factors):
            return {name: watch.work[name] / sizes[name] for name in watch.factors}
    return None


def _watched(part: nn.Module, x_BTD: Tensor, call: Call, sizes: Mapping[str, int]) -> _Factors:
    """What each weight is multiplied with in a call, the same random numbers in each."""
    watch = _Factors(part, frozenset(sizes))
    with same_draws(x_BTD), watch:
        part(x_BTD, *call.args[1:], **call.kwargs)
    return watch


def _reached(x_BTD: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Tokens that any of these tensors depends on, as far as gradients show, as a mask `[...]`."""
    parts = [(factor * torch.rand_like(factor)).sum() for factor in factors if factor.requires_grad]
    if not parts:
        return torch.zeros(x_BTD.shape[:-1], dtype=torch.bool, device=x_BTD.device)
    total = sum(parts[1:], parts[0])
    (slope_BTD,) = torch.autograd.grad(total, x_BTD, retain_graph=True, materialize_grads=True)
    return (slope_BTD != 0).any(dim=-1)


def _equal(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))
