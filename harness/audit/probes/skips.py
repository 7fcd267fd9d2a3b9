"""Not everything is computed: the share of rows that weights are multiplied with, and of FLOPs with everything on."""

from __future__ import annotations

from modbench.harness.audit.audited import Audited
from modbench.harness.audit.card import Finding, Number, deviates, holds, reported
from modbench.harness.audit.probe import Probe
from modbench.harness.audit.products import weights
from modbench.harness.core.errors import Unmeasured
from modbench.harness.flops import counter
from modbench.harness.registry import own_models
from modbench.harness.subject.rows import RowWatch

# Shares above it are all: k is rounded, and a predictor adds some FLOPs.
ALL = 0.995
SKIPPING = frozenset({"mod", "mode", "early_exit"})


def check(audited: Audited) -> Finding:
    """Count rows and FLOPs of one forward pass, and of one of the same model with capacity 1 if it can be built."""
    tokens_BT = audited.tokens(1)
    watch = RowWatch(audited.module)
    audited.module.eval()
    with watch:
        flops = counter.forward(audited.module, tokens_BT).total
    sizes = weights(audited.module)
    whole = sum(sizes.values()) * tokens_BT.numel()
    rows = Number(value=sum(watch.work.get(name, 0.0) for name in sizes) / whole if whole else 1.0, kind="share")
    dense = _all_on(audited)
    of_dense = None if dense is None else flops / dense
    facts = {"rows": rows.value, "flops": flops, "flops_all_on": dense, "flops_share": of_dense}
    least = min(rows.value, 1.0 if of_dense is None else of_dense)
    words, given = "computes {rows} of its rows", {"rows": rows}
    if of_dense is not None:
        words += ", {flops} of the FLOPs at capacity 1"
        given["flops"] = Number(value=of_dense, kind="share")
    if audited.of not in SKIPPING:
        return reported(words, "rows", facts=facts, **given)
    if least <= ALL:
        return holds(words, "rows", facts=facts, **given)
    return deviates(words, "rows", facts=facts, **given)


def _all_on(audited: Audited) -> int | None:
    """FLOPs of the same call with capacity 1; None where that cannot be built."""
    case = audited.case
    if audited.in_memory:
        return None
    capacity = dict(case.options).get("capacity", case.config.capacity)
    if case.own:
        way = own_models.way(case.model, {}, "capacity")
        if way.why_not:
            return None
    elif capacity is None:
        return None
    try:
        return counter.forward(audited.another(capacity=1.0), audited.tokens(1)).total
    except (Unmeasured, ValueError):
        return None


PROBE = Probe("skips", check, order=10)
