"""Heads and experts of their own width, and experts that every token passes: what they compute, cost and refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from present import of_type
from pydantic import ValidationError
from test_flops import case
from toolbox import build, config, context
from torch.nn import functional as F

from modbench.harness.planning.flops.closed_form import case_decode_cost
from modbench.models.layers.decoder import MLP
from modbench.models.layers.experts import ExpertMLP

WITH_EXPERTS = ["moe", "mode_staged", "mode_integrated"]


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"n_heads": 3}, "d_model 32 over n_heads 3.* or set head_dim"),
        ({"n_heads": 4, "n_kv_heads": 3}, "multiple of n_kv_heads"),
        ({"capacity": 1.5}, "capacity"),
        ({"mixer": "window", "bidirectional": True}, "looks back only"),
        ({"mixer": "window", "position": "learned"}, "takes position 'rotary'"),
        ({"forced_depth": 5}, "more than n_layers"),
        ({"n_experts": 2, "experts_top_k": 3}, "more than n_experts"),
        ({"head_dim": 7}, "head_dim 7 must be even"),
        ({"head_dim": 16, "mixer": "convolution"}, "leave out head_dim 16"),
    ],
)
def test_what_no_shape_can_be(shape: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config(**shape)


@pytest.mark.parametrize("name", WITH_EXPERTS)
@pytest.mark.parametrize("causal", [False, True])
def test_shared_experts_are_added_for_every_token(name: str, *, causal: bool) -> None:
    """Two of width 24: each as a plain MLP of 24, whatever the router decides."""
    module = build(name, n_layers=2, shared_experts=2, expert_d_ff=24)
    mlp = of_type(ExpertMLP, module.blocks[1].mlp)
    assert isinstance(mlp.shared, MLP)
    assert mlp.shared.gate is not None
    assert mlp.experts.up_EDF.shape == (4, 32, 24)
    x_BTD = torch.randn(2, 12, 32)
    ctx = context(module, 12, causal=causal)
    both = mlp(x_BTD, ctx)
    want = torch.zeros_like(x_BTD)
    for part in (slice(0, 24), slice(24, 48)):
        gate, up, down = mlp.shared.gate.weight[part], mlp.shared.up.weight[part], mlp.shared.down.weight[:, part]
        want = want + (F.silu(x_BTD @ gate.mT) * (x_BTD @ up.mT)) @ down.mT
    mlp.shared = None
    torch.testing.assert_close(both - mlp(x_BTD, ctx), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", WITH_EXPERTS)
def test_decoding_reads_shared_experts_too(name: str) -> None:
    """Against the same model without: the weights of two more MLPs in each of the two routed blocks."""
    costs = [case_decode_cost(case(name, shared_experts=n, expert_d_ff=40), 48) for n in (0, 2)]
    assert costs[0] is not None
    assert costs[1] is not None
    reached = 1.0 if name != "mode_staged" else 1 - (1 - 0.125) ** 2
    assert costs[1].read - costs[0].read == pytest.approx(reached * 2 * 2 * 3 * 64 * 40)
