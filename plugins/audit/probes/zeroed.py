"""Nothing is computed and then zeroed: multiplied by exact 0, or dropped by `where` or an index."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from modbench.extend import Label, Missing, attempt
from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.products import Product, weights
from modbench.plugins.audit.report import Finding, Given, Number, deviates, holds, reported, unseen

# Share of the work of weights below which nothing is said: a row that fills a shape, or that no later token happened to read.
LITTLE = 0.01


class Lost(NamedTuple):
    """What of the work of weights comes to nothing.

    Attributes:
        share: of weights that met every token.
        filling: the share of weights that were spared some.
        unread: the part of it in products of which nothing at all is read.
        weights: names of those that `share` counts.
    """

    share: float
    filling: float
    unread: float
    weights: list[str]


def check(audited: Audited) -> Finding:
    """Find the rows of products that nothing depends on, in a forward pass, in a training step and in a decode step.

    A weight that meets fewer rows than there are tokens was spared some: rows of it that come to nothing fill a shape, such as
    that of the longest choice of a batch. They are distinguished. In training a product of which nothing at all is read may
    belong to a loss that is not seen, or that counts at another time, and is distinguished too.
    """
    tokens_BT = audited.tokens()
    n, t = tokens_BT.numel(), tokens_BT.shape[1]
    sizes = weights(audited.module)
    forward = lost(audited.products, sizes, n, t)
    if forward is None:
        return unseen("its products have no gradient: a forward pass that torch can differentiate would show it")
    training = attempt(lambda: lost(audited.products_in_training, sizes, n, t))
    decoding = attempt(lambda: _decoding(audited, sizes))
    shares = {"forward": forward.share}
    if isinstance(training, Lost):
        shares["training"] = training.share - training.unread
    if isinstance(decoding, Lost):
        shares["decoding"] = decoding.share
    facts = {
        **{name: shares.get(name) for name in ("forward", "training", "decoding")},
        "filling": forward.filling,
        "weights": forward.weights,
        "unread_in_training": training.unread if isinstance(training, Lost) else None,
        "why_not": [each.reason for each in (training, decoding) if isinstance(each, Missing)],
    }
    given: dict[str, Given] = {name: Number(value=share, kind="share") for name, share in shares.items()}
    others = [f"{name} {{{name}}}" for name in ("training", "decoding") if name in given]
    words = "{forward} of work" + f" ({', '.join(others)})" * bool(others)
    worst = max(shares, key=lambda name: shares[name])
    judge = holds if shares[worst] <= LITTLE else deviates
    if audited.of is None or audited.of == "dense":
        judge = reported
    found = judge(words, worst, facts=facts, **given)
    return found.labelled(Label.ZEROES) if shares[worst] > LITTLE else found


def _decoding(audited: Audited, sizes: Mapping[str, int]) -> Lost | None:
    """Of a decode step, without products of more rows than tokens: these compute earlier tokens again, for new ones to read."""
    decoding = audited.decoding
    b = len(decoding.tokens_B)
    return lost([each for each in decoding.products if each.rows <= b], sizes, b, 1)


def lost(products: Sequence[Product], sizes: Mapping[str, int], n: int, t: int) -> Lost | None:
    """The work that comes to nothing in a call.

    Args:
        products: of the call.
        sizes: elements of every weight of the model, also of those that the call left out.
        n: tokens of the call.
        t: tokens of each of its rows.

    Returns:
        None where that is not known of most of the work.
    """
    whole = sum(each.rows * each.cost for each in products)
    met = Counter[str]()
    for each in products:
        met[each.name] += each.rows
    spared = {name for name, rows in met.items() if rows < n}
    full = [each for each in products if each.name not in spared]
    hidden = sum(each.rows * each.cost for each in full if each.zeroed_N is None)
    if not whole or 2 * hidden > sum(each.rows * each.cost for each in full):
        return None
    sparing = _sparing(sizes, spared | (sizes.keys() - met.keys()))

    def work(of: Sequence[Product]) -> float:
        """What of the work of some products comes to nothing, as a share of the whole."""
        found = 0.0
        for each in of:
            if each.zeroed_N is not None:
                to_come = each.name not in spared and _block(each.name) in sparing
                found += _rows(each.zeroed_N, t, to_come=to_come) * each.cost
        return found / whole

    return Lost(
        share=work(full),
        filling=work([each for each in products if each.name in spared]),
        unread=work([each for each in full if each.zeroed_N is not None and bool(each.zeroed_N.all())]),
        weights=list(dict.fromkeys(each.name for each in full if work([each]))),
    )


def _sparing(sizes: Mapping[str, int], spared: Collection[str]) -> set[str]:
    """The blocks that skip tokens with most of their weights, by elements."""
    whole, of_spared = Counter[str](), Counter[str]()
    for name, size in sizes.items():
        whole[_block(name)] += size
        of_spared[_block(name)] += size * (name in spared)
    return {block for block, size in of_spared.items() if block and 2 * size > whole[block]}


def _block(name: str) -> str:
    """The block of a weight: its path with the first number; empty if there is none."""
    found = re.match(r".*?\.\d+\.", name)
    return found[0] if found else ""


def _rows(zeroed_N: Tensor, t: int, *, to_come: bool) -> float:
    """Rows of a product that came to nothing.

    Keys and values are kept for later tokens, though no token of this call may read those of the last ones. So in a product with
    all tokens of a row the second half counts no larger share than the first.

    Args:
        zeroed_N: the rows of which nothing is left.
        t: tokens of each row of the batch.
        to_come: whether the block skips tokens with most of its weights. What it still computes of them is their keys and
            values, so nothing counts after the last token whose row is read.
    """
    zeroed_N = zeroed_N.flatten()
    first = t // 2
    if zeroed_N.numel() % t or not first:
        return float(zeroed_N.sum())
    rows_RT = zeroed_N.view(-1, t)
    if to_come:
        read_later_RT = (~rows_RT).int().flip(-1).cummax(-1).values.flip(-1) > 0
        return float((rows_RT & read_later_RT).sum())
    early, late = float(rows_RT[:, :first].sum()), float(rows_RT[:, first:].sum())
    return early + min(late, early * (t - first) / first)


PROBE = Probe("nothing zeroed", check, order=12)
