"""A token that is not chosen leaves the block bit for bit as it came."""

from __future__ import annotations

from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.report import Finding, Number, deviates, holds
from modbench.plugins.audit.routed import need

# Share of a block's weights that must skip for the whole block to be routed: norms and biases aside, all.
WHOLE = 0.95


def check(audited: Audited) -> Finding:
    """Look at the stream before and after each routed block."""
    routed = need(audited)
    around = [each for each in routed if each.bypasses]
    facts = {"spared": [each.spared for each in routed]}
    if len(around) == len(routed):
        share = Number(
            value=float(1 - sum(each.chosen_BT.double().mean() for each in routed) / len(routed)), kind="share"
        )
        return holds("{share} of tokens leave it bit for bit", "share", share=share, facts=facts)
    changed = min((each for each in routed if not each.bypasses), key=lambda each: each.spared)
    part = Number(value=changed.spared, kind="share")
    if changed.spared < WHOLE:
        words = "every token is changed: {part} of the block's weights skip"
        return deviates(words, "part", part=part, facts=facts)
    return deviates("every token is changed, though its weights skip", "part", part=part, facts=facts)


PROBE = Probe("bypass is untouched", check, order=112, of=("mod",))
