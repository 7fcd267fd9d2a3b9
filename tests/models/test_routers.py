"""Routers: participation, correlation, calibration, auxiliary losses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from present import of_type, present
from toolbox import build, config, context, tokens
from torch.nn import functional as F

from modbench.models.layers.experts import ExpertMLP
from modbench.models.layers.router import Threshold
from modbench.models.mod import MoD, RoutedBlock
from modbench.models.routers.learned import Learned


class Scored:
    """A routed model over a long context: what the router of a layer scores and selects of `rows` rows."""

    def __init__(self, t: int, **options: Any) -> None:
        self.module = MoD(config(max_seq_len=t, **{"capacity": 0.125, **options}))
        self.this, self.t = context(self.module, t), t

    def __call__(self, rows: int, layer: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        router = of_type(RoutedBlock, self.module.blocks[layer]).router
        x_BTD = torch.zeros(rows, self.t, 32)
        r_BT = router.score(x_BTD, self.this)
        return r_BT, router.selects(x_BTD, r_BT, self.this)


@pytest.mark.parametrize("participation", [0.0, 0.06, 0.125, 0.5, 1.0])
@pytest.mark.parametrize(("rows", "layers"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.8), (1.0, 1.0)])
def test_synthetic_decisions_have_the_set_share_and_correlations(
    participation: float, rows: float, layers: float
) -> None:
    """Over 4,096 positions and 16 rows; the correlation of the noise, and its effect on joint decisions."""
    scored = Scored(
        4096, router="synthetic", participation=participation, row_correlation=rows, layer_correlation=layers
    )
    (first_BT, one_BT), (second_BT, other_BT) = scored(16, layer=1), scored(16, layer=3)
    # Fully correlated rows leave 4,096 decisions: three standard errors of those.
    share = torch.stack([one_BT, other_BT]).float().mean().item()
    assert share == pytest.approx(participation, abs=3 * math.sqrt(0.25 / 4096))
    for other_T, wanted in ((first_BT[1], rows), (second_BT[0], layers), (second_BT[1], rows * layers)):
        found = torch.corrcoef(torch.stack([first_BT[0], other_T]))[0, 1].item()
        assert found == pytest.approx(wanted, abs=0.06)


def test_stochastic_noise_is_fresh_in_training_and_fixed_outside() -> None:
    scored = Scored(64, router="stochastic")
    for training in (True, False):
        scored.module.train(training)
        assert torch.equal(scored(2)[0], scored(2)[0]) != training


@pytest.mark.parametrize("capacity", [0.1, 0.125, 0.3, 0.5, 1.0])
def test_every_n_takes_exactly_floor_of_its_share_evenly(capacity: float) -> None:
    _, m_BT = Scored(512, capacity=capacity, router="every_n")(1)
    for t in (1, 7, 100, 512):
        assert m_BT[0, :t].sum() == int(capacity * t + 1e-9)
    gaps = m_BT[0].nonzero().flatten().diff()
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(("router", "causal"), [("learned", "threshold"), ("norm", "predictor")])
def test_calibration_gives_the_asked_share(router: str, causal: str) -> None:
    """On the calibrated text itself, each routed block, deeper ones too, passes the capacity."""
    module = build("mod", router=router, causal=causal, capacity=0.25).eval()
    module.calibrate(tokens(8, 60, seed=3), torch.tensor([60, 50, 40, 60, 60, 30, 60, 60]))
    _, cache = module.prefill(tokens(8, 60, seed=3), torch.tensor([60, 50, 40, 60, 60, 30, 60, 60]))
    shares = [p for p in cache.participation() if p is not None]
    assert shares == pytest.approx([0.25, 0.25], abs=0.01)
    again = MoD(module.config)
    again.load_state_dict(module.state_dict())
    assert torch.equal(again.eval()(tokens(), causal=True), module(tokens(), causal=True))  # thresholds are state


def test_expert_thresholds_pass_each_experts_share() -> None:
    module = build("moe", n_experts=4).eval()
    x_BT = tokens(8, 60, seed=3)
    module.calibrate(x_BT)
    loads = []
    module.blocks[1].register_forward_pre_hook(lambda _m, args: loads.append(args[0]))
    module(x_BT, causal=True)
    mlp = of_type(ExpertMLP, module.blocks[1].mlp)
    x_BTD = loads[0]
    mixed_BTD = x_BTD + module.blocks[1].attention_branch(x_BTD, context(module, 60))
    p_BTE = mlp.router(module.blocks[1].norm_mlp(mixed_BTD)).softmax(-1)
    load_E = (p_BTE > present(mlp.threshold).value).float().mean((0, 1))
    assert load_E.tolist() == pytest.approx([0.25] * 4, abs=0.01)


def routed(module: Any, layer: int = 1) -> tuple[RoutedBlock, Learned]:
    block = of_type(RoutedBlock, module.blocks[layer])
    assert isinstance(block.router, Learned)
    return block, block.router


@pytest.mark.parametrize("causal", ["predictor", "aux_loss"])
def test_labels_follow_each_row_and_ignore_padding(causal: str) -> None:
    """The auxiliary loss of a padded batch is the mean over its real tokens, each row with its own top-k as labels."""
    module = build("mod", causal=causal, capacity=0.25, aux_weight=1.0, n_layers=2)
    _, router = routed(module)
    lengths_B = torch.tensor([24, 8, 16])
    x_BT = tokens(3)
    seen = []
    module.blocks[1].register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    _, loss = module(x_BT, lengths_B, auxiliary=True)
    x_BTD = seen[0]
    r_BT = router.weight(x_BTD).squeeze(-1)
    logit_BT = r_BT if router.predictor is None else router.predictor(x_BTD).squeeze(-1)
    terms = []
    for row, length in enumerate(lengths_B.tolist()):
        best = torch.argsort(r_BT[row, :length], descending=True)[: length // 4].tolist()
        label_T = torch.zeros(length)
        label_T[best] = 1
        terms.append(F.binary_cross_entropy_with_logits(logit_BT[row, :length], label_T, reduction="none"))
    torch.testing.assert_close(loss, torch.cat(terms).mean())
    said_BT = router.selects(x_BTD, r_BT, context(module, 24))
    assert torch.equal(said_BT, logit_BT > 0)  # causally: where the classifier that this loss trains says so


def test_the_predictors_input_is_detached() -> None:
    """Its loss trains the predictor and nothing else; the score's own auxiliary loss trains more."""
    touched = {}
    for causal in ("predictor", "aux_loss"):
        module = build("mod", causal=causal, capacity=0.25)
        module(tokens(), auxiliary=True)[1].backward()
        touched[causal] = {
            name for name, p in module.named_parameters() if p.grad is not None and p.grad.abs().max() > 0
        }
    assert touched["predictor"]
    assert all(".predictor." in name for name in touched["predictor"])
    assert "embedding.weight" in touched["aux_loss"]


