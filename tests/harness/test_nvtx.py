"""Ranges for NVIDIA's tools: named only where they are asked for."""

from __future__ import annotations

import contextlib
from collections import OrderedDict

import pytest
import torch
from torch import nn

from modbench.harness.call.timing import nvtx
from modbench.models.layers import kernels


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
    module = nn.Sequential(OrderedDict(one=nn.Linear(4, 8)))
    nvtx.name_modules(module)
    with nvtx.sample("{models}/mine.py[c0.5]"), kernels.span("router"):
        module(torch.randn(2, 4))
    assert log == ["{models}/mine.py[c0.5]", "router", "one", "end", "end", "end"]
