"""What a training step moves in a module, kept so that each of several steps can start from the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

# What a module may hold beside weights and buffers and be set anew by a call, such as a capacity or the number of a step.
PLAIN = (bool, int, float, str, type(None))


class ModuleState:
    """Weights, buffers, and the plain values and tensors among the attributes of all submodules.

    Gradients are no part of it: a step begins without them. Nor is the optimizer's state: what a step computes does not depend
    on it, and what it made of the weights is put back. Copies lie in the host's memory, as large as the module's tensors.

    Args:
        module: as its steps shall find it.
    """

    def __init__(self, module: nn.Module) -> None:
        copies: dict[int, Tensor] = {}
        self._places: list[tuple[dict[str, Any], str, Any, Tensor | None]] = []
        for holder, name, value in _held(module):
            copy = None
            if isinstance(value, Tensor):
                if id(value) not in copies:  # tied weights are one tensor
                    copies[id(value)] = value.detach().to("cpu", copy=True)
                copy = copies[id(value)]
            self._places.append((holder, name, value, copy))

    def put_back(self) -> None:
        """Make the module what it was, in its own tensors: whatever refers to them sees it."""
        done: set[int] = set()
        with torch.no_grad():
            for holder, name, value, copy in self._places:
                holder[name] = value
                if copy is not None and id(value) not in done:
                    done.add(id(value))
                    value.copy_(copy)


def _held(module: nn.Module) -> Iterator[tuple[dict[str, Any], str, Any]]:
    for part in module.modules():
        for holder in (part._parameters, part._buffers, part.__dict__):  # noqa: SLF001  # no public way to set them
            for name, value in holder.items():
                if isinstance(value, PLAIN) or (isinstance(value, Tensor) and _is_own(value)):
                    yield holder, name, value


def _is_own(value: Tensor) -> bool:
    """Whether a call may write into a tensor that a later call reads: not what the last call left, nor a number shown as many."""
    return value.grad_fn is None and not any(
        step == 0 < size - 1 for step, size in zip(value.stride(), value.shape, strict=True)
    )
