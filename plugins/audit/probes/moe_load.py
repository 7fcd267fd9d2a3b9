"""How many tokens each expert takes."""

from __future__ import annotations

from modbench.plugins.audit.experts import layers
from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.report import Finding, Number, reported, unseen


def check(audited: Audited) -> Finding:
    """Count the rows of each expert on which the logits depend, in the layer that is least balanced."""
    known = [each.taken for each in layers(audited) if each.taken is not None and any(each.taken)]
    if not known:
        return unseen("which rows of its experts count is not seen: their products have no gradient")
    taken = max(known, key=lambda counts: max(counts) * len(counts) / sum(counts))
    balance = Number(value=max(taken) * len(taken) / sum(taken), kind="ratio")
    words = "{low} to {high} of {n:token} for {e:expert}, at most {balance} the mean"
    facts = {"taken": [list(counts) for counts in known]}
    n = audited.tokens().numel()
    return reported(words, "balance", low=min(taken), high=max(taken), n=n, e=len(taken), balance=balance, facts=facts)


PROBE = Probe("load of experts", check, order=140, of=("moe", "mode"))
