"""No later token moves an earlier prediction."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from modbench.extend import Causality, Label, check_causality
from modbench.plugins.audit.model import TOLERANCE, Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.report import Finding, Number, deviates, holds, unseen

# Nats that rounding may move: half precision inside a model, or a choice between two that are nearly equal.
ROUNDS = 0.1


def check(audited: Audited) -> Finding:
    """Change later tokens under the routing of `forward`, and without later tokens where `forward` takes `causal`.

    What moves in float64 too moves beyond rounding.
    """
    if audited.case.config.bidirectional:
        return unseen("it reads all tokens and classifies: nothing is later")
    found = _guarded(audited)
    ruled = _guarded(audited, causal=True) if audited.parts.accepts("forward", "causal") else None
    facts = {"causal_rule": None if ruled is None or ruled.reads_future is None else not ruled.reads_future}
    if found.reads_future is None:
        return unseen("{why}", why=found.reason or "it could not be tested", facts=facts)
    change = Number(value=found.change or 0.0, unit="nat")
    if not found.reads_future:
        return holds("no later token moves a log-probability", change=change, facts=facts)
    first = _first_moved(audited, found.at or 1)
    words = "position {first} moves {change}"
    if facts["causal_rule"]:
        words += "; not with causal=True"
    elif facts["causal_rule"] is False:
        words += "; also with causal=True"
    made = deviates(words, "change", first=first, change=change, facts=facts | {"first": first})
    return made.labelled(Label.NOT_AUTOREGRESSIVE)


def _guarded(audited: Audited, *, causal: bool = False) -> Causality:
    how: dict[str, Any] = {"causal": True} if causal else {}

    def found(module: nn.Module | None) -> Causality:
        logits = partial(audited.logits, module=module, **how)
        return check_causality.guard(logits, audited.tokens(), audited.vocab_size, audited.seed)

    own = found(None)
    rounds = own.reads_future and (own.change or 0.0) < ROUNDS and audited.exact is not None
    return found(audited.exact) if rounds else own


def _first_moved(audited: Audited, at: int) -> int:
    """The first position whose predictions move when tokens from `at` on change, over some changes."""
    tokens_BT = audited.tokens()
    base_BTV, first = audited.seeded_log_p(tokens_BT), at
    for number in range(4):
        other_BT = tokens_BT.clone()
        other_BT[:, at:] = audited.tokens(20 + number)[:, at:]
        moved_T = (audited.seeded_log_p(other_BT) - base_BTV).abs().amax(-1).amax(0)[:at] > TOLERANCE
        if bool(moved_T.any()):
            first = min(first, int(torch.nonzero(moved_T)[0]))
    return min(first, at - 1)


PROBE = Probe("causal", check, order=20)
