"""Not everything is computed: the share of rows that weights are multiplied with, and of FLOPs with everything on."""

from __future__ import annotations

import math

import torch
from torch import nn

from modbench.harness.audit.audited import Audited
from modbench.harness.audit.card import Finding, Number, deviates, holds, reported
from modbench.harness.audit.probe import Probe
from modbench.harness.audit.products import weights
from modbench.harness.core.errors import Unmeasured
from modbench.harness.flops import counter
from modbench.harness.registry import own_models
from modbench.harness.subject.modes import evaluating
from modbench.harness.subject.rows import RowWatch

# Shares above it are all: k is rounded, and a predictor adds some FLOPs.
ALL = 0.995
SKIPPING = frozenset({"mod", "mode"})
# A capacity at which a model that reads it computes less than at 1.
LOWER = 0.25


def check(audited: Audited) -> Finding:
    """Count rows and FLOPs of one forward pass, and of one of the same model with capacity 1 if it can be built."""
    tokens_BT = audited.tokens(1)
    audited.reset()
    flops = counter.forward(audited.module, tokens_BT).total
    rows = Number(value=rows_computed(audited), kind="share")
    module = all_on(audited)
    dense = None if module is None else counter.forward(module, tokens_BT).total
    of_dense = None if dense is None else flops / dense
    facts = {"rows": rows.value, "flops": flops, "flops_all_on": dense, "flops_share": of_dense}
    least = min(rows.value, 1.0 if of_dense is None else of_dense)
    words, given = "computes {rows} of rows", {"rows": rows}
    if of_dense is not None:
        words += ", {flops} of the FLOPs at c = 1"
        given["flops"] = Number(value=of_dense, kind="share")
    if audited.of not in SKIPPING:
        return reported(words, "rows", facts=facts, **given)
    if least <= ALL:
        return holds(words, "rows", facts=facts, **given)
    return deviates(words, "rows", facts=facts, **given)


def rows_computed(audited: Audited) -> float:
    """Rows that weights are multiplied with in a forward pass, as a share of all tokens for each.

    A weight that meets more rows than there are tokens is used by several passes, such as the recursions of a shared block: its
    share is that of so many passes over all tokens.
    """
    tokens_BT, watch = audited.tokens(1), RowWatch(audited.module)
    audited.reset()
    with watch, torch.no_grad(), evaluating(audited.module):
        audited.module(tokens_BT)
    sizes = weights(audited.module)
    work = {name: watch.work.get(name, 0.0) for name in sizes}
    one = {name: size * tokens_BT.numel() for name, size in sizes.items()}
    whole = sum(one[name] * max(1, math.ceil(work[name] / one[name])) for name in sizes)
    return sum(work.values()) / whole if whole else 1.0


def all_on(audited: Audited) -> nn.Module | None:
    """The same model with capacity 1; None where that cannot be built, or capacity reaches nothing that is computed."""
    module = built_with(audited, 1.0)
    lower = built_with(audited, LOWER) if module is not None and audited.case.own else None
    if module is None or lower is None:
        return module
    whole, part = (counter.forward(each, audited.tokens(1)).total for each in (module, lower))
    return module if whole != part else None


def built_with(audited: Audited, capacity: float) -> nn.Module | None:
    """The same model with another capacity; None where that cannot be built."""
    case = audited.case
    if audited.in_memory:
        return None
    if case.own:
        if own_models.way(case.model, {}, "capacity").why_not:
            return None
    elif case.config.capacity is None:
        return None
    try:
        return audited.another(capacity=capacity)
    except (Unmeasured, ValueError):
        return None


PROBE = Probe("skips", check, order=10)
