"""Named ranges for profilers, which cost almost nothing while no profiler runs."""

from __future__ import annotations

import contextlib

import torch

from modbench.harness.timing.nvtx import NVTX, named


def span(name: str) -> contextlib.AbstractContextManager[object]:
    """A range called `name` in a running `torch.profiler.profile`, or in NVIDIA's tools if enabled; else nothing."""
    if NVTX:
        return named(name)
    if torch.autograd.profiler._is_profiler_enabled:  # noqa: SLF001  # torch's own modules use it; there is no public way
        return torch.profiler.record_function(name)
    return contextlib.nullcontext()
