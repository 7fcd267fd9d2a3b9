"""Validity checks of what a counter of FLOPs sees of a call: all of its work, in the case's number format, and while it trains.

Work in numpy, or on a thread that the model started, passes by torch's dispatcher. Fewer digits make a call faster, and are
another result. A training step must run the forward pass that is measured without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from modbench.harness.call.subject.build import evaluating
from modbench.harness.call.subject.check_caching import same_draws
from modbench.harness.core.units import about
from modbench.harness.domain.case import ELEMENT_BYTES, Dtype
from modbench.harness.machine.process import clocks
from modbench.harness.machine.process.torch_modes import FunctionMode, Operator, OperatorMode
from modbench.harness.planning.flops import counter
from modbench.harness.planning.flops.counter import is_cheap

if TYPE_CHECKING:
    from modbench.harness.call.subject.subject import Subject


def forward_share(module: nn.Module, batches: Sequence[Tensor]) -> float:
    """FLOPs of forward passes in training mode, as a share of those in evaluation mode on the same tokens.

    Only forward passes are compared: frozen weights save backward FLOPs, and gradient checkpointing adds some.

    Args:
        module: called twice for each batch, in training mode first. The caller measures nothing else with it afterwards.
        batches: token batches.

    Raises:
        ValueError: if the forward pass in evaluation mode has no FLOPs.
    """
    module.train()
    trained = evaluated = 0
    for tokens_BT in batches:
        with same_draws(tokens_BT), torch.enable_grad():
            trained += counter.count(module, partial(module, tokens_BT)).total
        with evaluating(module), same_draws(tokens_BT), torch.no_grad():
            evaluated += counter.count(module, partial(module, tokens_BT)).total
    if not evaluated:
        raise ValueError("its forward pass in evaluation mode has no FLOPs to compare with")
    return trained / evaluated


def shares(make: Callable[[], tuple[Subject, list[Tensor]]]) -> tuple[float, float]:
    """Shares of the FLOPs of a training step, and of its forward pass, that the forward pass in evaluation mode implies.

    Args:
        make: returns a new model and token batches. Each share has a model of its own, since a call in training mode may change
            what a later one computes.
    """
    subject, batches = make()
    step = counter.train(subject.module, batches[0], subject.counted_loss()).total
    with evaluating(subject.module):
        forward = counter.forward(subject.module, batches[0]).total
    expected = forward * (1 + 2 * trainable_share(subject.module))
    subject, batches = make()
    return step / expected, forward_share(subject.module, batches)


def trainable_share(module: nn.Module) -> float:
    """Share of the elements of weights that get gradients: frozen weights need no products for them."""
    weights = [p for p in module.parameters() if p.ndim > 1]
    return sum(p.numel() for p in weights if p.requires_grad) / max(1, sum(p.numel() for p in weights))


# Share of a call's CPU time, and least time; below these it is clock error or threads of the interpreter.
OUT_OF_SIGHT, LEAST_S = 0.2, 1e-3
CALLS = 3
_LEAVES = {"numpy", "__array__", "__dlpack__"}


class _Crossings(FunctionMode):
    """Counts tensors that are handed to another library."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def before(self, name: str) -> None:
        """Count a function that hands its tensor over."""
        self.seen += name in _LEAVES


def escapes(call: Callable[[], object], *, one_thread: bool) -> dict[str, int]:
    """Work of a call that no counter sees: by name, how often.

    Args:
        call: called once; four times where one thread works.
        one_thread: whether only the calling thread should work; otherwise torch's own threads look the same.
    """
    found = {}
    with _Crossings() as crossings:
        call()
    if crossings.seen:
        found["a tensor given to numpy"] = crossings.seen
    if not one_thread:
        return found
    elsewhere = []
    for _ in range(CALLS):
        thread, process = clocks.thread_time(), clocks.process_time()
        call()
        process, thread = clocks.process_time() - process, clocks.thread_time() - thread
        elsewhere.append((process - thread) > max(LEAST_S, OUT_OF_SIGHT * process))
    if all(elsewhere):
        found["work on another thread"] = 1
    return found


# Share of the FLOPs below which a narrower format is a detail, such as a router's.
LEAST_NARROW = 0.05
# The factors of a product, or attention's query, key and value; a mask may follow.
FACTORS = 3


class Precision(OperatorMode):
    """Sums the FLOPs of products by the narrowest number format among their factors, over all calls while it is entered.

    Args:
        wanted: the case's number format. A wider one costs more, and is not reported.
    """

    def __init__(self, wanted: Dtype) -> None:
        super().__init__()
        self.wanted = wanted
        self.total = 0
        self.narrow: dict[str, int] = {}

    def after(self, operator: Operator, args: Sequence[Any], out: object) -> None:
        """Add the FLOPs of a product."""
        if operator.namespace == "quantized" and not is_cheap(operator):
            self.narrow.setdefault(f"{operator.name()}", 0)
        formula = counter.formula_of(operator)
        if formula is None:
            return
        flops = int(formula(*args, out_val=out))
        self.total += flops
        formats = [arg.dtype for arg in args if isinstance(arg, Tensor) and arg.dtype != torch.bool][:FACTORS]
        narrowest = min(formats, key=lambda dtype: dtype.itemsize)
        if narrowest.itemsize < ELEMENT_BYTES[self.wanted]:
            name = str(narrowest).removeprefix("torch.")
            self.narrow[name] = self.narrow.get(name, 0) + flops

    def found(self) -> str | None:
        """What was computed in another format, in one sentence; None: nothing that matters."""
        unknown = [name for name, flops in self.narrow.items() if not flops]
        if unknown:
            return f"{unknown[0]} ran, in a case of {self.wanted}"
        share = sum(self.narrow.values()) / max(1, self.total)
        if share < LEAST_NARROW:
            return None
        return f"{about(share)} of the FLOPs ran in {' and '.join(sorted(self.narrow))}, in a case of {self.wanted}"
