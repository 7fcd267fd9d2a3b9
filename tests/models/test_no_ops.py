"""No-ops of tokens that choose: what they give, how many there are, that they cost nothing, and that their share is held."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from present import of_type, present
from test_graphs import Checkpointed
from toolbox import build, config, context, tokens
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.core.errors import UsageError
from modbench.harness.planning.flops import counter
from modbench.harness.planning.flops.closed_form import closed_form
from modbench.models.layers.decoder import Decoder
from modbench.models.layers.token_choice import (
    RATE,
    Controller,
    NullChoices,
    TokenChoiceMLP,
    balance_loss,
    null_choices,
)
from modbench.models.mode_integrated import MoDEIntegrated

TOKEN: dict[str, Any] = {"choice": "token", "capacity": 0.5, "experts_top_k": 2}
KINDS = ("zero", "identity", "constant")
LOGITS = ("own", "shared")
BALANCES = ("loss", "bias", "threshold")
EVERY = [(kind, logits, balance) for kind in KINDS for logits in LOGITS for balance in BALANCES]


def model(**changes: Any) -> MoDEIntegrated:
    return of_type(MoDEIntegrated, build("mode_integrated", **{**TOKEN, "n_layers": 2, "d_ff": 48, **changes}))


def choosing(module: Decoder) -> TokenChoiceMLP:
    return of_type(TokenChoiceMLP, module.blocks[1].mlp)


def controller(module: Decoder) -> Controller:
    return present(choosing(module).controller)


# --- how many


@pytest.mark.parametrize(
    ("n", "rho", "m"),
    [(4, 0.25, 12), (4, 0.5, 4), (6, 0.75, 2), (3, 0.75, 1), (3, 0.3, 7), (4, 0.125, 28), (4, 1.0, 0)],
)
def test_capacity_says_how_many_no_ops_there_are(n: int, rho: float, m: int) -> None:
    shape = config(choice="token", n_experts=n, capacity=rho)
    assert null_choices(shape).number == m
    assert choosing(MoDEIntegrated(shape)).router.out_features == n + m
    shared = shape.model_copy(update={"no_op_logits": "shared", "no_op": "constant", "experts_top_k": 2})
    assert null_choices(shared) == NullChoices(m, min(m, 1), min(m, 2), min(m, 1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"capacity": 0.75}, r"1\.333 .*n_experts 3, capacity 0\.6667 .*n_no_ops"),
        ({"capacity": 0.9, "n_experts": 2}, r"0\.2222 .*n_experts 9, capacity 0\.6667 "),
        ({"capacity": 1e-6, "experts_top_k": 1}, "at most 65536"),
        ({"capacity": 0.25, "n_no_ops": 1}, r"least 0\.5 .*n_no_ops .*least 2"),
        *(({"choice": "expert", key: value}, f"{key} '{value}' needs choice 'token'")
          for key, value in (("no_op", "identity"), ("no_op_logits", "shared"), ("balance", "bias"))),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_can(changes: dict[str, Any], words: str) -> None:
    shape = config(**{**TOKEN, **changes})
    with pytest.raises(ValueError, match=words):
        MoDEIntegrated(shape)
    with pytest.raises(UsageError, match=words):
        closed_form("mode_integrated", shape, 16, 1)


def test_no_ops_given_by_hand_change_how_the_rest_is_divided_and_not_the_share() -> None:
    """LongCat's 512 + 256 with 8 of 12 real is such a case. The loss then aims at capacity, not at N / (N + M)."""
    shape = config(**{**TOKEN, "capacity": 0.25, "n_no_ops": 4})
    assert null_choices(shape).number == 4
    p_X = torch.tensor([0.0625] * 4 + [0.1875] * 4)
    assert balance_loss(p_X, 2 * p_X, p_X).item() == pytest.approx(2)
    for moved in (torch.tensor([0.01] * 4 + [-0.01] * 4), torch.tensor([0.01, -0.01] * 4)):
        for sign in (1, -1):
            other_X = p_X + sign * moved
            assert balance_loss(other_X, 2 * other_X, p_X).item() > 2


def test_no_ops_that_share_a_logit_are_balanced_as_those_with_equal_logits() -> None:
    own, shared = model(balance="loss").train(), model(balance="loss", no_op_logits="shared").train()
    weights = shared.state_dict()
    real_4D, null_1D = weights["blocks.1.mlp.router.weight"].split([4, 1])
    own.load_state_dict(weights | {"blocks.1.mlp.router.weight": torch.cat((real_4D, null_1D.expand(4, -1)))})
    for lengths_B in (None, torch.tensor([24, 5, 1])):
        theirs, ours = (each(tokens(), lengths_B, auxiliary=True)[1] for each in (own, shared))
        torch.testing.assert_close(ours, theirs)
        assert ours > 0


# --- what they give


def by_hand(mlp: TokenChoiceMLP, x_D: Tensor) -> tuple[Tensor, list[int]]:
    """One token, slowly: its output, and the real experts that it took."""
    c, e, m, k = mlp.config, mlp.n_experts, mlp.nulls.number, mlp.config.experts_top_k
    z = mlp.router.weight @ x_D
    if c.no_op_logits == "shared":
        z = torch.cat((z[:e], z[e:].expand(m)))
    p = z.softmax(0)
    held = mlp.controller
    if held is not None and held.by_bias:
        biased = z.clone()
        biased[:e] += held.settled
        order = biased.argsort(descending=True)[:k].tolist()
    elif held is not None:
        best = [i for i in p[:e].argsort(descending=True)[:k].tolist() if p[i].log() > held.settled]
        order = best + (e + p[e:].argsort(descending=True)[: k - len(best)]).tolist()
    else:
        order = z.argsort(descending=True)[:k].tolist()
    y_D = torch.zeros_like(x_D)
    for i in order:
        if i < e:
            gate, up, down = present(mlp.experts.gate_EDF), mlp.experts.up_EDF, mlp.experts.down_EFD
            y_D = y_D + p[i] * ((F.silu(x_D @ gate[i]) * (x_D @ up[i])) @ down[i])
        elif c.no_op == "identity":
            y_D = y_D + p[i] * x_D
        elif c.no_op == "constant":
            assert mlp.constants is not None
            which, n = (0, 1) if c.no_op_logits == "shared" else (i - e, m)
            a = (mlp.constants.mix.weight.view(2, n, -1)[:, which] @ x_D).softmax(0)
            y_D = y_D + p[i] * (a[0] * x_D + a[1] * mlp.constants.vector_CD[which])
    return y_D, [i for i in order if i < e]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "logits", "balance"), EVERY)
