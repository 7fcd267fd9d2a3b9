"""How many tokens get nothing from a layer of experts: dropped by full experts, or sent to no-ops."""

from __future__ import annotations

from modbench.plugins.audit.experts import layers, untouched
from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.report import Finding, Number, reported, unseen


def check(audited: Audited) -> Finding:
    """Look at what the layers return: exactly 0, or what came in, for a token that no expert takes."""
    found = [untouched(audited, layer) for layer in layers(audited)]
    shares = [share for share in found if share is not None]
    if not shares:
        return unseen("no module with the experts in it maps [B, T, D] to the same shape")
    share = Number(value=sum(shares) / len(shares), kind="share")
    return reported("{share} of tokens get nothing from the experts", "share", share=share, facts={"layers": shares})


PROBE = Probe("tokens without expert", check, order=142, of=("moe", "mode"))
