"""What differs in training: work that is left out, a capacity that moves, state that calls leave behind."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor

from modbench.extend import counter, same_draws
from modbench.plugins.audit.model import TOLERANCE, Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.report import Finding, Number, reported

CALLS = 4
# Share of FLOPs by which forward passes in training may differ from those in evaluation, or from each other.
LITTLE = 0.02


def check(audited: Audited) -> Finding:
    """Call a copy in training mode some times, and compare FLOPs, and what evaluation computes afterwards."""
    module, tokens_BT = audited.another(), audited.tokens()
    before_BTV = audited.seeded_log_p(tokens_BT, module)
    # Cost may depend on the tokens: each batch is compared with itself.
    batches = [audited.tokens(number) for number in range(CALLS)]
    evaluated = []
    for each_BT in batches:
        with _drawn(audited, each_BT):
            evaluated.append(counter.forward(module, each_BT).total)
    module.train()
    trained = []
    for each_BT in batches:
        with _drawn(audited, each_BT), torch.enable_grad():
            trained.append(counter.count(module, partial(module, each_BT)).total)
    after_BTV = audited.seeded_log_p(tokens_BT, module.eval())
    # What differs between equal calls in any case tells nothing of state.
    carried = None if audited.unsteady else float((after_BTV - before_BTV).abs().max())
    shares = [one / max(1, other) for one, other in zip(trained, evaluated, strict=True)]
    share = Number(value=sum(shares) / CALLS, kind="share")
    moves = max(shares) - min(shares) > LITTLE * max(shares)
    facts = {"flops": trained, "flops_in_evaluation": evaluated, "moves": moves, "carried_nats": carried}
    words = "{share} of evaluation's forward FLOPs"
    if moves:
        words += ", which move"
    if carried is not None and carried > TOLERANCE:
        words += "; calls change evaluation by {carried}"
    return reported(words, "share", share=share, carried=Number(value=carried or 0.0, unit="nat"), facts=facts)


def _drawn(audited: Audited, tokens_BT: Tensor) -> AbstractContextManager[object]:
    """Equal random numbers for both modes, if evaluation draws some too."""
    return same_draws(tokens_BT) if audited.draws else nullcontext()


PROBE = Probe("in training", check, order=80)
