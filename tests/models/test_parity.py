"""Routed models against dense ones and against a slow oracle (facts: the parity tests a correct MoD passes)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from present import of_type, present
from toolbox import MODELS, WITH_CAPACITY, One, build, config, context, grads, tokens
from torch import Tensor
from torch.nn import functional as F

from modbench.harness.core.config import kept
from modbench.harness.registry import catalogue
from modbench.models.dense import Dense
from modbench.models.layers.decoder import Attention, Decoder
from modbench.models.layers.experts import ExpertMLP
from modbench.models.mod import MoD, RoutedBlock


def routed_block(module: Decoder, layer: int = 1) -> RoutedBlock:
    return of_type(RoutedBlock, module.blocks[layer])


@pytest.mark.slow
@pytest.mark.parametrize("granularity", ["block", "attention", "mlp"])
@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"activation": "gelu", "tied": True},
        {"norm": "layer", "position": "learned"},
        {"mixer": "window", "window": 5},
        {"mixer": "convolution"},
    ],
)
def test_full_capacity_with_multiplier_one_is_dense(shape: dict[str, Any], granularity: str) -> None:
    """c = 1 and r = 1 with copied weights: same logits, same gradients (double residuals fail here)."""
    dense, mod = Dense(config(**shape)), MoD(config(capacity=1.0, granularity=granularity, **shape))
    mod.load_state_dict(dense.state_dict(), strict=False)
    for layer, block in enumerate(mod.blocks):
        if isinstance(block, RoutedBlock):
            block.router = One(mod.config, layer)
    x_BT = tokens()
    torch.testing.assert_close(mod(x_BT), dense(x_BT), rtol=1e-5, atol=2e-6)
    theirs, ours = grads(dense, x_BT), grads(mod, x_BT)
    assert theirs.keys() == ours.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def oracle(block: RoutedBlock, x_BTD: Tensor, k: int) -> Tensor:
    """Slow and obvious: attention over all tokens with unchosen keys masked, everything computed, then gated by r."""
    b, t, d = x_BTD.shape
    r_BT = (x_BTD @ block.router.get_parameter("weight.weight").mT).squeeze(-1)
    chosen_BT = torch.zeros(b, t, dtype=torch.bool)
    for row in range(b):
        chosen_BT[row, torch.argsort(r_BT[row], descending=True)[:k]] = True
    attention = of_type(Attention, block.attention)
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
    f_BTD = mixed + block.mlp_branch(x_BTD + mixed, None)  # type: ignore[arg-type]  # a dense MLP does not ask
    out: Tensor = torch.where(chosen_BT[..., None], x_BTD + r_BT[..., None] * f_BTD, x_BTD)
    return out


@pytest.mark.parametrize("capacity", [0.1, 0.25, 0.5, 1.0])
def test_gather_path_equals_masked_oracle(capacity: float) -> None:
    """Outputs, input gradients and weight gradients; tokens keep their own rotary positions."""
    module = MoD(config(capacity=capacity, n_layers=2))
    block = routed_block(module)
    x_BTD = torch.randn(3, 24, 32, requires_grad=True)
    y_BTD = torch.randn(3, 24, 32)
    results: list[list[Tensor]] = []
    for run in (lambda: block(x_BTD, context(module, 24)), lambda: oracle(block, x_BTD, kept(capacity, 24))):
        block.zero_grad()
        x_BTD.grad = None
        out_BTD = run()
        (out_BTD * y_BTD).sum().backward()
        gradients = (each.grad for each in (x_BTD, *block.parameters()))
        results.append([out_BTD.detach(), *(grad.clone() for grad in gradients if grad is not None)])
    assert len(results[0]) == len(results[1]) > 5
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["expert", "token"])
@pytest.mark.parametrize("name", MODELS)
def test_padded_rows_equal_rows_alone(name: str, choice: str) -> None:
    """Pads change nothing that is real: routing, experts, dropping, gates, the classifier's mean."""
    lengths_B = torch.tensor([24, 13, 5, 1])
    options: dict[str, Any] = {"capacity": 0.5} if name in WITH_CAPACITY else {}
    options |= {"choice": choice, "capacity_factor": 0.5} if "choice" in catalogue.model_options(name) else {}
    for bidirectional in (False, True):
        module = build(name, bidirectional=bidirectional, **options).eval()
        x_BT = tokens(4)
        whole = module(x_BT, lengths_B)
        for row, length in enumerate(lengths_B.tolist()):
            alone = module(x_BT[row : row + 1, :length])
            got = whole[row] if bidirectional else whole[row, :length]
            torch.testing.assert_close(got, alone[0], rtol=1e-4, atol=1e-5, msg=f"{name} {bidirectional} {length}")


