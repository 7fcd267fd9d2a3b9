"""What differs in training: work that is left out, a capacity that moves, state that calls leave behind."""

from __future__ import annotations

from functools import partial

import torch

from modbench.harness.audit.audited import TOLERANCE, Audited
from modbench.harness.audit.card import Finding, Number, reported
from modbench.harness.audit.probe import Probe
from modbench.harness.flops import counter
from modbench.harness.subject.output_caching_guard import same_draws

CALLS = 4
# Share of FLOPs by which forward passes in training may differ from those in evaluation, or from each other.
LITTLE = 0.02


def check(audited: Audited) -> Finding:
    """Call a copy in training mode some times, and compare FLOPs, and what evaluation computes afterwards."""
    module, tokens_BT = audited.another(), audited.tokens()
    with same_draws(tokens_BT):
        before_BTV = audited.log_p(tokens_BT, module)
    evaluated = counter.forward(module, tokens_BT).total
    module.train()
    trained = []
    for number in range(CALLS):
        with torch.enable_grad():
            trained.append(counter.count(module, partial(module, audited.tokens(number))).total)
    with same_draws(tokens_BT):
        carried = float((audited.log_p(tokens_BT, module.eval()) - before_BTV).abs().max())
    share = Number(value=sum(trained) / len(trained) / max(1, evaluated), kind="share")
    facts = {"flops": trained, "flops_in_evaluation": evaluated, "carried_nats": carried}
    words = "{share} of evaluation's forward FLOPs"
    if max(trained) - min(trained) > LITTLE * max(trained):
        words += ", which move"
    if carried > TOLERANCE:
        words += "; calls change evaluation by {carried}"
    return reported(words, "share", share=share, carried=Number(value=carried, unit="nat"), facts=facts)


PROBE = Probe("in training", check, order=80)
