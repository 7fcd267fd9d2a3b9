"""FLOPs of a model whose router is the user's: the closed form has all but the router, and torch's counter counts that.

What the router computes is counted inside its own methods, so the rest of the model is still checked against the closed form.
Of a training step the counter sees one number: what the rest leaves is the router's, and must lie between once and three times
what its methods compute in a forward pass (its backward pass is at most twice that).

Shapes: B batch, T tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from torch import Tensor, nn

from modbench.harness.core.contracts import Cost
from modbench.harness.core.units import percent
from modbench.harness.machine.process.torch_modes import Operator, OperatorMode
from modbench.harness.planning.flops import counter
from modbench.harness.planning.flops.counter import Count

P = ParamSpec("P")
R = TypeVar("R")
# The methods of a router that compute.
METHODS = ("score", "multiplier", "selects", "loss")


def routers_in(module: nn.Module, *, own: bool) -> dict[str, nn.Module]:
    """The routers of a user's class in a model, by module path.

    Args:
        module: the model.
        own: whether its router is the user's (`CaseFacts.own_router`); none of a model that has shipped ones is returned.
    """
    if not own:
        return {}
    named = ((path, part) for path, part in module.named_modules() if path.rpartition(".")[2] == "router")
    return {path: part for path, part in named if hasattr(part, "score")}


@dataclass
class Tally:
    """What routers computed in counted calls of a model, in FLOPs; `busy` while one of their methods runs."""

    total: int = 0
    busy: bool = False


class _Sum(OperatorMode):
    """Adds up what operators compute. torch's own counter cannot be entered amid a pass that another one follows back."""

    def __init__(self, found: Tally) -> None:
        super().__init__()
        self.found = found

    def after(self, operator: Operator, args: Sequence[Any], out: object) -> None:
        formula = counter.formula_of(operator)
        if formula is not None:
            self.found.total += int(formula(*args, out_val=out))


@contextlib.contextmanager
def tallied(routers: Mapping[str, nn.Module]) -> Iterator[Tally]:
    """Count what these routers compute while the block runs."""
    found = Tally()
    for router in routers.values():
        for name in METHODS:
            if hasattr(router, name):
                router.__dict__[name] = _counting(getattr(router, name), found)
    try:
        yield found
    finally:
        for router in routers.values():
            for name in METHODS:
                router.__dict__.pop(name, None)


def _counting(method: Callable[P, R], found: Tally) -> Callable[P, R]:
    @wraps(method)
    def counted(*args: P.args, **named: P.kwargs) -> R:
        if found.busy:  # one method calls another
            return method(*args, **named)
        found.busy = True
        try:
            with _Sum(found):
                return method(*args, **named)
        finally:
            found.busy = False

    return counted


def forward(module: nn.Module, tokens_BT: Tensor, routers: Mapping[str, nn.Module]) -> tuple[Count, Tally]:
    """Count a forward pass of a model, and its routers' part of it."""
    with tallied(routers) as found:
        return counter.forward(module, tokens_BT), found


def train(module: nn.Module, tokens_BT: Tensor, routers: Mapping[str, nn.Module]) -> tuple[Count, Tally]:
    """Count a training step of a model, and what its routers' methods compute in its forward pass."""
    with tallied(routers) as found:
        return counter.train(module, tokens_BT), found


def with_routers(
    cost: Cost, routers: Mapping[str, nn.Module], seen: Tally, trained: tuple[Count, Tally] | None
) -> Cost:
    """The closed form of the rest and the count of the routers, as one cost.

    Args:
        cost: closed form without the routers.
        routers: the routers by module path.
        seen: what they computed in a forward pass.
        trained: the count of a whole training step, and what routers computed in its forward pass; None: not counted, three times
            a forward pass is assumed.
    """
    parts = {**cost.parts, "router": cost.parts.get("router", 0.0) + seen.total}
    made = replace(cost, parts=parts, params=cost.params + weights(routers))
    if trained is None:
        return made
    whole, inside = trained
    least, most = inside.total, 3 * inside.total
    share = min(max(whole.total - cost.train_step, least), most)
    return replace(made, train_only=cost.train_only + share - 3 * seen.total)


def weights(routers: Mapping[str, nn.Module]) -> int:
    """Number of parameters of the routers; a decode step reads each once."""
    return sum(weight.numel() for router in routers.values() for weight in router.parameters())


def explained(routers: Mapping[str, nn.Module], router: str) -> dict[str, str]:
    """Where fvcore's count may differ: nothing but the counter says what a user's router costs."""
    why = f"router {router} has no closed form, and fvcore may count its operators otherwise"
    return {f"fvcore {where}": why for where in (*routers, "the whole forward pass")} if routers else {}


def source(router: str, seen: Tally, cost: Cost) -> str:
    """What is said of where the FLOPs come from."""
    share = seen.total / cost.forward if cost.forward else 0.0
    return f"; the router {router} has no closed form: its {percent(share, 2)} are counted by torch's counter alone"