@pytest.mark.slow
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(name: str, bidirectional: bool) -> None:
    """Routers and gates too, from the first step; predictors from their auxiliary loss."""
    changes: dict[str, Any] = {"capacity": 0.5} if name in WITH_CAPACITY else {}
    module = build(name, bidirectional=bidirectional, **changes)
    logits, auxiliary = module(tokens(), auxiliary=True)
    (F.cross_entropy(logits.flatten(0, -2), logits.detach().flatten(0, -2).argmin(-1)) + auxiliary).backward()
    dead = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert dead == []


@pytest.mark.parametrize("name", MODELS)
def test_half_precision_weights_give_nearly_the_same_logits(name: str) -> None:
    module = build(name, **({"capacity": 1.0} if name in WITH_CAPACITY else {})).train()
    x_BT = tokens()
    want = module(x_BT)
    got = module.to(torch.bfloat16)(x_BT)
    assert got.dtype == torch.bfloat16
    assert (got.float() - want).abs().mean() < 0.05 * want.abs().mean()


def one_expert(mlp: ExpertMLP, e: int, x_D: Tensor) -> Tensor:
    gate, up, down = present(mlp.experts.gate_EDF), mlp.experts.up_EDF, mlp.experts.down_EFD
    return (F.silu(x_D @ gate[e]) * (x_D @ up[e])) @ down[e]


@pytest.mark.parametrize(
    ("name", "options", "k"),
    [("moe", {}, 3), ("mode_staged", {"capacity": 0.5}, 3), ("mode_integrated", {"capacity": 0.7}, 2)],
)
def test_expert_choice_equals_a_loop_over_tokens(name: str, options: dict[str, Any], k: int) -> None:
    """A no-op takes its share of the probability, and adds nothing: a token that no real expert chose gets 0."""
    module = build(name, n_layers=2, **options)
    mlp = of_type(ExpertMLP, module.blocks[1].mlp)
    x_BTD = torch.randn(2, 12, 32)
    want = torch.zeros_like(x_BTD)
    p_BTE = mlp.router(x_BTD).softmax(-1)
    for b in range(2):
        for e in range(4):
            for t in torch.argsort(p_BTE[b, :, e], descending=True)[:k].tolist():
                want[b, t] += p_BTE[b, t, e] * one_expert(mlp, e, x_BTD[b, t])
    torch.testing.assert_close(mlp(x_BTD, context(module, 12)), want, rtol=1e-4, atol=1e-5)
    assert (want == 0).all(-1).any()


@pytest.mark.parametrize("capacity_factor", [1.0, 0.5])
def test_token_choice_fills_experts_in_order_and_drops_the_rest(capacity_factor: float) -> None:
    """Two experts for each token, first come first served; causal decisions drop nobody."""
    module = build("moe", n_layers=2, choice="token", experts_top_k=2, capacity_factor=capacity_factor)
    mlp = of_type(ExpertMLP, module.blocks[1].mlp)
    x_BTD = torch.randn(2, 12, 32)
    p_BTE = mlp.router(x_BTD).softmax(-1)
    dropped = 0
    for causal in (False, True):
        want = torch.zeros_like(x_BTD)
        for b in range(2):
            room = [int(12 * 2 * capacity_factor / 4)] * 4
            for t in range(12):
                for e in torch.argsort(p_BTE[b, t], descending=True)[:2].tolist():
                    room[e] -= 1
                    if room[e] >= 0 or causal:
                        want[b, t] += p_BTE[b, t, e] * one_expert(mlp, e, x_BTD[b, t])
                    else:
                        dropped += 1
        torch.testing.assert_close(mlp(x_BTD, context(module, 12, causal=causal)), want, rtol=1e-4, atol=1e-5)
    assert dropped > 0


