"""Every routed block has one router of its own."""

from __future__ import annotations

from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.report import Finding, deviates, holds, unseen
from modbench.plugins.audit.routed import NO_ROUTER, decided_by_no_weight, need


def check(audited: Audited) -> Finding:
    """Look for weights with one output, or two, for each token in the routed blocks, and whether blocks share them."""
    routed = need(audited)
    owned: list[set[int]] = []
    for each in routed:
        named = dict(each.call.module.named_parameters())
        owned.append({id(named[each.products[at].name]) for at in each.candidates})
    blocks = len({id(each.call.module) for each in routed})
    different = len(set().union(*owned))
    facts = {"routers": [len(ids) for ids in owned], "blocks": len(routed), "different": different}
    if not different and decided_by_no_weight(audited):
        return deviates("no weight decides: {n:router} in {blocks:routed block}", "n", n=0, blocks=blocks, facts=facts)
    if not different:
        return unseen(NO_ROUTER, facts=facts)
    if any(len(ids) != 1 for ids in owned):
        counts = [len(ids) for ids in owned]
        odd = next(count for count in counts if count != 1)
        return deviates("a routed block has {n:router}", "n", n=odd, facts=facts)
    if different < blocks:
        words = "{blocks:routed block} share {n:router}"
        return deviates(words, "n", n=different, blocks=blocks, facts=facts)
    return holds(
        "{n:router is|routers are} in {blocks:routed block}", "n", n=different, blocks=len(routed), facts=facts
    )


PROBE = Probe("one router a block", check, order=120, of=("mod",))