def test_the_balance_loss_is_one_for_an_even_load() -> None:
    mlp = of_type(ExpertMLP, build("moe", choice="token", aux_weight=1.0).blocks[1].mlp)
    even_E, lopsided_E = torch.full((4,), 0.25), torch.tensor([0.97, 0.01, 0.01, 0.01])
    in_turn_BET = (torch.eye(4)[torch.arange(16) % 4].view(2, 8, 4) > 0).mT
    the_first_BET = (torch.eye(4)[0] > 0).expand(2, 8, 4).mT
    for p_E, asked_BET, wanted in ((even_E, in_turn_BET, 1.0), (lopsided_E, the_first_BET, 3.88)):
        assert mlp._balance_loss(p_E.expand(2, 8, 4), asked_BET, None).item() == pytest.approx(wanted)


def test_pads_weigh_nothing_in_auxiliary_losses() -> None:
    module = build("moe", choice="token").train()  # of the others the loss itself is held to a loop over real tokens
    x_BT, lengths_B = tokens(2, 24), torch.tensor([10, 6])
    padded, trimmed = (module(x, lengths_B, auxiliary=True)[1] for x in (x_BT, x_BT[:, :10]))
    torch.testing.assert_close(padded, trimmed)


def test_a_threshold_never_sits_on_a_score() -> None:
    """Equal scores, as equal tokens have, fall on one side together; float32 survives a cast of the model."""
    threshold = Threshold(0.0)
    threshold.set(torch.tensor([1.0, 2.0, 2.0, 2.0 + 1e-7, 3.0]), 0.4)
    assert threshold.value == 1.5
    threshold.set(torch.full((9,), 4.0), 0.5)
    assert threshold.value == 3.5
    both = Threshold(torch.zeros(2))
    both.set(torch.tensor([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]]), 0.25)
    assert both.value.tolist() == [3.5, 3.5]
    threshold.value.fill_(1.23456789)
    assert threshold.to(torch.bfloat16).value == torch.tensor(1.23456789)


def test_scores_are_exact_under_autocast() -> None:
    """As in training, whose weights are float32: rounded to bfloat16, tokens would tie."""
    module = build("mod", capacity=0.25, n_layers=2)
    _, router = routed(module)
    x_BTD, this = torch.randn(2, 24, 32, generator=torch.Generator().manual_seed(0)), context(module, 24)
    exact_BT = router.score(x_BTD, this)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(router.score(x_BTD, this), exact_BT)
