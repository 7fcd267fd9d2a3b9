"""Losses of a model's own, while it trains (`AddsLoss` and `TrainsWith` in `harness/core/protocols.py`)."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from modbench.harness.core.protocols import PAGE, Parts


def auxiliary_loss(module: nn.Module, parts: Parts) -> Tensor | float:
    """What the last forward pass adds to the loss; 0 without `aux_loss`."""
    if not parts.has("aux_loss"):
        return 0.0
    return _scalar(cast("Any", module).aux_loss(), f"{parts.name}: aux_loss()")


def trained_with(module: nn.Module, parts: Parts, logits: Tensor, targets: Tensor) -> Tensor | None:
    """The model's own loss; None without `training_loss`."""
    if not parts.has("training_loss"):
        return None
    return _scalar(cast("Any", module).training_loss(logits, targets), f"{parts.name}: training_loss(logits, targets)")


def _scalar(value: object, what: str) -> Tensor:
    """Check what a user's method returned.

    Raises:
        TypeError: if it is no scalar tensor.
    """
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{what} must return a scalar tensor; it returned {got} ({PAGE})")
    return value.reshape(())
