"""Our dense model against an independent one: transformers' Llama with our weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers_llama import llama, logits_of, loss, named_as_llama, tokens

from modbench.harness.core.config import ModelConfig
from modbench.models.dense import Dense

pytest.importorskip("transformers")

HEADS = pytest.mark.parametrize("n_kv_heads", [4, 2], ids=["full heads", "grouped queries"])


def config(n_kv_heads: int) -> ModelConfig:
    shape = {"d_model": 32, "n_layers": 4, "n_heads": 4, "n_kv_heads": n_kv_heads, "max_seq_len": 64, "vocab_size": 50}
    return ModelConfig.model_validate(shape)


def dense(shape: ModelConfig, stream: float = 1.0) -> Dense:
    """Norms draw their weights, so that none can stand in for another; `stream` scales the embedding."""
    torch.manual_seed(0)
    module = Dense(shape)
    with torch.no_grad():
        module.embedding.weight.mul_(stream)
        for weight in module.parameters():
            if weight.ndim == 1:
                nn.init.uniform_(weight, 0.5, 1.5)
    return module


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None}


@HEADS
@pytest.mark.parametrize("stream", [1.0, 1e-3])
@torch.no_grad()
def test_logits_equal_llama(n_kv_heads: int, stream: float) -> None:
    """A stream of 1e-3 has squares of 1e-6, where the norm's epsilon matters."""
    shape = config(n_kv_heads)
    ours, x_BT = dense(shape, stream), tokens(3, 64, 50)
    theirs = llama(shape, ours.state_dict())
    torch.testing.assert_close(ours(x_BT), logits_of(theirs, x_BT), rtol=0, atol=1e-5)


@HEADS
def test_gradients_equal_llama(n_kv_heads: int) -> None:
    """Of every weight, the three parts of the fused projection included."""
    shape = config(n_kv_heads)
    ours, x_BT = dense(shape), tokens(3, 64, 50)
    theirs = llama(shape, ours.state_dict())
    for logits_BTV in (ours(x_BT), logits_of(theirs, x_BT)):
        loss(logits_BTV, x_BT).backward()
    got, want = named_as_llama(gradients(ours), shape), gradients(theirs)
    assert got.keys() == want.keys()
    for name, gradient in want.items():
        assert gradient.abs().max() > 1e-4, name
        torch.testing.assert_close(got[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    ("change", "stream"),
    [({"rope_theta": 10_100.0}, 1.0), ({"rms_norm_eps": 1.1e-6}, 1e-3), ({"hidden_act": "gelu"}, 1.0)],
    ids=str,
)
@torch.no_grad()
def test_the_tolerance_tells_other_models(change: dict[str, object], stream: float) -> None:
    shape = config(2)
    ours, x_BT = dense(shape, stream), tokens(3, 64, 50)
    theirs = llama(shape, ours.state_dict(), **change)
    assert (ours(x_BT) - logits_of(theirs, x_BT)).abs().max() > 1e-4
