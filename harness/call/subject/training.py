"""Validity check: does a training step run the forward pass that is measured without it?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from modbench.harness.call.subject.build import evaluating
from modbench.harness.call.subject.output_caching_guard import same_draws
from modbench.harness.planning.flops import counter

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
