"""Watches the products of a call: which rows each weight is multiplied with, and in which of them nothing is left of the result.

A row of a product counts as zeroed if the logits do not depend on it: its result was multiplied by exact 0, or dropped by
`where` or an index. The gradient of the logits names such rows. A gradient can be cut, so it is not believed alone: all rows that
it names are changed, and the logits may not change in a single bit.

Shapes: B rows, T tokens, N rows of a product, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from modbench.harness.flops.operators import is_product
from modbench.harness.process.torch_modes import Operator
from modbench.harness.subject.output_caching_guard import same_draws
from modbench.harness.subject.rows import RowWatch, factors

# By how many standard deviations of a product the rows are changed that nothing should depend on.
CHANGE = 3.0


@dataclass
class Product:
    """One product of a weight with data.

    Attributes:
        name: the parameter.
        rows: rows of data.
        cost: products of two numbers for each row.
        dim: dimension of the result along which the weight's outputs lie: -1, or -2 where the weight is the left factor.
        shape: of the result.
        edge: the result in autograd's graph; None where it has no gradient.
        zeroed_N: rows of which nothing is left; None: not known.
    """

    name: str
    rows: int
    cost: int
    dim: int
    shape: tuple[int, ...]
    edge: GradientEdge | None = None
    zeroed_N: Tensor | None = field(default=None, repr=False)


class ProductWatch(RowWatch):
    """Lists the products of weights with data.

    Args:
        module: whose weights.
        change: called with the number of each product and its result, which it may change in place.
    """

    def __init__(self, module: nn.Module, change: Callable[[int, Tensor], None] | None = None) -> None:
        super().__init__(module)
        self.products: list[Product] = []
        self._change = change
        self._with: dict[str, Tensor] = {}
        self._result: Tensor | None = None

    def met(self, name: str, other: Tensor) -> None:
        """Note which weight a product has, if the other factor is data."""
        if self._is_data(other):
            self._with[name] = other

    def before(self, operator: Operator, args: Sequence[Any]) -> None:
        """Take the edge of the last result: autograd has made it by now, and nothing has written into the result yet."""
        self.finish()
        self._with = {}
        super().before(operator, args)

    def after(self, operator: Operator, args: Sequence[Any], out: object) -> None:
        """Note a product of one weight."""
        if self._with and is_product(operator) and isinstance(out, Tensor) and out.ndim > 1:
            left, right = factors(operator, args)
            ((name, other), *_) = self._with.items()
            dim = -1 if other is left else -2
            rows = out.numel() // out.shape[dim]
            self.products.append(Product(name, rows, right.shape[-2] * out.shape[dim], dim, tuple(out.shape)))
            self._result = out
            if self._change is not None:
                self._change(len(self.products) - 1, out)
        super().after(operator, args, out)

    def finish(self) -> None:
        """Take the edge of the last result, if it has one."""
        if self._result is not None and self._result.requires_grad:
            self.products[-1].edge = get_gradient_edge(self._result)
        self._result = None


def weights(module: nn.Module) -> dict[str, int]:
    """Elements of the weights that products are made with, by name: those of tables are looked up."""
    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    return {name: p.numel() for name, p in module.named_parameters() if p.ndim > 1 and id(p) not in tables}


@torch.no_grad()
def awake(module: nn.Module) -> nn.Module:
    """The module itself, changed: no element of its weights is exactly 0, and each has a gradient.

    What a weight of 0 multiplies is not left out by choice: many recipes begin so. What is frozen computes as well.
    """
    draw = torch.Generator().manual_seed(0)
    for p in module.parameters():
        if p.is_floating_point():
            small = 0.02 * torch.randn(p.shape, generator=draw).to(p)
            p.copy_(torch.where(p == 0, small, p))
            p.requires_grad_()
    return module


def zeroed(module: nn.Module, tokens_BT: Tensor, reset: Callable[[], None] = lambda: None) -> list[Product]:
    """The products of one forward pass in evaluation mode, each with the rows of which nothing is left.

    Args:
        module: called once, and once more for every product that seems to have such rows.
        tokens_BT: int64.
        reset: called before each call, to put back what the last one left behind.
    """

    def matter(rows: Mapping[int, Tensor]) -> bool:
        reset()
        return _matter(module, tokens_BT, rows, base_BTV)

    reset()
    module.eval()
    watch, logits_BTV = _watched(module, tokens_BT, None)
    products = watch.products
    edges = [product for product in products if product.edge is not None]
    if not logits_BTV.requires_grad or not edges:
        return products
    # All logits count, none cancels another.
    draw = torch.Generator().manual_seed(0)
    weight_BTV = torch.randn(logits_BTV.shape, generator=draw).to(logits_BTV)
    slopes: Sequence[Tensor | None] = torch.autograd.grad(
        (logits_BTV * weight_BTV).sum(), [each.edge for each in edges if each.edge is not None], allow_unused=True
    )
    for product, slope in zip(edges, slopes, strict=True):
        none = torch.zeros(product.shape) if slope is None else slope
        product.zeroed_N = (none == 0).all(dim=product.dim).cpu()
    for product in products:
        product.edge = None
    base_BTV = logits_BTV.detach()
    for number, product in enumerate(products):
        named_N = product.zeroed_N
        if named_N is not None and bool(named_N.any()) and matter({number: named_N}):
            product.zeroed_N = None
    every = {number: each.zeroed_N for number, each in enumerate(products) if each.zeroed_N is not None}
    if every and matter(every):
        for product in products:
            product.zeroed_N = None
    return products


def _watched(
    module: nn.Module, tokens_BT: Tensor, change: Callable[[int, Tensor], None] | None
) -> tuple[ProductWatch, Tensor]:
    """One call, the same random numbers in each."""
    watch = ProductWatch(module, change)
    with same_draws(tokens_BT), torch.set_grad_enabled(change is None), watch:
        logits_BTV = module(tokens_BT)
    watch.finish()
    return watch, logits_BTV


def _matter(module: nn.Module, tokens_BT: Tensor, rows: Mapping[int, Tensor], base_BTV: Tensor) -> bool:
    """Whether the logits change where these rows of these products are changed."""

    def change(number: int, result: Tensor) -> None:
        named_N = rows.get(number)
        if named_N is None:
            return
        size = float(result.detach().float().std()) or 1.0
        draw = torch.Generator().manual_seed(number)
        noise = CHANGE * size * torch.randn(result.shape, generator=draw).to(result)
        dim = -1 if named_N.shape == result.shape[:-1] else -2
        result.add_(noise * named_N.to(result.device).unsqueeze(dim))

    _, found_BTV = _watched(module, tokens_BT, change)
    return not torch.equal(found_BTV, base_BTV)
