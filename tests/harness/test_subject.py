"""The model under test: where its weights are drawn, on how many rows its contract is checked, what is never compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from cases import case_of
from torch import Tensor, nn

from modbench.harness.call.subject import subject as room
from modbench.harness.call.subject.build import build_module
from modbench.harness.call.subject.generation import Generation
from modbench.harness.call.subject.subject import Subject
from modbench.harness.domain.case import Case
from modbench.harness.registry import catalogue


def case(model: str = "mod", **grid_point: Any) -> Case:
    options = {} if ":" in model else dict(catalogue.model_options(model))
    return case_of(model, {"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 16, **options}, **grid_point)


@pytest.fixture
def own(tmp_path: Path) -> Case:
    """A user's model, whose build draws from a CPU generator of its own."""
    file = tmp_path / "mine.py"
    file.write_text(
        """
import torch
def build(config):
    layer = torch.nn.Linear(4, 4)
    layer.drawn = torch.randn(4, generator=torch.Generator())
    return layer
""",
        encoding="utf-8",
    )
    return case(f"{file}:build")


def test_weights_are_drawn_where_they_will_be_used(own: Case) -> None:
    """On a card one CPU thread would take longer than the measurement; a user's build is left where it is."""
    assert {weight.device.type for weight in build_module(case(), 0, "meta").parameters()} == {"meta"}
    assert {weight.device.type for weight in build_module(case(), 0).parameters()} == {"cpu"}
    assert {weight.device.type for weight in build_module(own, 0, "meta").parameters()} == {"cpu"}


def test_a_contract_is_checked_on_a_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The logits of 128 long rows would not fit beside the models; one row is always checked."""
    made, seen = Subject(case(), 0), []

    class Noting(nn.Module):
        def forward(self, tokens_BT: Tensor) -> Tensor:
            seen.append(tuple(tokens_BT.shape))
            return torch.zeros(*tokens_BT.shape, made.case.config.vocab_size)

    made.module = Noting()
    monkeypatch.setattr(room, "CHECKED_TOKENS", 40)
    for rows in (2, 5):
        made.check(torch.zeros(rows, 16, dtype=torch.int64))
    made.check(torch.zeros(3, 64, dtype=torch.int64))
    assert seen == [(2, 16), (2, 16), (1, 64)]


def test_causal_routing_is_never_compiled() -> None:
    """How many tokens pass depends on them: compiled, every number would be compiled anew."""
    made, called = Subject(case(), 0), []
    module = made.module

    def compiled(*args: Any, **kwargs: Any) -> Any:
        called.append(kwargs)
        return module(*args, **kwargs)

    made.model = cast("nn.Module", compiled)
    tokens_BT = made.inputs(0, 1)[0]
    made.module.eval()
    with torch.no_grad():
        made.logits(tokens_BT, causal=True)
        assert called == []
        made.logits(tokens_BT)
    assert called == [{}]


@pytest.mark.parametrize("call", ["prefill", "first_token"])
def test_a_prompt_as_long_as_the_model_is_read(call: str) -> None:
    """There is no room for steps after it, and none is needed: decoding still asks for it."""
    made = Subject(case("dense"), 0)
    (tokens_BT,) = made.inputs(0, 1)
    getattr(Generation(made), call)()(tokens_BT)
    with pytest.raises(ValueError, match="more than max_seq_len 16"):
        Generation(made).decode()
