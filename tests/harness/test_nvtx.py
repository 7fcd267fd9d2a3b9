"""Ranges for NVIDIA's tools: named only where they are asked for."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modbench.harness.call.timing import nvtx
from modbench.models.layers import kernels


class Two(nn.Module):
    """A product and a view of it, then an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 8, bias=False)

    def forward(self, x_BD: Tensor) -> Any:
        return self.one(x_BD).view(-1, 8) + 1.0


def test_ranges_for_nvidias_tools_are_named_like_modules_steps_and_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not nvtx.NVTX  # without being asked nothing is named
    assert isinstance(nvtx.sample("x"), contextlib.nullcontext)
    assert isinstance(kernels.span("x"), contextlib.nullcontext)
    log: list[str] = []

    def push(name: str) -> int:
        log.append(name)
        return len(log)  # as the real one does: a hook that passed it on would hand it to the module as its input

    monkeypatch.setattr(torch.cuda.nvtx, "range_push", push)
    monkeypatch.setattr(torch.cuda.nvtx, "range_pop", lambda: log.append("end"))
    monkeypatch.setattr(nvtx, "NVTX", True)
    monkeypatch.setattr(kernels, "NVTX", True)
    module = Two()
    nvtx.name_modules(module)
    with nvtx.sample("{models}/mine.py[c0.5]"), kernels.span("router"):
        module(torch.randn(2, 4))
    assert log == ["{models}/mine.py[c0.5]", "router", "one", "end", "end", "end"]
