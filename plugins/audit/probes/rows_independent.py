"""What a row gets does not depend on the other rows of its batch."""

from __future__ import annotations

import torch
from torch import nn

from modbench.extend import Label
from modbench.plugins.audit.model import EXACT, TOLERANCE, Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.report import Finding, Number, deviates, holds, unseen

# Batches that take the place of a row's neighbours.
TRIES = 4


def check(audited: Audited) -> Finding:
    """Keep one row and change the others. The shape of the call stays, so that rounding hardly differs.

    In float64 nothing is rounded enough to flip a choice: what moves only in the model's own format are near ties.
    """
    if audited.case.grid_point.batch_size < 2:
        return unseen("a batch of one row: --batch-size 2 would show it")
    if audited.unsteady:
        return unseen("the same call differs by itself, and no seed of torch holds it still")
    moved, ties = _largest(audited, None), 0
    if moved > TOLERANCE and audited.exact is not None:
        exact = _largest(audited, audited.exact)
        moved, ties = (exact, 0) if exact > EXACT else (0.0, 1)
    facts = {"near_ties": bool(ties)}
    change = Number(value=moved, unit="nat")
    if moved <= TOLERANCE:
        words = "other rows of the batch change nothing" + "; near ties flip choices" * ties
        return holds(words, change=change, facts=facts)
    words = "other rows move a row's predictions by {change}"
    return deviates(words, "change", change=change, facts=facts).labelled(Label.ROWS_DEPEND)


def _largest(audited: Audited, module: nn.Module | None) -> float:
    """Largest change of a log-probability of a kept row, over its places in the batch and its neighbours."""
    tokens_BT, worst = audited.tokens(), 0.0
    base_BTV = audited.seeded_log_p(tokens_BT, module)
    for row in {0, len(tokens_BT) // 2, len(tokens_BT) - 1}:
        for number in range(TRIES):
            other_BT = audited.tokens(30 + number)
            if number == TRIES - 1:  # neighbours that are all alike
                other_BT = torch.zeros_like(other_BT)
            other_BT[row] = tokens_BT[row]
            found_BTV = audited.seeded_log_p(other_BT, module)
            worst = max(worst, float((found_BTV[row] - base_BTV[row]).abs().max()))
    return worst


PROBE = Probe("rows independent", check, order=30)
