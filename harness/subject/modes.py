"""Training and evaluation mode.

A call in training mode may change a model for good: the package `mixture-of-depth` sets its capacity in each. So no guard calls
a model in training mode that is measured in evaluation mode afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards every part has the mode that it had, also one that its model keeps apart."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
