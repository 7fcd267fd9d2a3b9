"""Whole-input depth gates: what is skipped is not computed, choices are trained, penalties bite, batches are bucketed."""

from __future__ import annotations

import pytest
import torch
from present import of_type, present
from toolbox import build, tokens
from torch import Tensor
from torch.nn import functional as F

from modbench.models.depth_branches import DepthBranches
from modbench.models.depth_scale import DepthScale
from modbench.models.early_exit import EarlyExit
from modbench.models.layers.decoder import Decoder
from modbench.models.layers.whole_input_depth import choose


def force(module: Decoder, depths: list[int]) -> None:
    """Let the gate give row i `depths[i]` blocks."""
    choices = [depth - 1 for depth in depths]
    if isinstance(module, DepthBranches):
        choices = [module.depths.index(depth - 1) for depth in depths]
    n = len(module.depths) if isinstance(module, DepthBranches) else module.config.n_layers
    logits_BN = F.one_hot(torch.tensor(choices), n) * 100.0
    module._logits = lambda *_: logits_BN  # type: ignore[assignment]  # a gate with a will of its own


def through_blocks(module: Decoder, x_BT: Tensor, depth: int) -> Tensor:
    """The first so many blocks (or the branch of that depth), by hand."""
    ctx, x_BTD = module.context(x_BT, None, causal=True), module.embed(x_BT)
    blocks = list(module.blocks)[:depth]
    if isinstance(module, DepthBranches) and depth > 1:
        blocks = [module.blocks[0], *module.branches[module.depths.index(depth - 1)]]
    for block in blocks:
        x_BTD = block(x_BTD, ctx)
    return module.to_logits(x_BTD)


@pytest.mark.parametrize("name", ["depth_predictor", "depth_branches"])
def test_every_row_gets_its_own_depth(name: str) -> None:
    """A batch of mixed depths equals each row run by hand; inside the prompt the first block is read out."""
    module = build(name).eval()
    depths = [4, 2, 3, 2, 4]
    force(module, depths)
    x_BT = tokens(5)
    got = module(x_BT, prompt_B=torch.full((5,), 6))
    assert module.realised == depths
    for row, depth in enumerate(depths):
        torch.testing.assert_close(got[row, 5:], through_blocks(module, x_BT[row : row + 1], depth)[0, 5:])
        torch.testing.assert_close(got[row, :5], through_blocks(module, x_BT[row : row + 1], 1)[0, :5])


@pytest.mark.parametrize("gate", ["straight_through", "gumbel"])
def test_choices_are_hard_in_forward_and_soft_in_backward(gate: str) -> None:
    module = build("depth_predictor", gate=gate)
    logits_BN = torch.randn(64, 4, requires_grad=True)
    picked_BN, p_BN = choose(logits_BN, module.config)
    torch.testing.assert_close(picked_BN.detach().sort(-1).values, torch.tensor([0.0, 0, 0, 1]).expand(64, 4))
    torch.testing.assert_close(p_BN, logits_BN.softmax(-1))
    (picked_BN[:, 0]).sum().backward()
    assert (present(logits_BN.grad).abs().sum(-1) > 0).all()
    likeliest = (picked_BN.argmax(-1) == logits_BN.argmax(-1)).float().mean()
    assert (likeliest == 1) == (gate == "straight_through")  # noise makes some choices others than the likeliest


@pytest.mark.parametrize("name", ["depth_predictor", "depth_branches"])
def test_training_and_inference_agree_where_the_gate_does(name: str) -> None:
    """Training computes everything and picks; inference picks and computes: the same logits."""
    module = build(name)
    x_BT = tokens(4)
    module.train()
    trained = module(x_BT)
    module.eval()
    torch.testing.assert_close(trained, module(x_BT), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["depth_predictor", "depth_branches"])
def test_the_depth_loss_is_the_distance_from_the_asked_ratio(name: str) -> None:
    module = build(name, depth_ratio=0.25, depth_weight=20.0).train()
    force(module, [4, 2, 3, 3])
    assert module(tokens(4), auxiliary=True)[1].item() == pytest.approx(20 * (3 / 4 - 0.25) ** 2)


def test_layers_of_a_small_scale_vanish() -> None:
    """Outside training; the penalty is their mean, until no more layers are left than were asked for."""
    module = of_type(DepthScale, build("depth_scale", depth_ratio=0.25, depth_weight=5.0, skip_below=0.3))
    module.scale_L.data = torch.tensor([1.0, 0.2, -0.8, 0.1])
    assert module.eval().layers() == [0, 2]
    x_BT = tokens()
    x_BTD, ctx = module.embed(x_BT), module.context(x_BT, None, causal=True)
    for layer in (0, 2):
        x_BTD = x_BTD + module.scale_L[layer] * module.blocks[layer].residual_branch(x_BTD, ctx)
    torch.testing.assert_close(module(x_BT), module.to_logits(x_BTD))
    assert module(x_BT, auxiliary=True)[1].item() == pytest.approx(5.0 * 2.1 / 4)
    module.scale_L.data[2] = 0.0
    assert module(x_BT, auxiliary=True)[1].item() == 0


@pytest.mark.parametrize("threshold", [0.0001, 0.12, 1.0])
@pytest.mark.parametrize("exit_by", ["token", "sequence"])
def test_exits_equal_a_slow_loop(exit_by: str, threshold: float) -> None:
    """Everything computed anew, and frozen where it was confident: a token, which stays attendable, or a row after its prompt."""
    module = of_type(EarlyExit, build("early_exit", exit_by=exit_by, exit_threshold=threshold).eval())
    x_BT = tokens(3, 14)
    ctx, x_BTD = module.context(x_BT, None, causal=True), module.embed(x_BT)
    alive_BT = torch.ones(3, 14, dtype=torch.bool)
    alive = []
    for layer, block in enumerate(module.blocks):
        alive.append(alive_BT)
        x_BTD = torch.where(alive_BT[..., None], block(x_BTD, ctx), x_BTD)
        sure_BT = module.to_logits(x_BTD).softmax(-1).amax(-1) >= threshold
        if layer < 3:
            alive_BT = alive_BT & ~(sure_BT if exit_by == "token" else sure_BT[:, :1])
    got_BTV = module(x_BT, prompt_B=torch.ones(3, dtype=torch.int64))
    torch.testing.assert_close(got_BTV, module.to_logits(x_BTD), rtol=1e-4, atol=1e-5)
    by_layer = [int(each_BT.sum(1).max()) for each_BT in alive]
    by_row = torch.stack([each_BT.any(1) for each_BT in alive]).sum(0)
    assert module.realised == (by_layer if exit_by == "token" else by_row.tolist())
    assert threshold != 0.12 or len(set(module.realised)) > 1, "all leave together"


def test_exits_learn_the_next_token() -> None:
    """The auxiliary loss is each exit's cross-entropy with the token that follows, of real tokens alone."""
    module = of_type(EarlyExit, build("early_exit").train())
    x_BT, lengths_B = tokens(3, 12), torch.tensor([12, 7, 2])
    _, loss = module(x_BT, lengths_B, auxiliary=True)
    exits = []
    for depth in (1, 2, 3):
        logits = through_blocks(module, x_BT, depth)
        rows = [F.cross_entropy(logits[b, : n - 1], x_BT[b, 1:n], reduction="none") for b, n in enumerate((12, 7, 2))]
        exits.append(torch.cat(rows).mean())
    torch.testing.assert_close(loss, torch.stack(exits).mean())
