"""What routers do: planted rules that must be found again, and every model of the catalogue looked at."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from planted_routing import (
    BYTES,
    TEXT,
    VOCAB,
    Noisy,
    Planted,
    Rule,
    built,
    by_row,
    digits,
    every_fourth,
    tokens_of,
    truth_of,
    windows,
    worth_of,
)
from present import present
from torch import Tensor, nn

from modbench.harness.core.language_model import Observation
from modbench.harness.registry import catalogue
from modbench.plugins.routing.describe import NO_EXPERTS, NO_GATE, NO_ROUTER, NOT_ASKED, describe
from modbench.plugins.routing.drift import Drift
from modbench.plugins.routing.interventions import flip_effects
from modbench.plugins.routing.ngram import surprisal
from modbench.plugins.routing.overlap import jaccard
from modbench.plugins.routing.strata import KINDS, kinds_of

TEXT_NT = INPUTS_NT, TARGETS_NT = windows()
DIGITS, FOURTH = int(digits(INPUTS_NT).sum()), int(every_fourth(INPUTS_NT).sum())


def told(module: nn.Module | Rule, text_NT: tuple[Tensor, Tensor] = TEXT_NT, **how: Any) -> Any:
    """The description of a model, or of one with a single planted rule."""
    made = Planted([module]) if isinstance(module, Rule) else module
    return describe(made, *text_NT, tokens_of(), seed=0, **how)


# --- planted rules


@pytest.mark.slow
def test_digits_that_always_pass_are_found() -> None:
    found = told(Planted([Rule(digits), Rule(every_fourth)]))
    assert found["layers"] == [1, 3]
    by_kind = {row["label"]: (row["n"], row["passes_by_layer"][0]) for row in found["strata"]["kind"]["bins"]}
    assert by_kind.pop("digit") == (DIGITS, DIGITS)
    assert {passes for _, passes in by_kind.values()} == {0}
    # By position the other layer takes one in four, everywhere alike.
    for row in found["strata"]["position"]["bins"]:
        assert row["passes_by_layer"][1] / row["n"] == pytest.approx(row["passes_by_layer"][1] / 36)
    assert (found["participation"][1]["top_k"], found["participation"][1]["top_k_se"]) == (0.25, 0)
    passed = ["01"[KINDS[kind] == "digit"] for kind in found["matrix"]["kinds"]]
    assert found["matrix"]["rows"] == ["".join(passed), "0001" * 12]


def test_sums_agree_with_totals_in_every_stratum() -> None:
    found = told(Planted([Rule(digits), Rule(every_fourth)], truth_of(*TEXT_NT)))
    n, whole = INPUTS_NT.numel(), found["summary"]
    assert whole["participation"] == pytest.approx((DIGITS + FOURTH) / (2 * n), rel=1e-4)
    for name, stratum in found["strata"].items():
        bins = stratum["bins"]
        assert [sum(row[key] for row in bins) for key in ("n", "passes")] == [n, DIGITS + FOURTH], name
        assert sum(row["loss_sum"] for row in bins) == pytest.approx(whole["loss"] * n, rel=1e-4)
        for row in bins:
            assert row["windows"] > 1 or row["share_se"] is None
            if row["n"]:
                assert row["share"] == pytest.approx(row["passes"] / (2 * row["n"]), rel=1e-4)
                assert row["loss"] == pytest.approx(row["loss_sum"] / row["n"], rel=1e-4)
                assert row["loss_squares"] >= row["loss_sum"] ** 2 / row["n"] * (1 - 1e-4)
    # The error of a stratum's share, by hand: windows are the unit, each with as many such tokens as it has.
    space_NT = kinds_of(INPUTS_NT.numpy(), BYTES) == KINDS.index("whitespace")
    passed_NT = (digits(INPUTS_NT).int() + every_fourth(INPUTS_NT).int()).numpy()
    n_N, y_N = 2 * space_NT.sum(1), (passed_NT * space_NT).sum(1)
    rest_N = y_N - y_N.sum() / n_N.sum() * n_N
    error = math.sqrt(6 / 5 * (rest_N**2).sum()) / n_N.sum()
    assert found["strata"]["kind"]["bins"][-1]["share_se"] == pytest.approx(error, rel=1e-4)


def test_a_predictor_is_scored_and_a_missing_one_has_a_reason() -> None:
    knows = Rule(every_fourth, predicted=lambda x_BT: every_fourth(x_BT) & (x_BT != ord(" ")))
    found, n = told(Planted([knows], truth_of(*TEXT_NT))), INPUTS_NT.numel()
    missed = int((every_fourth(INPUTS_NT) & (ord(" ") == INPUTS_NT)).sum())
    assert found["predictor"][0]["fn"] == missed > 0
    assert found["predictor"][-1] == {**found["predictor"][0], "layer": None}
    whole = found["summary"]
    assert (whole["predictor_base_rate"], whole["predictor_precision"]) == (0.75, 1)
    assert whole["participation_causal"] == pytest.approx(0.25 - missed / n, rel=1e-4)
    assert whole["gap"] == pytest.approx(whole["loss_causal"] - whole["loss"], abs=1e-5)
    assert abs(whole["gap"]) > 10 * 1e-5
    for stratum in found["strata"].values():
        causal = sum(row["loss_causal_sum"] for row in stratum["bins"])
        assert causal == pytest.approx(whole["loss_causal"] * n, rel=1e-4)
    silent = told(Planted([Rule(digits)], causal=False))
    assert silent["predictor"] is silent["summary"]["gap"] is None
    assert silent["reasons"]["causal"] == "planted: no causal router"
    assert told(Rule(digits), causal_too=False)["reasons"]["causal"] == NOT_ASKED


def test_blocks_used_follow_what_they_are_planted_on() -> None:
    """Hard tokens pass: the hardest quarter does, and the correlation with difficulty says so."""
    inputs_NT, targets_NT = windows(8, 64)
    hard_NT = surprisal(tokens_of().train, inputs_NT.numpy(), targets_NT.numpy(), VOCAB)
    line = float(np.quantile(hard_NT, 0.75))
    masks = {x.numpy().tobytes(): torch.from_numpy(h > line) for x, h in zip(inputs_NT, hard_NT, strict=True)}
    rule = Rule(lambda x_BT: torch.stack([masks[x_T.numpy().tobytes()] for x_T in x_BT]))
    found = told(rule, (inputs_NT, targets_NT))
    assert found["strata"]["difficulty"]["bins"][-1]["share"] == 1
    assert found["correlations"]["difficulty"]["low"] > 0.5
    assert found["summary"]["difficulty_correlation"] == found["correlations"]["difficulty"]["rho"]


# --- flips


@pytest.mark.slow
def test_a_gate_that_knows_is_found() -> None:
    text_NT, sides = windows(16, 48), ("all", "passed", "skipped")
    best = Rule(lambda x_BT: worth_of(x_BT) > 0.6, worth_of)
    knows = flip_effects(Planted([best, best], truth_of(*text_NT)), *text_NT, 160, 0)
    assert min(knows["correlation"][side]["rho"] for side in sides) > 0.98
    assert (knows["number"], knows["windows"]) == (160, 16)
    assert [row["layer"] for row in knows["by_layer"]] == [1, 3]
    assert knows["worth"]["passed"]["effect"] > 0 > knows["worth"]["skipped"]["effect"]


@pytest.mark.parametrize("rule", [every_fourth, by_row])
def test_an_effect_is_the_loss_without_the_pass_less_the_loss_with_it(rule: Any) -> None:
    """Each planted pass adds its worth to one logit: the change of that position's loss is known."""
    text_NT = windows(4, 32)
    flips = flip_effects(Planted([Rule(rule)], truth_of(*text_NT)), *text_NT, 40, 3)["flips"]
    assert sum(flips["passed"]) == 20
    assert len({*zip(flips["window"], flips["position"], strict=True)}) == 40  # no decision twice
    columns = [flips[name] for name in ("window", "position", "passed", "effect", "later")]
    for window, position, passed, effect, later in zip(*columns, strict=True):
        assert rule is by_row or passed == (position % 4 == 3)
        gain = float(worth_of(text_NT[0][window : window + 1])[0, position])
        known = math.log(255 + 1) - (math.log(255 + math.exp(gain)) - gain)
        assert [effect, later] == pytest.approx([known / 32, known / (32 - position)], rel=1e-3)


