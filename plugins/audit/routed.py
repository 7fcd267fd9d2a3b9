"""The routed blocks of a model, as calls show them: which tokens leave changed, and where the scores of a router are.

A block is routed if some tokens leave it bit for bit as they came, if its weights met fewer rows than there are tokens, or if
rows that they met came to nothing. A router is a weight inside a block with one or two outputs for each token.

Shapes: B rows, T tokens, D width, N = B·T.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modbench.extend import Unmeasured
from modbench.plugins.audit.blocks import calls_of_blocks
from modbench.plugins.audit.products import Product, ProductWatch

if TYPE_CHECKING:
    from modbench.plugins.audit.blocks import BlockCall
    from modbench.plugins.audit.model import Audited

# Outputs of a router for each token: a score, or logits of both choices.
OUTPUTS = 2
# Share of tokens that weights must be spared for a block to be routed, and tokens of a row: nothing depends on the query of a
# first token, which can attend to itself alone.
SPARED, FIRST = 0.02, 1.5
# By how many standard deviations a weight is changed to see whether it decides.
CHANGE = 3.0
NONE = "no block is routed: its blocks change every token and compute all rows"
ALL_MOVED = "every token leaves its routed blocks changed: which were chosen is not seen"


@dataclass(frozen=True)
class Routed:
    """A routed block.

    Attributes:
        number: of its call among those of all blocks, from 0.
        call: the call.
        products: of its weights in that call.
        spared: share of its weights, by elements, that met fewer rows than there are tokens, or rows that came to nothing.
        candidates: numbers of the products that may be a router's.
    """

    number: int
    call: BlockCall
    products: tuple[Product, ...]
    spared: float
    candidates: tuple[int, ...]

    @property
    def chosen_BT(self) -> Tensor:  # noqa: N802  # a tensor of that shape
        """Tokens that leave the block changed."""
        return self.call.moved_BT

    @property
    def bypasses(self) -> bool:
        """Whether any token leaves the block bit for bit as it came."""
        return not bool(self.chosen_BT.all())

    def scored(self, change: Callable[[int, Tensor], Tensor], x_BTD: Tensor | None = None) -> Tensor:
        """The stream after the block with other scores of its router.

        Args:
            change: from the number of a router of the block and its scores, one row for each token, to other scores.
            x_BTD: the stream before it; None: as it was.

        Raises:
            Unmeasured: if no router was found.
        """
        if not self.candidates:
            raise Unmeasured(NO_ROUTER)

        def replace(number: int, result: Tensor) -> None:
            if number in self.candidates:
                result.copy_(change(number, result.clone()))

        with torch.no_grad(), ProductWatch(self.call.module, replace):
            return self.call.again(x_BTD)

    @cached_property
    def scores(self) -> dict[int, Tensor]:
        """What each router of the block says, one row for each token."""
        found: dict[int, Tensor] = {}

        def keep(number: int, score: Tensor) -> Tensor:
            found[number] = score.clone()
            return score

        self.scored(keep)
        return found

    def held(self, x_BTD: Tensor) -> Tensor:
        """The stream after the block for another stream before it, with the scores as they were where a router is seen."""
        if not self.candidates:
            with torch.no_grad():
                return self.call.again(x_BTD)
        scores = self.scores  # made here: nothing is seen from within a mode
        return self.scored(lambda number, _score: scores[number].clone(), x_BTD)


NO_ROUTER = "no router is seen: a weight in the block with one output for each token would be one"


def routed_blocks(audited: Audited, *, held: bool = False) -> list[Routed]:
    """The routed blocks of a model, in the order of their calls; they are looked for once.

    Args:
        audited: the model.
        held: with random numbers held, where it draws some; its blocks are then called so too (`Audited.held_draws`).
    """
    held = held and audited.draws
    return audited.once((_look, held), lambda: _look(audited, held=held))


def _look(audited: Audited, *, held: bool) -> list[Routed]:
    with audited.held_draws() if held else nullcontext():
        return _among(audited, audited.blocks_on(audited.tokens()) if held else audited.block_calls)


def _among(audited: Audited, calls: Sequence[BlockCall]) -> list[Routed]:
    tokens, least = audited.tokens().numel(), max(SPARED, FIRST / audited.case.grid_point.seq_len)
    zeroed = {each.name for each in audited.products if _share_zeroed(each, tokens) > least}
    found = []
    for number, call in enumerate(calls):
        watch = ProductWatch(call.module)
        with torch.no_grad(), watch:
            call.again()
        watch.finish()
        products = tuple(watch.products)
        rows: dict[str, int] = {}
        for each in products:
            rows[each.name] = rows.get(each.name, 0) + each.rows
        sizes = {name: p.numel() for name, p in call.module.named_parameters() if p.ndim > 1}
        spared = {
            name for name in sizes if rows.get(name, 0) < (1 - SPARED) * tokens or f"{call.path}.{name}" in zeroed
        }
        routers = tuple(at for at, each in enumerate(products) if is_router(each, tokens))
        small = {products[at].name for at in routers}
        whole = sum(size for name, size in sizes.items() if name not in small)
        share = sum(size for name, size in sizes.items() if name in spared and name not in small) / max(1, whole)
        made = Routed(number, call, products, share, routers)
        if made.bypasses or share > SPARED:
            found.append(made)
    return found


def need(audited: Audited, *, held: bool = False) -> list[Routed]:
    """The routed blocks, as in `routed_blocks`.

    Raises:
        Unmeasured: if there is none.
    """
    if not audited.block_calls:
        raise Unmeasured("no block is seen: modules that map [B, T, D] to [B, T, D] would be blocks")
    found = routed_blocks(audited, held=held)
    if not found:
        raise Unmeasured(NONE)
    return found


def decided_by_no_weight(audited: Audited) -> bool:
    """Whether no weight decides which tokens a routed block takes: one that moves the choice moves the stream before it as well.

    A router is a weight that moves the choice alone, wherever it lies. False too where that is not seen.
    """
    return audited.once(_no_weight_decides, lambda: _no_weight_decides(audited))


def _no_weight_decides(audited: Audited) -> bool:
    first = next((each for each in need(audited) if each.bypasses), None)
    if first is None or audited.draws or audited.carries_state:
        return False
    module, draw = audited.another(), torch.Generator().manual_seed(0)
    for p in module.parameters():
        before, size = p.detach().clone(), float(p.detach().float().std(correction=0)) or 0.1
        with torch.no_grad():
            p.add_(CHANGE * size * torch.randn(p.shape, generator=draw).to(p))
        call = calls_of_blocks(module, audited.tokens())[first.number]
        with torch.no_grad():
            p.copy_(before)
        if torch.equal(call.x_BTD, first.call.x_BTD) and not torch.equal(call.moved_BT, first.chosen_BT):
            return False
    return True


def is_router(product: Product, tokens: int) -> bool:
    """Whether a product may be a router's: one output or two for each token of the batch."""
    return product.shape[product.dim] <= OUTPUTS and product.rows == tokens


def _share_zeroed(product: Product, tokens: int) -> float:
    """Share of the tokens of which nothing is left in a product of all of them; 0 if that is not known."""
    if product.zeroed_N is None or product.rows < tokens:
        return 0.0
    return float(product.zeroed_N.double().mean())


def largest(one: Tensor, other: Tensor) -> float:
    """Largest difference, as a share of the largest value of the second."""
    if not one.numel():
        return 0.0
    size = float(other.double().abs().max()) or 1.0
    return float((one.double() - other.double()).abs().max()) / size


def real_scores(scores: Tensor) -> Tensor:
    """One score for each row: of two logits their difference."""
    flat = scores.reshape(-1, scores.shape[-1]) if scores.ndim > 1 else scores[:, None]
    return flat[:, 0] if flat.shape[1] == 1 else flat[:, 1] - flat[:, 0]


def of_rows(mask_BT: Tensor) -> list[int]:
    """Tokens of each row in a mask."""
    return [int(count) for count in mask_BT.sum(-1)]
