"""A row gets the same alone, in a batch, and padded on the right: by `lengths_B`, or where no later token is read."""

from __future__ import annotations

import torch
from torch import nn

from modbench.plugins.audit.model import EXACT, TOLERANCE, Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.probes import rows_independent
from modbench.plugins.audit.report import Finding, Number, deviates, holds, unseen

DRAWS = "it draws random numbers, and others for other shapes"
# Seeds of the later tokens: one draw may leave the choice of tokens as it was by chance.
OTHERS = (7, 8, 9, 10)


def check(audited: Audited) -> Finding:
    """Call each row by itself, and all rows with padding behind them. In float64 no choice is flipped by rounding.

    Random numbers are held at their medians: else calls of different shapes draw different ones.
    """
    if audited.draws_unheld:
        return unseen(DRAWS)
    with audited.held_draws():
        return _check(audited)


def _check(audited: Audited) -> Finding:
    # What depends on the other rows is found by `rows_independent`; here padding is left.
    coupled = rows_independent.check(audited).verdict == "no"
    bound, ties = TOLERANCE, False
    found = _apart(audited, None, coupled=coupled)
    if not found:
        return unseen("its rows depend on each other, and it takes no lengths_B")
    if max(found.values()) > bound and audited.exact is not None:
        exact = _apart(audited, audited.exact, coupled=coupled)
        ties = max(exact.values()) <= EXACT
        found = {how: 0.0 if each <= EXACT else each for how, each in exact.items()}
    change = Number(value=max(found.values()), unit="nat")
    facts = {"near_ties": ties, **found}
    if change.value <= bound:
        words = "a row alone{padded} gets what it gets in a batch" + "; near ties flip choices" * ties
        if audited.draws:
            words = "a row alone{padded} gets the same, random numbers held"
        return holds(words, change=change, padded=" or padded" * ("padded" in found), facts=facts)
    how = max(found, key=lambda each: found[each])
    return deviates(
        "a row {how} differs by {change} from the same in a batch", "change", how=how, change=change, facts=facts
    )


def _apart(audited: Audited, module: nn.Module | None, *, coupled: bool) -> dict[str, float]:
    """Largest difference of a log-probability, by what was done to the rows."""
    tokens_BT = audited.tokens()
    found = dict[str, float]()
    if not coupled:
        base_BTV = audited.seeded_log_p(tokens_BT, module)
        alone = torch.cat([audited.seeded_log_p(tokens_BT[row : row + 1], module) for row in range(len(tokens_BT))])
        found["alone"] = float((alone - base_BTV).abs().max())
    if audited.parts.accepts("forward", "lengths_B"):
        t = tokens_BT.shape[1]
        short = max(1, 3 * t // 4)
        lengths_B = torch.full((len(tokens_BT),), short, device=tokens_BT.device)
        padded_BTV = audited.seeded_log_p(tokens_BT, module, lengths_B=lengths_B)[:, :short]
        cut_BTV = audited.seeded_log_p(tokens_BT[:, :short], module)
        found["padded"] = float((padded_BTV - cut_BTV).abs().max())
    elif (cut := _cut(audited, module)) is not None:
        found["padded"] = cut
    return found


def _cut(audited: Audited, module: nn.Module | None) -> float | None:
    """By how much the first tokens of rows differ from rows that end there: tokens behind are padding to a causal model.

    None: the model reads them.
    """
    tokens_BT = audited.tokens()
    short = max(1, 3 * tokens_BT.shape[1] // 4)
    whole_BTV = audited.seeded_log_p(tokens_BT, module)[:, :short]
    for draw in OTHERS:
        other_BT = audited.tokens(draw)
        other_BT[:, :short] = tokens_BT[:, :short]
        if float((whole_BTV - audited.seeded_log_p(other_BT, module)[:, :short]).abs().max()) > TOLERANCE:
            return None
    return float((whole_BTV - audited.seeded_log_p(tokens_BT[:, :short], module)).abs().max())


PROBE = Probe("same alone", check, order=50)