@pytest.mark.parametrize("model", ["dense", "moe"])
def test_no_token_router_no_flips(model: str) -> None:
    found = flip_effects(built(model), *windows(2, 24), 8, 0)
    assert "no decision to reverse" in found["reason"]
    assert found["correlation"] is None


# --- while a model trains


def test_drift_sees_a_router_that_turns_from_places_to_digits() -> None:
    inputs_NT, targets_NT = windows(4, 48)
    drift = Drift(inputs_NT, targets_NT, tokens_of())
    assert drift.as_dict()["reason"] is not None
    for step, rule in ((0, every_fourth), (10, digits), (20, digits)):
        drift.look(Planted([Rule(rule)]), step)
    found = drift.as_dict()
    assert found["steps"] == [0, 10, 20]
    assert found["by_kind"]["digit"][0] < 1
    assert (found["by_kind"]["digit"][1:], found["by_kind"]["whitespace"][1:]) == ([1, 1], [0, 0])
    expected = present(jaccard(every_fourth(inputs_NT).numpy(), digits(inputs_NT).numpy()))
    assert found["overlap_with_last"] == pytest.approx([expected[0], 1, 1], rel=1e-4)
    assert found["loss"] == pytest.approx([math.log(VOCAB)] * 3, rel=1e-4)
    assert sum(found["n"].values()) == inputs_NT.numel()


