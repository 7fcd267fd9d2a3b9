"""Experts of a model, as calls show them: stacked weights, or modules in a list inside a block; and the tokens that each takes.

Shapes: B rows, T tokens, D width, E experts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from modbench.extend import Unmeasured, evaluating, same_draws
from modbench.plugins.audit.products import Product

if TYPE_CHECKING:
    from modbench.plugins.audit.model import Audited

# An expert in a list: the list, its number there, and the weight in it.
NUMBERED = re.compile(r"(.+)\.(\d+)\.[^\d]+")
NONE = "no experts are seen: stacked weights [E, ., .], or modules in a list inside a block, would be some"


@dataclass(frozen=True)
class Layer:
    """The experts of one layer.

    Attributes:
        path: of their stack or list.
        rows: rows that each expert computed.
        taken: of these, rows that the logits depend on; None where that is not known.
    """

    path: str
    rows: tuple[int, ...]
    taken: tuple[int, ...] | None


def layers(audited: Audited) -> list[Layer]:
    """The layers with experts, in the order of their first product.

    Raises:
        Unmeasured: if there is none.
    """
    parameters = dict(audited.module.named_parameters())
    blocks = tuple(f"{call.path}." for call in audited.block_calls)
    stacked: dict[str, Layer] = {}
    listed: dict[str, dict[int, Product]] = {}
    for product in audited.products:
        weight, match = parameters[product.name], NUMBERED.fullmatch(product.name)
        if weight.ndim == 3 and len(product.shape) == 3 and product.shape[0] == len(weight):
            path = product.name.rpartition(".")[0]
            if path not in stacked:
                each = product.rows // len(weight)
                alive = None if product.zeroed_N is None else (~product.zeroed_N).reshape(len(weight), -1).sum(-1)
                taken = None if alive is None else tuple(int(count) for count in alive)
                stacked[path] = Layer(path, (each,) * len(weight), taken)
        elif match and match[1].startswith(blocks):
            listed.setdefault(match[1], {}).setdefault(int(match[2]), product)
    found = list(stacked.values())
    for path, experts in listed.items():
        if len(experts) > 1:
            known = [int((~each.zeroed_N).sum()) for each in experts.values() if each.zeroed_N is not None]
            rows = tuple(each.rows for each in experts.values())
            found.append(Layer(path, rows, tuple(known) if len(known) == len(rows) else None))
    if not found:
        raise Unmeasured(NONE)
    return found


@torch.no_grad()
def untouched(audited: Audited, layer: Layer) -> float | None:
    """Share of tokens to which a layer of experts gives nothing: 0, or what came in; None if its module is not seen."""
    tokens_BT = audited.tokens()
    seen: dict[str, float] = {}

    def note(path: str, _part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
        out_BTD = output[0] if isinstance(output, tuple) and output else output
        given = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        if not isinstance(out_BTD, Tensor) or given is None or given.shape != out_BTD.shape or out_BTD.ndim < 2:
            return
        if out_BTD.shape[:2] == tokens_BT.shape or len(out_BTD) == tokens_BT.numel():
            nothing = (out_BTD == 0).all(-1) | (out_BTD == given).all(-1)
            seen[path] = float(nothing.double().mean())

    holders = [path for path in dict(audited.module.named_modules()) if path and layer.path.startswith(f"{path}.")]
    modules = dict(audited.module.named_modules())
    hooks = [modules[path].register_forward_hook(partial(note, path), with_kwargs=True) for path in holders]
    audited.reset()
    try:
        with evaluating(audited.module), same_draws(tokens_BT):
            audited.module(tokens_BT)
    finally:
        for hook in hooks:
            hook.remove()
    innermost = max(seen, key=len, default=None)
    return None if innermost is None else seen[innermost]
