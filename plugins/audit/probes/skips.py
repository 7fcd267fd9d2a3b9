"""Whether everything is computed: the share of rows that weights are multiplied with, and of FLOPs with everything on."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from modbench.extend import Missing, RowWatch, Unmeasured, attempt, counter, evaluating, same_draws
from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.products import Product, weights
from modbench.plugins.audit.report import Finding, Given, Number, deviates, holds, reported

# Shares above it are all: k is rounded, and a predictor adds some FLOPs.
ALL = 0.995
SKIPPING = frozenset({"mod", "mode"})
# A capacity at which a model that reads it computes less than at 1.
LOWER = 0.25


def check(audited: Audited) -> Finding:
    """Count rows and FLOPs of a forward pass, a training step and a decode step, and of the same with capacity 1."""
    module = all_on(audited)
    computed, given, facts = dict[str, Computed](), dict[str, Given](), dict[str, object]()
    for name, how in HOW.items():
        found = attempt(partial(how, audited, module))
        facts[name] = found.reason if isinstance(found, Missing) else found._asdict()
        if not isinstance(found, Missing):
            computed[name] = found
            given[name] = Number(value=found.rows, kind="share")
            if found.of_dense is not None:
                given[f"{name}_flops"] = Number(value=found.of_dense, kind="share")
    if "forward" not in computed:
        raise Unmeasured(str(facts["forward"]))
    words = f"{{forward}} of rows{_others(given, '', named=True)}"
    forward = computed["forward"]
    if forward.of_dense is not None:
        words += f", {{forward_flops}}{_others(given, '_flops', named=False)} of FLOPs at c = 1"
    facts |= {"rows": forward.rows, "flops": forward.flops, "flops_all_on": forward.flops_all_on}
    facts["flops_share"] = forward.of_dense
    least = min(forward.rows, 1.0 if forward.of_dense is None else forward.of_dense)
    if audited.of not in SKIPPING:
        return reported(words, "forward", facts=facts, **given)
    if least <= ALL:
        return holds(words, "forward", facts=facts, **given)
    return deviates(words, "forward", facts=facts, **given)


def _others(given: dict[str, Given], suffix: str, *, named: bool) -> str:
    """The shares beside those of a forward pass, in parentheses; without their names where they were named before."""
    others = [name for name in ("training", "decoding") if f"{name}{suffix}" in given]
    shown = [f"{name} " * named + f"{{{name}{suffix}}}" for name in others]
    return f" ({', '.join(shown)})" if shown else ""


class Computed(NamedTuple):
    """What a call computes.

    Attributes:
        rows: share of rows that weights are multiplied with.
        flops: FLOPs.
        flops_all_on: FLOPs with capacity 1; None: that cannot be built.
    """

    rows: float
    flops: int
    flops_all_on: int | None

    @property
    def of_dense(self) -> float | None:
        """FLOPs as a share of those with capacity 1."""
        return None if self.flops_all_on is None else self.flops / self.flops_all_on


def _forward(audited: Audited, dense: nn.Module | None) -> Computed:
    tokens_BT = audited.tokens(1)
    audited.reset()
    flops = counter.forward(audited.module, tokens_BT).total
    all_on_flops = None if dense is None else counter.forward(dense, tokens_BT).total
    return Computed(rows_computed(audited), flops, all_on_flops)


def _training(audited: Audited, dense: nn.Module | None) -> Computed:
    """Rows of the forward pass, FLOPs of forward and backward."""
    tokens_BT = audited.tokens(1)
    found = []
    for module in (audited.another(), dense):
        if module is not None:
            each = audited.subject_of(copy.deepcopy(module))
            with same_draws(tokens_BT):
                found.append(counter.train(each.module, tokens_BT, each.counted_loss()).total)
    rows = _share(_work(audited.products_in_training), audited.module, tokens_BT.numel())
    return Computed(rows, found[0], found[1] if len(found) > 1 else None)


def _decoding(audited: Audited, dense: nn.Module | None) -> Computed:
    decoding = audited.decoding
    found = [decoding] if dense is None else [decoding, audited.decoding_of(dense)]
    flops = [counter.count(each.subject.module, each.step).total for each in found]
    rows = _share(_work(decoding.products), decoding.subject.module, len(decoding.tokens_B))
    return Computed(rows, flops[0], flops[1] if dense is not None else None)


HOW = {"forward": _forward, "training": _training, "decoding": _decoding}


def rows_computed(audited: Audited) -> float:
    """Rows that weights are multiplied with in a forward pass, as a share of all tokens for each."""
    tokens_BT, watch = audited.tokens(1), RowWatch(audited.module)
    audited.reset()
    with watch, torch.no_grad(), evaluating(audited.module):
        audited.module(tokens_BT)
    return _share(watch.work, audited.module, tokens_BT.numel())


def _work(products: Iterable[Product]) -> dict[str, float]:
    """Rows times elements of each weight, by its products."""
    work = dict[str, float]()
    for each in products:
        work[each.name] = work.get(each.name, 0.0) + each.rows * each.cost
    return work


def _share(met: Mapping[str, float], module: nn.Module, n: int) -> float:
    """Rows that weights met in a call of n tokens, as a share of all tokens for each.

    A weight that meets more rows than there are tokens is used by several passes, such as the recursions of a shared block: its
    share is that of so many passes over all tokens.
    """
    sizes = weights(module)
    work = {name: met.get(name, 0.0) for name in sizes}
    one = {name: size * n for name, size in sizes.items()}
    whole = sum(one[name] * max(1, math.ceil(work[name] / one[name])) for name in sizes)
    return sum(work.values()) / whole if whole else 1.0


def all_on(audited: Audited) -> nn.Module | None:
    """The same model with capacity 1; None where that cannot be built, or capacity reaches nothing that is computed."""
    module = built_with(audited, 1.0)
    lower = built_with(audited, LOWER) if module is not None and audited.case.is_user_model else None
    if module is None or lower is None:
        return module
    whole, part = (counter.forward(each, audited.tokens(1)).total for each in (module, lower))
    return module if whole != part else None


def built_with(audited: Audited, capacity: float) -> nn.Module | None:
    """The same model with another capacity; None where that cannot be built."""
    case = audited.case
    if audited.in_memory:
        return None
    if not case.is_user_model and case.config.capacity is None:
        return None
    try:
        return audited.another(capacity=capacity)
    except (Unmeasured, ValueError):
        return None


PROBE = Probe("computes", check, order=10)