def test_looking_disturbs_no_training() -> None:
    """Modes and random numbers are as before, for a router that draws noise in training too."""
    text_NT, module = windows(2, 24), built("mod", router="stochastic", capacity=0.25).train()
    module.blocks[0].eval()
    state = torch.get_rng_state()
    Drift(*text_NT, tokens_of()).look(module, 0)
    Drift(*text_NT, tokens_of()).look(Noisy([Rule(digits)]), 0)
    flip_effects(module, *text_NT, 4, 0)
    found = told(module, text_NT)
    assert torch.equal(state, torch.get_rng_state())
    assert [module.training, *(block.training for block in module.blocks[:2])] == [True, False, True]
    # Looked at in evaluation mode, where the noise is always the same.
    assert found == told(built("mod", router="stochastic", capacity=0.25), text_NT)


# --- the catalogue


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "changes"),
    [
        *((model, {}) for model in sorted(catalogue.entries("models"))),
        *(("mod", {"router": router}) for router in ("norm", "stochastic", "every_n")),
        ("mod", {"causal": "none"}),
        ("mod", {"causal": "threshold", "granularity": "mlp"}),
        ("moe", {"choice": "token"}),
        ("early_exit", {"exit_by": "token"}),
    ],
)
def test_every_model_is_described(model: str, changes: dict[str, Any]) -> None:
    module, n = built(model, **changes), INPUTS_NT.numel()
    found = json.loads(json.dumps(told(module), allow_nan=False))
    loss = nn.functional.cross_entropy(module(INPUTS_NT).flatten(0, 1), TARGETS_NT.flatten())
    assert found["summary"]["loss"] == pytest.approx(float(loss.detach()), rel=1e-4)
    for key in ("matrix", "words", "weights", "overlap", "participation", "predictor", "experts", "depth"):
        assert (found[key] is None) == (key in found["reasons"]), key
    routed = model.startswith("mo")
    assert found["layers"] == ([1, 3] if routed else [])
    assert (found["reasons"].get("matrix") == NO_ROUTER) == (not routed)
    assert (found["experts"] is not None) == (model in {"moe", "mode_integrated", "mode_staged"})
    gate = model.startswith("depth") or (model == "early_exit" and not changes)
    assert (found["reasons"].get("depth") == NO_GATE) == (not gate)
    if model == "mod":
        assert [row["top_k"] for row in found["participation"]] == [0.125] * 2
        assert found["reasons"]["experts"] == NO_EXPERTS
        assert [row["what"] for row in found["weights"]] == ["score" if "router" in changes else "weight"] * 2
        assert (found["summary"]["gap"] is None) == (changes.get("causal") == "none")
        assert [sum(found["weights"][0][which]) for which in ("all", "passed")] == [n, n // 8]
    for row in found["experts"] or ():
        assert sum(row["load"]) == pytest.approx(1, abs=1e-4)
        assert row["tokens"] == n // (8 if model == "mode_staged" else 1)


def test_what_blocks_computed_is_not_taken_for_the_depth_of_rows() -> None:
    """Exits by token say how many tokens each of 4 blocks computed; there are 4 windows too."""
    assert told(built("early_exit", exit_by="token"), windows(4))["depth"] is None


def test_experts_that_leave_tokens_alone_say_how_many() -> None:
    """Integrated, one in two assignments is real: as many tokens get no expert as are in no expert's top-k."""
    module = built("mode_integrated", capacity=0.5)
    found = told(module)
    none = [float(1 - each.taken_BET.any(1).float().mean()) for each in module.observe(INPUTS_NT).decisions]
    assert [row["none"] for row in found["experts"]] == pytest.approx(none, rel=1e-4)
    assert found["summary"]["no_expert"] >= 0.5
    assert found["summary"]["participation"] == pytest.approx(1 - found["summary"]["no_expert"], rel=1e-4)
    assert found["summary"]["real_share"] is None  # tokens do not choose
    assert [row["load"] for row in found["experts"]] == [[0.25] * 4] * 2  # experts choose: all take as many


def test_tokens_that_choose_say_which_share_of_their_choices_is_real() -> None:
    """A token may take two experts, so this is not the share of tokens that some expert took."""
    module = built("mode_integrated", capacity=0.5, choice="token", experts_top_k=2)
    found = told(module)["summary"]
    module(INPUTS_NT)
    assert found["real_share"] == pytest.approx(sum(module.pairs) / (2 * 2 * INPUTS_NT.numel()), abs=1e-6)
    assert found["real_share"] != pytest.approx(found["participation"], abs=0.02)


def test_a_gates_depth_by_length_and_difficulty() -> None:
    """A gate planted to go deep on prompts that hold a tilde, which are hard."""

    class Gate(nn.Module):
        config = SimpleNamespace(n_layers=4)

        def observe(self, x_BT: Tensor, *, causal: bool = False, prompt_B: Tensor | None = None) -> Observation:  # noqa: ARG002  # as a model's
            return Observation(torch.zeros(*x_BT.shape, VOCAB), [], (1 + 3 * (x_BT == ord("~")).any(1)).tolist())

    noise = bytes(np.random.default_rng(0).integers(33, 126, 24).tolist()) + b"~" * 24
    inputs_NT, targets_NT = windows(5, 48, TEXT[:400])
    inputs_NT[2] = inputs_NT[4] = torch.tensor(list(noise))
    found = told(Gate(), (inputs_NT, targets_NT))["depth"]
    assert found["windows"] == [{"depth": 1, "n": 3}, {"depth": 4, "n": 2}]
    assert found["depth"] == pytest.approx(1 + 3 * 2 / 5)
    by_length = {row["length"]: row for row in found["by_length"]}
    assert [*by_length] == [8, 16, 32]
    assert (by_length[8]["n"], by_length[8]["depth"]) == (30, pytest.approx(1 + 3 * 6 / 30))
    hardest = by_length[8]["by_difficulty"]
    assert sum(row["n"] for row in hardest) == 30
    assert hardest[-1]["depth"] > hardest[0]["depth"] == 1
