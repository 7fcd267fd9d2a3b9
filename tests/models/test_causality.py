"""Who may see whom, by gradient: causal routing leaks exactly nothing from the future, top-k does and says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toolbox import GATES, MODELS, ROUTERS, VARIANTS, WITH_CAPACITY, build, name_of, tokens
from torch import Tensor, nn

from modbench.harness.registry import catalogue
from modbench.models.layers.decoder import Decoder

CAUSAL = [
    *VARIANTS,
    ("depth_predictor", {"gate": "gumbel"}),
]


class Inputs(nn.Module):
    """An embedding that hands out given vectors, so that gradients with respect to inputs can be had."""

    embedding_dim = 32

    def __init__(self, x_BTD: Tensor) -> None:
        super().__init__()
        self.x_BTD = x_BTD

    def forward(self, tokens_BT: Tensor) -> Tensor:  # noqa: ARG002  # an embedding's signature
        return self.x_BTD


def leaks(module: Decoder, *, causal: bool, t: int = 8) -> Tensor:
    """Largest gradient [T, T] of the logits at position i with respect to the input at position j, above the diagonal."""
    x_BTD = torch.randn(2, t, 32, generator=torch.Generator().manual_seed(5)).requires_grad_()
    module.embedding = Inputs(x_BTD)  # type: ignore[assignment]  # stands for an embedding
    direction_V = torch.randn(50, generator=torch.Generator().manual_seed(6))
    out_BT = module(tokens(2, t), causal=causal) @ direction_V
    rows = []
    for i in range(t):
        (gradient_BTD,) = torch.autograd.grad(out_BT[:, i].sum(), x_BTD, retain_graph=True)
        rows.append(gradient_BTD.abs().amax((0, 2)))
    return torch.stack(rows).triu(1)


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("variant", CAUSAL, ids=name_of)
def test_causal_routing_leaks_nothing(variant: tuple[str, dict[str, Any]], training: bool) -> None:
    """The gradient of output t with respect to input s > t is exactly zero."""
    name, options = variant
    module = build(name, **{"gate_tokens": 5} if name in GATES and name != "depth_scale" else {}, **options)
    module.train(training)
    assert leaks(module, causal=True).max() == 0


@pytest.mark.slow
@pytest.mark.parametrize("variant", CAUSAL, ids=name_of)
def test_a_later_token_changes_no_earlier_output(variant: tuple[str, dict[str, Any]]) -> None:
    """Gradients cannot see decisions; changing a token can. Bit for bit, at every position of a batch."""
    name, options = variant
    module = build(name, **options).eval()
    x_BT = tokens(6, 24)
    was = module(x_BT, causal=True)
    for grid_point in (1, 12, 17, 23):
        changed = x_BT.clone()
        changed[:, grid_point] = (changed[:, grid_point] + 1) % 50
        torch.testing.assert_close(module(changed, causal=True)[:, :grid_point], was[:, :grid_point], rtol=0, atol=2e-6)


DECLARED: list[tuple[str, dict[str, Any]]] = [
    *((name, {"capacity": 0.5} if name in WITH_CAPACITY else {}) for name in MODELS),
    *((name, {"choice": "token"}) for name in MODELS if "choice" in catalogue.model_options(name)),
    *(("mod", {"capacity": 0.5, "router": router}) for router in ROUTERS),  # some read positions alone
]


@pytest.mark.parametrize("variant", DECLARED, ids=name_of)
def test_top_k_declares_that_it_sees_the_future(variant: tuple[str, dict[str, Any]]) -> None:
    """By tokens: a changed last token moves earlier outputs exactly where the model declares it."""
    name, options = variant
    module = build(name, **options).eval()
    x_BT = tokens(8)
    changed = x_BT.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 50
    # Not bit by bit: an expert that gets another number of tokens rounds otherwise on some processors. What is seen moves by 0.3.
    same = torch.allclose(module(x_BT)[:, :-1], module(changed)[:, :-1], rtol=0, atol=2e-6)
    assert same != catalogue.load("models", name).sees_future(module.config)


@pytest.mark.parametrize("choice", ["expert", "token"])
def test_a_classifier_sees_everything(choice: str) -> None:
    """Bidirectional attention: the first token's state depends on the last token."""
    module = build("mode_staged", capacity=1.0, bidirectional=True, choice=choice).eval()
    changed = tokens(2).clone()
    changed[:, -1] = (changed[:, -1] + 1) % 50
    states = [module.run_blocks(module.embed(x), module.context(x, None, causal=False)) for x in (tokens(2), changed)]
    assert not torch.equal(states[0][:, 0], states[1][:, 0])
