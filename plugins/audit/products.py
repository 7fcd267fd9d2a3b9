"""Watches the products of a call: which rows each weight is multiplied with, and in which of them nothing is left of the result.

A row of a product counts as zeroed if nothing that counts depends on it (logits, and losses in training): its result was
multiplied by exact 0, or dropped by `where` or an index. The gradient names such rows. A gradient can be cut, so it is not
believed alone: all rows that it names are changed, and not a single bit may change of what counts.

Shapes: B rows, T tokens, N rows of a product, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from modbench.extend import Operator, RowWatch, factors, is_product, same_draws

# By how many standard deviations of a product the rows are changed that nothing should depend on: a decision, such as whether
# a token is sure enough to leave, may move by much alone.
CHANGES = (3.0, 30.0)
# Share of the work of a call below which a weight is not looked at, such as a router's.
TINY = 0.002


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


def zeroed(
    module: nn.Module,
    call: Callable[[], Sequence[Tensor]],
    tokens_BT: Tensor,
    reset: Callable[[], None] = lambda: None,
) -> list[Product]:
    """The products of one call, each with the rows of which nothing is left.

    Args:
        module: whose weights, in the mode in which it is called.
        call: makes the call, and returns what counts. It is made three times more if some rows seem to be zeroed, and more often
            if some matter after all.
        tokens_BT: the input, on the device where random numbers are drawn.
        reset: called before each call, to put back what the last one left behind.
    """

    def made(change: Callable[[int, Tensor], None] | None = None) -> tuple[ProductWatch, Sequence[Tensor]]:
        """One call, the same random numbers in each."""
        reset()
        watch = ProductWatch(module, change)
        with same_draws(tokens_BT), watch:
            counts = call()
        watch.finish()
        return watch, counts

    with torch.enable_grad():
        watch, counts = made()
    products = watch.products
    edges = [product for product in products if product.edge is not None]
    if not edges or not any(each.requires_grad for each in counts):
        return products
    # All logits count, none cancels another.
    draw = torch.Generator().manual_seed(0)
    parts = [(each * torch.randn(each.shape, generator=draw).to(each)).sum() for each in counts if each.requires_grad]
    slopes: Sequence[Tensor | None] = torch.autograd.grad(
        torch.stack([each.float() for each in parts]).sum(),
        [each.edge for each in edges if each.edge is not None],
        allow_unused=True,
    )
    for product, slope in zip(edges, slopes, strict=True):
        none = torch.zeros(product.shape) if slope is None else slope
        product.zeroed_N = (none == 0).all(dim=product.dim).cpu()
    for product in products:
        product.edge = None
    believe(products, lambda change: made(change)[1])
    return products


def believe(
    products: Sequence[Product], made: Callable[[Callable[[int, Tensor], None] | None], Sequence[Tensor]]
) -> None:
    """Keep the zeroed rows that nothing depends on: a product with others is not known.

    Args:
        products: of one call, with rows that seem to be zeroed.
        made: makes the call again with changed products, and returns what counts.
    """

    @torch.no_grad()
    def matter(rows: Mapping[int, Tensor]) -> bool:
        return any(not same(made(changed(rows, size)), base) for size in CHANGES)

    spent = Counter[str]()
    for each in products:
        spent[each.name] += each.rows * each.cost
    least = TINY * spent.total()
    named: dict[int, Tensor] = {}
    for number, each in enumerate(products):
        if each.zeroed_N is None or not bool(each.zeroed_N.any()):
            continue
        if spent[each.name] < least:
            each.zeroed_N = None
        else:
            named[number] = each.zeroed_N
    if not named:
        return
    with torch.no_grad():
        base = made(None)
    harmless = _harmless(list(named), lambda numbers: matter({number: named[number] for number in numbers}))
    for number in set(named) - set(harmless):
        products[number].zeroed_N = None
    if len(harmless) < len(named) and matter({number: named[number] for number in harmless}):
        for product in products:
            product.zeroed_N = None


def _harmless(numbers: list[int], matter: Callable[[list[int]], bool]) -> list[int]:
    """The products whose rows do not matter, found by halves."""
    if not matter(numbers):
        return numbers
    half = len(numbers) // 2
    return [*_harmless(numbers[:half], matter), *_harmless(numbers[half:], matter)] if half else []


def same(found: Sequence[Tensor], base: Sequence[Tensor]) -> bool:
    """Whether tensors are equal bit for bit."""
    return len(found) == len(base) and all(torch.equal(*pair) for pair in zip(found, base, strict=True))


def changed(rows: Mapping[int, Tensor], size: float) -> Callable[[int, Tensor], None]:
    """What changes some rows of some products of a call, by so many standard deviations of a product.

    Args:
        rows: which rows, by the number of the product.
        size: standard deviations.
    """

    def change(number: int, result: Tensor) -> None:
        named_N = rows.get(number)
        shape = tuple(result.shape)
        if named_N is None or named_N.shape not in {shape[:-1], (*shape[:-2], shape[-1])}:
            return  # an earlier change has moved a decision, and other products follow: it matters in any case
        scale = size * (float(result.detach().float().std(correction=0)) or 1.0)
        draw = torch.Generator().manual_seed(number)
        noise = scale * torch.randn(result.shape, generator=draw).to(result)
        dim = -1 if named_N.shape == result.shape[:-1] else -2
        result.add_(noise * named_N.to(result.device).unsqueeze(dim))

    return change
