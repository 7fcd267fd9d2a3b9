"""Names for a profiler: ranges in the model code that cost next to nothing while nobody profiles."""

from __future__ import annotations

import contextlib

import torch

from modbench.harness.timing.nvtx import NVTX


def span(name: str) -> contextlib.AbstractContextManager[object]:
    """A range called `name` in a running `torch.profiler.profile`, or in NVIDIA's tools where asked for; else nothing."""
    if NVTX:
        return torch.cuda.nvtx.range(name)
    if torch.autograd.profiler._is_profiler_enabled:  # noqa: SLF001  # what torch's own modules ask
        return torch.profiler.record_function(name)
    return contextlib.nullcontext()
