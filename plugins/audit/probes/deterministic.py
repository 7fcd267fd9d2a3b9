"""The same call in evaluation mode computes the same."""

from __future__ import annotations

from modbench.extend import Label, same_draws
from modbench.plugins.audit.model import TOLERANCE, Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.report import Finding, Number, deviates, holds

CALLS = 4


def check(audited: Audited) -> Finding:
    """Repeat a call as it is, and again with the same seeds: what differs then too is state, not chance."""
    tokens_BT, module = audited.tokens(), audited.module
    with same_draws(
        tokens_BT
    ):  # begun alike, so that the number is the same in every audit; no two calls draw the same
        base_BTV = audited.log_p(tokens_BT)
        # A module that is named is called as earlier calls left it.
        apart = max(float((audited.log_p(tokens_BT, module) - base_BTV).abs().max()) for _ in range(CALLS))
    change = Number(value=apart, unit="nat")
    if apart <= TOLERANCE:
        return holds("the same call gives the same", change=change)
    seeded = [audited.seeded_log_p(tokens_BT, module) for _ in range(2)]
    drawn = float((seeded[0] - seeded[1]).abs().max()) <= TOLERANCE
    cause = "random numbers" if drawn else "it carries state"
    facts, label = {"draws": drawn}, Label.RANDOM if drawn else Label.DEVIATES
    words = "equal calls differ by {change}: {cause}"
    return deviates(words, "change", change=change, cause=cause, facts=facts).labelled(label)


PROBE = Probe("deterministic", check, order=40)
