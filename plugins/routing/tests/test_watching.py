"""What watching routers leaves in memory."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from cases import case_of
from torch import Tensor

from modbench.harness.call.subject.subject import Subject
from modbench.plugins.routing import collect
from modbench.plugins.routing.collect import observe as real


def test_watching_keeps_no_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large vocabulary they would fill the memory that the training beside them needs."""
    alive, seen = list[int](), list[weakref.ref[Tensor]]()

    def observe(*arguments: Any, **named: Any) -> Any:
        alive.append(sum(each() is not None for each in seen))
        found = real(*arguments, **named)
        seen.append(weakref.ref(found.logits))
        return found

    monkeypatch.setattr(collect, "observe", observe)
    shape = {"d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 16, "capacity": 0.5}
    module = Subject(case_of("mod", shape, batch_size=4), 0).module
    tokens_NT = torch.randint(256, (5 * collect.ROWS, 16), generator=torch.Generator().manual_seed(1))
    found = collect.watch(module, tokens_NT, tokens_NT)
    assert found.loss_NT.shape == (5 * collect.ROWS, 16)
    assert max(alive) <= 1  # the batch before, which its variable still names
