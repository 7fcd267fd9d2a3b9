"""Watching a model: the same logits, true decisions, and single decisions reversed."""

from __future__ import annotations

import pytest
import torch
from present import present
from toolbox import MODELS, build, tokens

ROUTED = [("mod", router) for router in ("learned", "norm", "stochastic", "every_n")] + [("mode_staged", "learned")]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_observing_changes_nothing(model: str, causal: bool) -> None:
    module, x_BT = build(model).eval(), tokens()
    with torch.no_grad():
        plain = module(x_BT, causal=causal)
    assert torch.equal(plain, module.observe(x_BT, causal=causal).logits)


@pytest.mark.parametrize(("model", "router"), ROUTED)
def test_the_top_k_is_selected(model: str, router: str) -> None:
    module = build(model, router=router, capacity=0.25).eval()
    seen = module.observe(tokens())
    routed = [decision for decision in seen.decisions if decision.taken_BET is None]
    assert [decision.layer for decision in routed] == [1, 3]
    for decision in routed:
        assert decision.chosen_BT.sum(1).tolist() == [6, 6, 6]
        lowest = decision.score_BT.where(decision.chosen_BT, torch.inf).amin(1)
        assert (decision.score_BT.masked_fill(decision.chosen_BT, -torch.inf).amax(1) <= lowest).all()
        assert present(decision.predicted_BT).shape == (3, 24)


@pytest.mark.parametrize("model", ["moe", "mode_integrated"])
def test_experts_record_the_tokens_that_they_take(model: str) -> None:
    for decision in build(model).eval().observe(tokens()).decisions:
        assert decision.taken_BET is not None
        per_expert = decision.taken_BET.sum(2)
        assert (per_expert == per_expert[0, 0]).all()  # expert choice: every expert takes as many
        assert torch.equal(decision.chosen_BT, decision.taken_BET.any(1))


@pytest.mark.parametrize("router", ["learned", "norm", "stochastic", "every_n"])
def test_only_the_reversed_decision_changes(router: str) -> None:
    """And its token's output is what the block gives when the token is, or is not, among the chosen."""
    module, x_BT = build("mod", router=router, capacity=0.25).eval(), tokens(1)
    before = module.observe(x_BT)
    for grid_point in range(0, 24, 5):
        flip_LBT = torch.zeros(4, 1, 24, dtype=torch.bool)
        flip_LBT[1, 0, grid_point] = True
        after = module.observe(x_BT, flip_LBT=flip_LBT)
        changed = before.decisions[0].chosen_BT ^ after.decisions[0].chosen_BT
        assert changed.nonzero().tolist() == [[0, grid_point]]
        assert not torch.equal(before.logits[0, grid_point], after.logits[0, grid_point])
        # One token more or less may be multiplied by another kernel, which rounds otherwise.
        assert torch.allclose(before.logits[0, :grid_point], after.logits[0, :grid_point], rtol=0, atol=1e-5) == (
            # A later block chooses anew over the whole sequence, by what it sees: earlier tokens may then move too.
            torch.equal(before.decisions[1].chosen_BT[0, :grid_point], after.decisions[1].chosen_BT[0, :grid_point])
        )