def test_every_choice_weighs_what_the_formula_says(kind: str, logits: str, balance: str) -> None:
    """Against a loop over tokens: weights of no-ops, no expert 0 for a token that took none, in training and decoding."""
    module = model(no_op=kind, no_op_logits=logits, balance=balance).eval()
    mlp = choosing(module)
    if mlp.controller is not None:  # as if trained: biases decide some choices
        with torch.no_grad():
            mlp.controller.settled += torch.tensor([0.8, -0.5, 0.1, -1.2]) if balance == "bias" else 0.2
    x_BTD = torch.randn(2, 20, 32, generator=torch.Generator().manual_seed(0))
    found = [by_hand(mlp, x_D) for x_D in x_BTD.flatten(0, 1)]
    assert {len(real) for _, real in found} == {0, 1, 2}  # all cases are there
    want = torch.stack([y_D for y_D, _ in found]).view_as(x_BTD)
    for causal in (False, True):
        torch.testing.assert_close(mlp(x_BTD, context(module, 20, causal=causal)), want, rtol=1e-4, atol=1e-5)
        assert mlp.pairs == sum(len(real) for _, real in found)
    for b, t in ((1, 1), (2, 1), (2, 4)):  # as few as in a step of decoding: no sorting
        ctx = context(module, t, causal=True)
        with torch.no_grad():
            torch.testing.assert_close(mlp(x_BTD[:b, :t], ctx), want[:b, :t], rtol=1e-4, atol=1e-5)
            seen = counter.count(module, partial(mlp, x_BTD[:b, :t], ctx))
        pairs = sum(len(found[row * 20 + token][1]) for row in range(b) for token in range(t))
        assert mlp.pairs == pairs
        others = mlp.router.weight.numel() + sum(p.numel() for p in (mlp.constants or nn.Identity()).parameters())
        assert seen.total == 6 * pairs * 32 * mlp.config.expert_width + 2 * b * t * others


def step(module: MoDEIntegrated, x_BT: Tensor) -> None:
    module(x_BT).square().mean().backward()


@pytest.mark.parametrize("balance", ["bias", "threshold"])
def test_a_controller_moves_once_for_each_step_and_never_in_evaluation(balance: str) -> None:
    module = model(balance=balance)
    held, x_BT = controller(module), tokens()
    before = held.value.clone()
    module.train()
    step(module, x_BT)
    assert torch.equal(held.value, before)  # a forward pass moves nothing
    share = choosing(module).pairs / (2 * x_BT.numel())
    module.eval()(tokens(seed=5))  # nor counts, outside training
    module.after_step()
    moved = (held.value - before).sum().item()
    off = 4 * RATE * (0.5 - share) if balance == "bias" else RATE * (share - 0.5)
    assert moved == pytest.approx(off, abs=1e-5)
    assert moved != 0
    after = held.value.clone()
    module.after_step()  # counts were used up
    assert torch.equal(held.value, after)


@pytest.mark.parametrize("way", ["checkpointed", "accumulated", "on two ranks"])
@pytest.mark.parametrize("balance", ["bias", "threshold"])
def test_a_controller_moves_alike_however_a_step_is_computed(
    balance: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Activations that are computed again count once and route as before; halves of a batch add up, of ranks too."""
    x_BT = tokens(4)
    whole, module = model(balance=balance).train(), model(balance=balance).train()
    held, started = controller(module), controller(module).value.clone()
    step(whole, x_BT)
    whole.after_step()
    if way == "checkpointed":
        module.register_module("blocks", nn.ModuleList(Checkpointed(block) for block in module.blocks))
        step(module, x_BT)
        for ours, theirs in zip(module.parameters(), whole.parameters(), strict=True):
            assert torch.equal(present(ours.grad), present(theirs.grad))
    elif way == "accumulated":
        step(module, x_BT[:2])
        step(module, x_BT[2:])
    else:
        other = model(balance=balance).train()
        step(other, x_BT[2:])
        step(module, x_BT[:2])
        counted_there = controller(other).counted.clone()
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "all_reduce", lambda counted: counted.add_(counted_there))
    module.after_step()
    torch.testing.assert_close(held.value, controller(whole).value)
    assert not torch.equal(held.value, started)


def test_padding_is_no_choice() -> None:
    module, lengths_B = model(balance="bias").train(), torch.tensor([24, 5, 1])
    module(tokens(), lengths_B)
    assert controller(module).counted[-1] == 30
    assert choosing(module).pairs <= 2 * 30


def test_a_controller_is_state_and_stays_exact_in_half_precision() -> None:
    module = model(balance="bias").train()
    step(module, tokens())
    module.after_step()
    other = model(balance="bias")
    other.load_state_dict(module.state_dict())
    assert torch.equal(controller(other).value, controller(module).value)
    assert torch.equal(controller(other).settled, controller(module).settled)
    assert controller(module.to(torch.bfloat16)).value.dtype == torch.float32
