"""Routed models against dense ones and against a slow oracle (facts: the parity tests a correct MoD passes)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness import catalogue
from modbench.harness.config import ModelConfig
from modbench.models.dense import Dense
from modbench.models.layers.experts import ExpertChoice, kept
from modbench.models.mod import MoD, RoutedBlock
from modbench.models.mode_integrated import MoDEIntegrated
from modbench.models.mode_staged import MoDEStaged
from modbench.models.moe import MoE

MODELS = sorted(catalogue.entries("models"))


def config(**changes: Any) -> ModelConfig:
    return ModelConfig(**{"d_model": 32, "n_layers": 4, "n_heads": 4, "max_seq_len": 64, "vocab_size": 50, **changes})


def tokens(b: int = 3, t: int = 24) -> Tensor:
    return torch.randint(50, (b, t), generator=torch.Generator().manual_seed(1))


def build(name: str, **changes: Any) -> nn.Module:
    torch.manual_seed(0)
    defaults = dict(catalogue.model_options(name))
    module = catalogue.load("models", name).build(config(**{**defaults, **changes}))
    assert isinstance(module, nn.Module)
    return module


def grads(module: nn.Module, x_BT: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    F.cross_entropy(module(x_BT).flatten(0, 1), x_BT.flatten()).backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


class One(nn.Module):
    """A router that scores every token 1: the multiplier forced to 1."""

    def score(self, x_BTD: Tensor) -> Tensor:
        return torch.ones(x_BTD.shape[:2])

    def select(self, r_BT: Tensor, k: int) -> Tensor:
        return torch.arange(k).expand(r_BT.shape[0], k)


@pytest.mark.parametrize("activation", ["swiglu", "gelu"])
@pytest.mark.parametrize("tied", [False, True])
def test_full_capacity_with_multiplier_one_is_dense(activation: str, tied: bool) -> None:
    """c = 1 and r = 1 with copied weights: same logits, same gradients (double residuals fail here)."""
    shape = {"activation": activation, "tied": tied}
    dense, mod = Dense(config(**shape)), MoD(config(capacity=1.0, **shape))
    mod.load_state_dict(dense.state_dict(), strict=False)
    for block in mod.blocks:
        if isinstance(block, RoutedBlock):
            block.router = One()
    x_BT = tokens()
    torch.testing.assert_close(mod(x_BT), dense(x_BT), rtol=1e-5, atol=1e-6)
    theirs, ours = grads(dense, x_BT), grads(mod, x_BT)
    assert theirs.keys() == ours.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def _copy_expert(mlp: ExpertChoice, dense: nn.Module) -> None:
    with torch.no_grad():
        for name in ("gate", "up", "down"):
            weight = getattr(dense, name).weight.mT
            stacked = getattr(mlp.experts, f"{name}_{'EFD' if name == 'down' else 'EDF'}")
            stacked.copy_(weight.expand_as(stacked))


@pytest.mark.parametrize("model", [MoE, MoDEIntegrated, MoDEStaged])
def test_one_expert_at_full_capacity_is_dense(model: type[nn.Module]) -> None:
    """E = 1, every token chosen: the softmax over one expert is 1, and a half beside a no-op of equal score."""
    shape = config(n_experts=1, capacity=1.0)
    dense, routed = Dense(config()), model(shape)
    routed.load_state_dict(dense.state_dict(), strict=False)
    for ours, theirs in zip(routed.blocks, dense.blocks, strict=True):  # type: ignore[arg-type]
        if isinstance(ours.mlp, ExpertChoice):
            _copy_expert(ours.mlp, theirs.mlp)  # type: ignore[arg-type]
            with torch.no_grad():
                ours.mlp.router.weight.zero_()
            if ours.mlp.router.out_features == 2:  # a no-op of equal score takes half of the probability
                with torch.no_grad():
                    ours.mlp.experts.down_EFD.mul_(2)
        if isinstance(ours, RoutedBlock):
            ours.router = One()
    x_BT = tokens()
    torch.testing.assert_close(routed(x_BT), dense(x_BT), rtol=1e-5, atol=1e-6)


def oracle(block: RoutedBlock, x_BTD: Tensor, k: int) -> Tensor:
    """Slow and obvious: attention over all tokens with unchosen keys masked, everything computed, then gated by r."""
    b, t, d = x_BTD.shape
    r_BT = block.router.score(x_BTD)
    chosen_BT = torch.zeros(b, t, dtype=torch.bool)
    for row in range(b):
        chosen_BT[row, torch.argsort(r_BT[row], descending=True)[:k]] = True
    attention = block.attention
    h, head = attention.n_heads, attention.head
    q, key, v = attention.qkv(block.norm_attention(x_BTD)).view(b, t, 3 * h, head).split(h, dim=2)
    angles = torch.arange(t)[:, None] * 10_000.0 ** (-torch.arange(head // 2) / (head // 2))

    def turn(y: Tensor) -> Tensor:
        low, high = y[..., : head // 2], y[..., head // 2 :]
        cos, sin = angles.cos()[None, :, None], angles.sin()[None, :, None]
        return torch.cat([low * cos - high * sin, low * sin + high * cos], dim=-1)

    scores = torch.einsum("bqhd,bkhd->bhqk", turn(q), turn(key)) / head**0.5
    visible = torch.ones(t, t).tril().bool() & chosen_BT[:, None, None, :]
    weights = scores.masked_fill(~visible, -torch.inf).softmax(-1).nan_to_num()
    mixed = attention.out(torch.einsum("bhqk,bkhd->bqhd", weights, v).reshape(b, t, d))
    f_BTD = mixed + block.mlp(block.norm_mlp(x_BTD + mixed))
    out: Tensor = torch.where(chosen_BT[..., None], x_BTD + r_BT[..., None] * f_BTD, x_BTD)
    return out


@pytest.mark.parametrize("capacity", [0.1, 0.25, 0.5, 1.0])
def test_gather_path_equals_masked_oracle(capacity: float) -> None:
    """Outputs, input gradients and weight gradients; tokens keep their own rotary positions."""
    module = MoD(config(capacity=capacity, n_layers=2))
    block = module.blocks[1]
    assert isinstance(block, RoutedBlock)
    x_BTD = torch.randn(3, 24, 32, requires_grad=True)
    y_BTD = torch.randn(3, 24, 32)
    results: list[list[Tensor]] = []
    for run in (lambda: block(x_BTD, module.rotary(24)), lambda: oracle(block, x_BTD, kept(capacity, 24))):
        block.zero_grad()
        x_BTD.grad = None
        out_BTD = run()
        (out_BTD * y_BTD).sum().backward()
        assert x_BTD.grad is not None
        results.append(
            [out_BTD.detach(), x_BTD.grad.clone(), *(p.grad.clone() for p in block.parameters() if p.grad is not None)]
        )
    assert len(results[0]) == len(results[1]) > 5
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("capacity", [0.01, 0.125, 0.29, 0.5, 1.0])
@pytest.mark.parametrize("t", [1, 5, 24])
def test_exactly_k_tokens_change_and_the_rest_are_bit_identical(capacity: float, t: int) -> None:
    block = MoD(config(capacity=capacity, n_layers=2))
    routed = block.blocks[1]
    x_BTD = torch.randn(4, t, 32)
    out_BTD = routed(x_BTD, block.rotary(t))
    changed_BT = (out_BTD != x_BTD).any(-1)
    assert changed_BT.sum(1).tolist() == [max(1, int(capacity * t + 1e-9))] * 4


def test_chosen_tokens_are_the_highest_scores() -> None:
    block = MoD(config(capacity=0.25, n_layers=2)).blocks[1]
    assert isinstance(block, RoutedBlock)
    r_BT = torch.randn(5, 20)
    i_Bk = block.router.select(r_BT, 5)
    for row in range(5):
        assert i_Bk[row].tolist() == sorted(torch.argsort(r_BT[row], descending=True)[:5].tolist())


@pytest.mark.parametrize("name", MODELS)
def test_batch_rows_are_independent(name: str) -> None:
    """A row's logits do not depend on its neighbours (labels or indices that leak between rows fail here)."""
    module = build(name)
    x_BT = tokens(4)
    whole = module(x_BT)
    for row in range(4):
        torch.testing.assert_close(whole[row : row + 1], module(x_BT[row : row + 1]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    """Routers too: the multiplier puts them on the loss's path; blocks speak from the first step."""
    module = build(name, capacity=0.5) if "capacity" in catalogue.model_options(name) else build(name)
    got = grads(module, tokens())
    dead = [n for n, _ in module.named_parameters() if n not in got or not got[n].abs().max() > 0]
    assert dead == []


def test_router_gradient_equals_finite_differences() -> None:
    torch.manual_seed(0)
    module = MoD(config(capacity=0.25, n_layers=2)).double()
    module.rotary.cos_TC, module.rotary.sin_TC = module.rotary.cos_TC.double(), module.rotary.sin_TC.double()
    block = module.blocks[1]
    assert isinstance(block, RoutedBlock)
    # Scores are float32 by design, which finite differences in float64 would see as noise: score in float64 here.
    block.router.score = lambda x_BTD: block.router.weight(x_BTD).squeeze(-1)
    x_BT = tokens()
    weight = block.router.weight.weight
    analytic = grads(module, x_BT)["blocks.1.router.weight.weight"]
    step = 1e-6
    for place in (0, 7, 31):
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[0, place] += sign * step
                losses.append(F.cross_entropy(module(x_BT).flatten(0, 1), x_BT.flatten()).item())
                weight[0, place] -= sign * step
        numeric = (losses[0] - losses[1]) / (2 * step)
        assert analytic[0, place].item() == pytest.approx(numeric, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_dense_is_causal_and_top_k_says_that_it_is_not(name: str) -> None:
    """The gradient of an output with respect to later inputs is zero exactly where the model does not look ahead."""
    options = catalogue.model_options(name)
    module = build(name, **({"capacity": 0.5} if "capacity" in options else {}))
    x_BT = tokens(8)
    changed = x_BT.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 50
    same = torch.equal(module(x_BT)[:, :-1], module(changed)[:, :-1])
    assert same != catalogue.load("models", name).sees_future


@pytest.mark.parametrize("name", MODELS)
def test_half_precision_weights_give_nearly_the_same_logits(name: str) -> None:
    module = build(name, **({"capacity": 1.0} if "capacity" in catalogue.model_options(name) else {}))
    x_BT = tokens()
    want = module(x_BT)
    got = module.to(torch.bfloat16)(x_BT)
    assert got.dtype == torch.bfloat16
    assert (got.float() - want).abs().mean() < 0.05 * want.abs().mean()


def test_no_op_expert_contributes_exactly_zero() -> None:
    """A token that no real expert chose leaves the MLP sub-layer with 0, not with w·x."""
    mlp = ExpertChoice(config(n_experts=2), share=0.1, no_op=True)
    nn.init.normal_(mlp.router.weight)
    for p in mlp.experts.parameters():
        nn.init.normal_(p)
    out_BTD = mlp(torch.randn(3, 20, 32))
    moved = (out_BTD != 0).any(-1).sum(1)
    assert (moved >= 2).all()
    assert (moved <= 4).all()  # two experts of two tokens each, possibly the same


def test_experts_equal_a_loop_over_tokens() -> None:
    torch.manual_seed(3)
    mlp = ExpertChoice(config(n_experts=4), share=0.25)
    for p in mlp.parameters():
        nn.init.normal_(p, std=0.2)
    x_BTD = torch.randn(2, 12, 32)
    want = torch.zeros_like(x_BTD)
    p_BTE = mlp.router(x_BTD).softmax(-1)
    gate, up, down = mlp.experts.gate_EDF, mlp.experts.up_EDF, mlp.experts.down_EFD
    assert gate is not None
    for b in range(2):
        for e in range(4):
            for t in torch.argsort(p_BTE[b, :, e], descending=True)[:3].tolist():
                x_D = x_BTD[b, t]
                want[b, t] += p_BTE[b, t, e] * ((F.silu(x_D @ gate[e]) * (x_D @ up[e])) @ down[e])
    torch.testing.assert_close(mlp(x_BTD), want, rtol=1e-4, atol=1e-5)


def test_grouped_queries_equal_repeated_heads() -> None:
    """n_kv_heads = 2 of 4 equals full heads whose keys and values are copies."""
    grouped, full = Dense(config(n_kv_heads=2)), Dense(config())
    state = dict(grouped.state_dict())
    for layer in range(4):
        name = f"blocks.{layer}.attention.qkv.weight"
        q, k, v = state[name].split([32, 16, 16])
        wide = [part.view(2, 8, 32).repeat_interleave(2, dim=0).reshape(32, 32) for part in (k, v)]
        state[name] = torch.cat([q, *wide])
    full.load_state_dict(state)
    x_BT = tokens()
    torch.testing.assert_close(grouped(x_BT), full(x_BT), rtol=1e-5, atol=1e-6)


def test_arms_of_one_seed_start_from_equal_weights() -> None:
    dense, mod = build("dense"), build("mod")
    theirs = dict(mod.named_parameters())
    for name, weight in dense.named_parameters():
        assert torch.equal(weight, theirs[name]), name
    torch.manual_seed(1)
    assert not torch.equal(Dense(config()).embedding.weight, dense.get_parameter("embedding.weight"))


@pytest.mark.parametrize(
    "bad", [torch.zeros(3, dtype=torch.int64), torch.zeros(2, 4), torch.zeros(2, 65, dtype=torch.int64)]
)
def test_bad_tokens_are_refused_in_words(bad: Tensor) -> None:
    with pytest.raises(ValueError, match="tokens"):
        Dense(config())(bad)
