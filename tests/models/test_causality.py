"""Who may see whom: causal routing leaks nothing from the future, top-k does and says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toolbox import GATES, MODELS, ROUTERS, VARIANTS, WITH_CAPACITY, build, name_of, tokens
from torch import Tensor

from modbench.harness.registry import catalogue

CAUSAL = [
    *VARIANTS,
    ("dense", {"mixer": "convolution"}),
    ("mod", {"mixer": "convolution", "capacity": 0.5}),
    ("depth_predictor", {"gate": "gumbel"}),
    *((name, {"gate_tokens": 5}) for name in GATES if name != "depth_scale"),
]


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("variant", CAUSAL, ids=name_of)
def test_a_later_token_changes_no_earlier_output(variant: tuple[str, dict[str, Any]], training: bool) -> None:
    """At every position of a batch, under causal routing; decisions, which gradients cannot see, count too."""
    name, options = variant
    module = build(name, **options).train(training)

    def logits(x_BT: Tensor) -> Tensor:
        torch.manual_seed(0)  # of noise in training
        with torch.no_grad():
            found: Tensor = module(x_BT, causal=True)
        return found

    x_BT = tokens(6, 24)
    was = logits(x_BT)
    for position in (1, 6, 12, 17, 23):
        changed = x_BT.clone()
        changed[:, position] = (changed[:, position] + 1) % 50
        now = logits(changed)
        torch.testing.assert_close(now[:, :position], was[:, :position], rtol=0, atol=2e-6)
        assert not torch.equal(now[:, position:], was[:, position:])


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
    same = torch.equal(module(x_BT)[:, :-1], module(changed)[:, :-1])
    assert same != catalogue.load("models", name).sees_future(module.config)


@pytest.mark.parametrize("choice", ["expert", "token"])
def test_a_classifier_sees_everything(choice: str) -> None:
    """Bidirectional attention: the first token's state depends on the last token."""
    module = build("mode_staged", capacity=1.0, bidirectional=True, choice=choice).eval()
    changed = tokens(2).clone()
    changed[:, -1] = (changed[:, -1] + 1) % 50
    states = [module.run_blocks(module.embed(x), module.context(x, None, causal=False)) for x in (tokens(2), changed)]
    assert not torch.equal(states[0][:, 0], states[1][:, 0])
