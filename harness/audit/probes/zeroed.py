"""Nothing is computed and then zeroed: multiplied by exact 0, or dropped by `where` or an index."""

from __future__ import annotations

from collections import Counter

from torch import Tensor

from modbench.harness.audit.audited import Audited
from modbench.harness.audit.card import Finding, Number, deviates, holds, reported, unseen
from modbench.harness.audit.probe import Probe
from modbench.harness.core.labels import Label

# Share of the work of weights below which nothing is said: a row that fills a shape, or that no later token happened to read.
LITTLE = 0.01


def check(audited: Audited) -> Finding:
    """Find the rows of products that no logit depends on, and weigh them by what they cost.

    A weight that meets fewer rows than there are tokens was spared some: rows of it that come to nothing fill a shape, such as
    that of the longest choice of a batch. They are told apart. Keys and values of the last tokens may be read by none that
    follow, and are kept for those to come: of products with all tokens of a row, only the first half counts, for both.
    """
    found, tokens_BT = audited.products, audited.tokens()
    known = [each for each in found if each.zeroed_N is not None]
    whole = sum(each.rows * each.cost for each in found)
    if not whole or 2 * sum(each.rows * each.cost for each in known) < whole:
        return unseen("its products have no gradient: a forward pass that torch can differentiate would show it")
    met, lost = Counter[str](), dict[str, float]()
    for each in known:
        met[each.name] += each.rows
        if each.zeroed_N is not None:
            lost[each.name] = lost.get(each.name, 0.0) + _lost(each.zeroed_N, tokens_BT.shape[1]) * each.cost
    every = {name for name, rows in met.items() if rows >= tokens_BT.numel()}
    share = Number(value=sum(work for name, work in lost.items() if name in every) / whole, kind="share")
    filling = sum(work for name, work in lost.items() if name not in every) / whole
    facts = {
        "filling": filling,
        "weights": [name for name, work in lost.items() if name in every and work],
    }
    words = "{share} of the work of weights is zeroed or dropped"
    if share.value <= LITTLE:
        words = "nothing is computed and then zeroed"
    if audited.of is None or audited.of == "dense":
        fact = reported(words, "share", share=share, facts=facts)
        return fact.labelled(Label.ZEROES) if share.value > LITTLE else fact
    if share.value <= LITTLE:
        return holds(words, "share", share=share, facts=facts)
    return deviates(words, "share", share=share, facts=facts).labelled(Label.ZEROES)


def _lost(zeroed_N: Tensor, t: int) -> float:
    """Rows of a product that came to nothing."""
    zeroed_N = zeroed_N.flatten()
    if zeroed_N.numel() % t:
        return float(zeroed_N.sum())
    first = t // 2
    return float(zeroed_N.view(-1, t)[:, :first].sum()) * t / first


PROBE = Probe("nothing zeroed", check, order=12)
