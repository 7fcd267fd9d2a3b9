"""A decode step of a model, made again and again from the same prompt: what it computes, and what of that is thrown away.

Shapes: B rows, T tokens, V vocabulary, N rows of a product.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from modbench.extend import (
    COPIED,
    Generation,
    Missing,
    Unmeasured,
    attempt,
    evaluating,
    rewinder,
    same_draws,
    tensors_of,
)
from modbench.plugins.audit.products import Product, ProductWatch, believe, changed, same, zeroed

if TYPE_CHECKING:
    from collections.abc import Callable

    from modbench.extend import Subject

# By how many standard deviations a product is changed to see which rows of the batch it moves.
CHANGE = 3.0


class Decoding:
    """A decode step after prompts.

    Args:
        subject: the model, in evaluation mode.
        tokens_BT: prompts; the last token of each is the one that is decoded.
        reset: called before each step, to put back what the last one left behind in the model.

    Raises:
        Unmeasured: if it cannot decode, or the same step from the same cache differs.
    """

    def __init__(self, subject: Subject, tokens_BT: Tensor, reset: Callable[[], None] = lambda: None) -> None:
        why = why_not(subject)
        if why:
            raise Unmeasured(why)
        self.subject, self._reset = subject, reset
        self.tokens_B = tokens_BT[:, -1]
        reset()
        with same_draws(tokens_BT), evaluating(subject.module):
            _, self._cache = Generation(subject).read(tokens_BT[:, :-1], tokens_BT.shape[1])
        self._rewind = rewinder(self._cache)
        # What lies beyond a position is not read, but compared here.
        self._contents = [(each, each.clone()) for each in tensors_of(self._cache) if each.dtype not in COPIED]
        if not same(self.step(), self.step()):
            raise Unmeasured("the same decode step from the same cache differs")

    @torch.no_grad()
    def _back(self) -> None:
        self._rewind()
        for held, content in self._contents:
            held.copy_(content)
        self._reset()

    @torch.no_grad()
    def step(self, within: AbstractContextManager[Any] | None = None) -> list[Tensor]:
        """Make the step; logits [B, V], and what the cache holds then, but for positions, lengths and counters."""
        self._back()
        with same_draws(self.tokens_B), within or nullcontext():
            return self._decoded()

    def _decoded(self) -> list[Tensor]:
        with evaluating(self.subject.module):
            logits_BV = self.subject.language_model.decode(self.tokens_B, self._cache)
        return [logits_BV.clone(), *(each.clone() for each in tensors_of(self._cache) if each.dtype not in COPIED)]

    @cached_property
    def products(self) -> list[Product]:
        """The products of the step, each with the rows of which nothing is left in logits or cache."""
        found = attempt(self._by_gradient)
        if isinstance(found, Missing) or not any(each.zeroed_N is not None for each in found):
            return self._by_change()
        return found

    def _by_gradient(self) -> list[Product]:
        return zeroed(self.subject.module, self._decoded, self.tokens_B, self._back)

    def _by_change(self) -> list[Product]:
        """Without a gradient: each product is changed, and the rows of the batch whose logits stay are named.

        They are distinguished only in products of weights that meet all rows, which come in the order of the batch.
        """
        products, _ = self._watched(None)
        base_BV, b = self.step()[0], len(self.tokens_B)
        met = Counter[str]()
        for each in products:
            met[each.name] += each.rows
        for number, each in enumerate(products):
            if met[each.name] < b:
                continue
            all_N = torch.ones([size for at, size in enumerate(each.shape, -len(each.shape)) if at != each.dim]) > 0
            _, found_BV = self._watched(changed({number: all_N}, CHANGE))
            still_B = (found_BV == base_BV).all(-1).cpu()
            if each.rows % b == 0:
                each.zeroed_N = still_B.repeat_interleave(each.rows // b).view(all_N.shape)
            else:
                each.zeroed_N = all_N & still_B.all()
        believe(products, lambda change: self.step(change and ProductWatch(self.subject.module, change)))
        return products

    def _watched(self, change: Callable[[int, Tensor], None] | None) -> tuple[list[Product], Tensor]:
        watch = ProductWatch(self.subject.module, change)
        logits_BV = self.step(watch)[0]
        watch.finish()
        return watch.products, logits_BV


def why_not(subject: Subject) -> str | None:
    """Why a model cannot generate; None if it can."""
    if subject.case.config.bidirectional:
        return "a bidirectional model classifies: it cannot generate"
    if not subject.parts.has("prefill", "decode"):
        return "it has no prefill and decode (docs/your-model.md)"
    try:
        return subject.language_model.why_no_decode() if subject.parts.has("why_no_decode") else None
    except Unmeasured as error:
        return str(error)