@pytest.mark.parametrize("window", [1, 4, 7, 24, 40])
def test_windows_in_pieces_equal_one_masked_square(window: int) -> None:
    """The pieces of a sliding window against attention under a band mask."""
    module = build("dense", mixer="window", window=window)
    attention, x_BTD = of_type(Attention, module.blocks[0].attention), torch.randn(2, 24, 32)
    this = context(module, 24)
    q, k, v = attention.project(x_BTD, this.rotary)
    back_TT = torch.arange(24)[:, None] - torch.arange(24)
    want = attention.attend(q, k, v, (back_TT >= 0) & (back_TT < window))
    torch.testing.assert_close(attention(x_BTD, this), want, rtol=1e-5, atol=1e-6)


def test_dynamic_convolution_equals_a_loop() -> None:
    module = build("dense", mixer="convolution", kernel_size=3)
    mixer: Any = module.blocks[0].attention
    x_BTD = torch.randn(2, 6, 32)
    kernel = mixer.kernel(x_BTD).view(2, 6, 4, 3).softmax(-1)
    v = F.glu(mixer.value(x_BTD), dim=-1).view(2, 6, 4, 8)
    y = torch.zeros(2, 6, 4, 8)
    for t in range(6):
        for back in range(3):
            if t - back >= 0:
                y[:, t] += kernel[:, t, :, 2 - back, None] * v[:, t - back]
    torch.testing.assert_close(mixer(x_BTD, context(module, 6)), mixer.out(y.flatten(2)), rtol=1e-5, atol=1e-6)


def changed(module: Decoder, t: int) -> list[int]:
    """How many of `t` tokens of each of four rows a routed block changes; the others are the same to the bit."""
    x_BTD = torch.randn(4, t, 32)
    count_B: Tensor = (routed_block(module)(x_BTD, context(module, t)) != x_BTD).any(-1).sum(1)
    return [int(count) for count in count_B]


@pytest.mark.parametrize(
    ("options", "t", "k"),
    [
        *(
            ({"capacity": capacity}, t, max(1, int(capacity * t + 1e-9)))
            for capacity in (0.01, 0.125, 0.29, 0.5, 1.0)
            for t in (1, 5, 24)
        ),
        ({"capacity": 0.29, "max_seq_len": 100}, 100, 29),  # not floor(28.999999999999996)
        *(({"capacity": 0.3, "round_k": 8}, t, k) for t, k in ((4, 4), (16, 8), (64, 24))),
        ({"capacity": 0.5, "router_init": 0.0, "multiplier": "raw"}, 16, 0),  # a zero start: an identity,
        ({"capacity": 0.5, "router_init": 0.0, "multiplier": "sigmoid"}, 16, 8),  # or half a block
    ],
)
def test_exactly_k_tokens_change(options: dict[str, Any], t: int, k: int) -> None:
    assert changed(build("mod", n_layers=2, **options), t) == [k] * 4


def test_capacity_falls_with_steps_not_with_calls() -> None:
    """A schedule follows `set_progress`: forward calls (accumulation, checkpointing) do not move it."""
    module = build("mod", capacity=0.25, capacity_warmup=0.5)
    seen = []
    for done in (0.0, 0.25, 0.5, 1.0):
        module.set_progress(done)
        seen.append([changed(module, 16)[0] for _call in range(2)])
    assert seen == [[16, 16], [10, 10], [4, 4], [4, 4]]


@pytest.mark.parametrize(("t", "kv"), [(129, 4), (200, 2), (512, 4)])
def test_attention_in_pieces_equals_the_whole_square(t: int, kv: int) -> None:
    """What a CPU does between 128 and 512 tokens: the same outputs and gradients, with fewer products."""
    module = build("dense", max_seq_len=512, n_kv_heads=kv)
    attention = of_type(Attention, module.blocks[0].attention)
    this, y_BTD = context(module, t), torch.randn(2, t, 32)
    results = []
    for pieces in (True, False):
        attention.pieces = pieces
        x_BTD = torch.randn(2, t, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
        out_BTD = attention(x_BTD, this)
        (out_BTD * y_BTD).sum().backward()
        results.append((out_BTD.detach(), x_BTD.grad))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
