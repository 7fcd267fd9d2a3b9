"""Ranges for NVIDIA's tools: with `MODBENCH_NVTX=1` a timeline shows samples by case and, inside, modules and steps by name.

`MODBENCH_NVTX=1 nsys profile modbench run …`. Each range costs microseconds: do not report times measured with it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

NVTX = os.environ.get("MODBENCH_NVTX") == "1"


def sample(name: str) -> contextlib.AbstractContextManager[object]:
    """Open the range of one sample, if `MODBENCH_NVTX` is set."""
    if not NVTX:
        return contextlib.nullcontext()
    return nvtx_range(name)


@contextlib.contextmanager
def nvtx_range(name: str) -> Iterator[None]:
    """A range of this name. `torch.cuda.nvtx.range` would format it, and a case's path may contain braces."""
    import torch

    torch.cuda.nvtx.range_push(name)
    try:
        yield
    finally:
        torch.cuda.nvtx.range_pop()


def name_modules(module: nn.Module) -> None:
    """Make every module's forward pass a range named by its path, from now on."""
    import torch

    def enter(path: str) -> Callable[..., None]:
        def push(*_: object) -> None:  # a hook that returned the depth would hand it to the module as its input
            torch.cuda.nvtx.range_push(path)

        return push

    def leave(*_: object) -> None:
        torch.cuda.nvtx.range_pop()

    for path, part in module.named_modules():
        if path:
            part.register_forward_pre_hook(enter(path))
            part.register_forward_hook(leave, always_call=True)
