"""What routers do: planted rules that must be found again, and every model of the catalogue looked at."""

from __future__ import annotations

import json
import math
import re
from functools import partial
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

# --- planted rules


def test_digits_that_always_pass_are_found() -> None:
    inputs_NT, targets_NT = windows()
    found = describe(Planted([Rule(digits), Rule(every_fourth)]), inputs_NT, targets_NT, tokens_of(), seed=0)
    assert found["layers"] == [1, 3]
    by_kind = {row["label"]: row for row in found["strata"]["kind"]["bins"]}
    assert by_kind["digit"]["passes_by_layer"][0] == by_kind["digit"]["n"] == int(digits(inputs_NT).sum())
    for kind in set(KINDS) - {"digit"}:
        assert by_kind[kind]["passes_by_layer"][0] == 0
    # By position the other layer takes one in four, everywhere alike.
    for row in found["strata"]["position"]["bins"]:
        assert row["passes_by_layer"][1] / row["n"] == pytest.approx(row["passes_by_layer"][1] / 36)
    assert found["participation"][1]["top_k"] == 0.25
    assert found["participation"][1]["top_k_se"] == 0
    shown = found["matrix"]
    kind_T = [KINDS[kind] for kind in shown["kinds"]]
    assert shown["rows"][0] == "".join("01"[kind == "digit"] for kind in kind_T)
    assert shown["rows"][1] == "0001" * 12
    assert shown["used"] == [int(a) + int(b) for a, b in zip(*shown["rows"], strict=True)]
    assert "".join(shown["pieces"]) == bytes(inputs_NT[shown["window"]].tolist()).decode("utf-8", "backslashreplace")


def test_sums_agree_with_totals_in_every_stratum() -> None:
    inputs_NT, targets_NT = windows()
    model = Planted([Rule(digits), Rule(every_fourth)], truth_of(inputs_NT, targets_NT))
    found = describe(model, inputs_NT, targets_NT, tokens_of(), seed=0)
    passes = int(digits(inputs_NT).sum() + every_fourth(inputs_NT).sum())
    for name, stratum in found["strata"].items():
        bins = stratum["bins"]
        assert sum(row["n"] for row in bins) == inputs_NT.numel(), name
        assert sum(row["passes"] for row in bins) == passes, name
        assert sum(row["loss_sum"] for row in bins) == pytest.approx(
            found["summary"]["loss"] * inputs_NT.numel(), rel=1e-4
        )
        for row in bins:
            if row["windows"] == 1:
                assert row["share_se"] is None
            if row["n"]:
                assert row["share"] == pytest.approx(row["passes"] / (2 * row["n"]), rel=1e-4)
                assert row["loss"] == pytest.approx(row["loss_sum"] / row["n"], rel=1e-4)
                assert row["loss_squares"] >= row["loss_sum"] ** 2 / row["n"] * (1 - 1e-4)
    assert found["summary"]["participation"] == pytest.approx(passes / (2 * inputs_NT.numel()), rel=1e-4)
    # The error of a stratum's share, by hand: windows are the unit, each with as many such tokens as it has.
    space_NT = kinds_of(inputs_NT.numpy(), BYTES) == KINDS.index("whitespace")
    passed_NT = (digits(inputs_NT).int() + every_fourth(inputs_NT).int()).numpy()
    n_N, y_N = 2 * space_NT.sum(1), (passed_NT * space_NT).sum(1)
    rest_N = y_N - y_N.sum() / n_N.sum() * n_N
    error = math.sqrt(6 / 5 * (rest_N**2).sum()) / n_N.sum()
    assert found["strata"]["kind"]["bins"][-1]["share_se"] == pytest.approx(error, rel=1e-4)


def test_a_predictor_is_scored_and_a_missing_one_has_a_reason() -> None:
    inputs_NT, targets_NT = windows()
    knows = Rule(every_fourth, predicted=lambda x_BT: every_fourth(x_BT) & (x_BT != ord(" ")))
    model = Planted([knows], truth_of(inputs_NT, targets_NT))
    found = describe(model, inputs_NT, targets_NT, tokens_of(), seed=0)
    missed = int((every_fourth(inputs_NT) & (inputs_NT == ord(" "))).sum())
    assert found["predictor"][0]["fn"] == missed > 0
    assert found["predictor"][-1] == {**found["predictor"][0], "layer": None}
    assert found["summary"]["predictor_base_rate"] == 0.75
    assert found["summary"]["predictor_precision"] == 1
    whole = found["summary"]
    assert whole["participation_causal"] == pytest.approx(0.25 - missed / inputs_NT.numel(), rel=1e-4)
    assert whole["gap"] == pytest.approx(whole["loss_causal"] - whole["loss"], abs=1e-5)
    assert abs(whole["gap"]) > 10 * 1e-5
    for stratum in found["strata"].values():
        causal = sum(row["loss_causal_sum"] for row in stratum["bins"])
        assert causal == pytest.approx(whole["loss_causal"] * inputs_NT.numel(), rel=1e-4)
    silent = describe(Planted([Rule(digits)], causal=False), inputs_NT, targets_NT, tokens_of(), seed=0)
    assert silent["predictor"] is None
    assert silent["reasons"]["causal"] == "planted: no causal router"
    assert silent["summary"]["gap"] is None
    unasked = describe(Planted([Rule(digits)]), inputs_NT, targets_NT, tokens_of(), seed=0, causal_too=False)
    assert unasked["reasons"]["causal"] == NOT_ASKED


def test_words_that_go_deep_are_named() -> None:
    inputs_NT, targets_NT = windows(20, 90)
    text = [bytes(row.tolist()) for row in inputs_NT]

    def the(x_BT: Tensor) -> Tensor:
        mask_BT = torch.zeros_like(x_BT, dtype=torch.bool)
        for row, x_T in enumerate(x_BT):
            for found in re.finditer(b" the ", bytes(x_T.tolist())):
                mask_BT[row, found.start() + 1 : found.end() - 1] = True
        return mask_BT

    assert sum(b" the " in row for row in text) >= 8
    found = describe(Planted([Rule(the)]), inputs_NT, targets_NT, tokens_of(), seed=0)["words"]
    assert found["deep"][0]["word"] == "the"
    assert found["deep"][0]["share"] == 1
    assert "striking" in {row["word"] for row in found["shallow"]}


def test_blocks_used_follow_what_they_are_planted_on() -> None:
    """Hard tokens pass: the correlation with difficulty says so, and that with a coin does not."""
    inputs_NT, targets_NT = windows(8, 64)
    hard_NT = surprisal(tokens_of().train, inputs_NT.numpy(), targets_NT.numpy(), VOCAB)
    line = float(np.quantile(hard_NT, 0.75))
    masks = {x.numpy().tobytes(): torch.from_numpy(h > line) for x, h in zip(inputs_NT, hard_NT, strict=True)}
    rule = Rule(lambda x_BT: torch.stack([masks[x_T.numpy().tobytes()] for x_T in x_BT]))
    found = describe(Planted([rule]), inputs_NT, targets_NT, tokens_of(), seed=0)
    hardest = found["strata"]["difficulty"]["bins"][-1]
    assert hardest["share"] == 1
    correlation = found["correlations"]["difficulty"]
    assert correlation["low"] > 0.5
    assert found["summary"]["difficulty_correlation"] == correlation["rho"]


# --- flips


@pytest.mark.slow
def test_a_gate_that_knows_is_told_from_one_that_does_not() -> None:
    inputs_NT, targets_NT = windows(16, 48)
    truth = truth_of(inputs_NT, targets_NT)

    def best(x_BT: Tensor) -> Tensor:
        return worth_of(x_BT) > 0.6

    def blind(x_BT: Tensor, number: int) -> Tensor:
        return torch.frac(torch.sin(x_BT * 3.17 + torch.arange(x_BT.shape[1]) * 41.3 + number) * 1e4)

    def flipped(score: Any) -> dict[str, Any]:
        return flip_effects(Planted([Rule(best, score), Rule(best, score)], truth), inputs_NT, targets_NT, 160, 0)

    knows, sides = flipped(worth_of), ("all", "passed", "skipped")
    assert all(knows["correlation"][side]["rho"] > 0.98 for side in sides)
    assert knows["number"] == 160
    assert knows["windows"] == 16
    assert [row["layer"] for row in knows["by_layer"]] == [1, 3]
    assert knows["worth"]["passed"]["effect"] > 0 > knows["worth"]["skipped"]["effect"]
    coins = [flipped(partial(blind, number=number))["correlation"] for number in range(6)]
    missed = [not each[side]["low"] < 0 < each[side]["high"] for each in coins for side in sides]
    assert sum(missed) <= 4  # one in twenty is expected


@pytest.mark.parametrize("rule", [every_fourth, by_row])
def test_an_effect_is_the_loss_without_the_pass_less_the_loss_with_it(rule: Any) -> None:
    """Each planted pass adds its worth to one logit: the change of that position's loss is known."""
    inputs_NT, targets_NT = windows(4, 32)
    model = Planted([Rule(rule)], truth_of(inputs_NT, targets_NT))
    flips = flip_effects(model, inputs_NT, targets_NT, 40, 3)["flips"]
    assert sum(flips["passed"]) == 20
    assert len({*zip(flips["window"], flips["position"], strict=True)}) == 40  # no decision twice
    for window, position, passed, effect, later in zip(
        *(flips[name] for name in ("window", "position", "passed", "effect", "later")), strict=True
    ):
        assert rule is by_row or passed == (position % 4 == 3)
        gain = float(worth_of(inputs_NT[window : window + 1])[0, position])
        known = math.log(255 + 1) - (math.log(255 + math.exp(gain)) - gain)
        assert effect == pytest.approx(known / 32, rel=1e-3)
        assert later == pytest.approx(known / (32 - position), rel=1e-3)


@pytest.mark.parametrize("model", ["dense", "moe"])
def test_no_token_router_no_flips(model: str) -> None:
    found = flip_effects(built(model), *windows(2, 24), 8, 0)
    assert "no decision to reverse" in found["reason"]
    assert found["correlation"] is None


def test_no_flips_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        flip_effects(Planted([Rule(digits)]), *windows(), 0, 0)
    with pytest.raises(ValueError, match="must be a token"):
        describe(Planted([Rule(digits)]), windows()[0], windows()[1] - 200, tokens_of(), seed=0)
    with pytest.raises(ValueError, match="windows"):
        describe(Planted([Rule(digits)]), torch.zeros(0, 4).long(), torch.zeros(0, 4).long(), tokens_of(), seed=0)


# --- drift


def test_drift_sees_a_router_that_turns_from_places_to_digits() -> None:
    inputs_NT, targets_NT = windows(4, 48)
    drift = Drift(inputs_NT, targets_NT, tokens_of())
    assert drift.as_dict()["reason"] is not None
    for step, rule in ((0, every_fourth), (10, digits), (20, digits)):
        drift.look(Planted([Rule(rule)]), step)
    found = drift.as_dict()
    assert found["steps"] == [0, 10, 20]
    assert found["by_kind"]["digit"][1:] == [1, 1]
    assert found["by_kind"]["digit"][0] < 1
    assert found["by_kind"]["whitespace"][1:] == [0, 0]
    assert found["overlap_with_last"][1:] == [1, 1]
    expected = present(jaccard(every_fourth(inputs_NT).numpy(), digits(inputs_NT).numpy()))
    assert found["overlap_with_last"][0] == pytest.approx(expected[0], rel=1e-4)
    assert found["loss"] == [pytest.approx(math.log(VOCAB), rel=1e-4)] * 3
    assert sum(found["n"].values()) == inputs_NT.numel()


def test_looking_disturbs_no_training() -> None:
    """Modes and random numbers are as before, for a router that draws noise in training too."""
    module = built("mod", router="stochastic", capacity=0.25).train()
    module.blocks[0].eval()
    state = torch.get_rng_state()
    Drift(*windows(2, 24), tokens_of()).look(module, 0)
    describe(module, *windows(2, 24), tokens_of(), seed=0)
    flip_effects(module, *windows(2, 24), 4, 0)
    assert torch.equal(state, torch.get_rng_state())
    seen = [
        describe(each, *windows(2, 24), tokens_of(), seed=0)
        for each in (module, built("mod", router="stochastic", capacity=0.25))
    ]
    assert seen[0] == seen[1]  # looked at in evaluation mode, where the noise is always the same
    Drift(*windows(2, 24), tokens_of()).look(Noisy([Rule(digits)]), 0)
    assert torch.equal(state, torch.get_rng_state())
    assert module.training
    assert not module.blocks[0].training
    assert module.blocks[1].training


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
    inputs_NT, targets_NT = windows()
    module = built(model, **changes)
    found = json.loads(json.dumps(describe(module, inputs_NT, targets_NT, tokens_of(), seed=0), allow_nan=False))
    assert found["summary"]["loss"] == pytest.approx(
        float(nn.functional.cross_entropy(module(inputs_NT).flatten(0, 1), targets_NT.flatten()).detach()), rel=1e-4
    )
    for key in ("matrix", "words", "weights", "overlap", "participation", "predictor", "experts", "depth"):
        assert (found[key] is None) == (key in found["reasons"]), key
    routed = model.startswith("mo")
    assert found["layers"] == ([1, 3] if routed else [])
    if not routed:
        assert found["reasons"]["matrix"] == NO_ROUTER
    assert (found["experts"] is not None) == (model in {"moe", "mode_integrated", "mode_staged"})
    gate = model.startswith("depth") or (model == "early_exit" and not changes)
    assert (found["reasons"].get("depth") == NO_GATE) == (not gate)
    if model == "mod":
        assert [row["top_k"] for row in found["participation"]] == [0.125] * 2
        assert found["reasons"]["experts"] == NO_EXPERTS
        assert [row["what"] for row in found["weights"]] == ["score" if "router" in changes else "weight"] * 2
        assert (found["summary"]["gap"] is None) == (changes.get("causal") == "none")
        assert sum(found["weights"][0]["all"]) == inputs_NT.numel()
        assert sum(found["weights"][0]["passed"]) == inputs_NT.numel() // 8
    if found["experts"]:
        for row in found["experts"]:
            assert sum(row["load"]) == pytest.approx(1, abs=1e-4)
        assert found["experts"][0]["tokens"] == inputs_NT.numel() // (8 if model == "mode_staged" else 1)


def test_what_blocks_computed_is_not_taken_for_the_depth_of_rows() -> None:
    """Exits by token say how many tokens each of 4 blocks computed; there are 4 windows too."""
    found = describe(built("early_exit", exit_by="token"), *windows(4), tokens_of(), seed=0)
    assert found["depth"] is None


def test_experts_that_leave_tokens_alone_say_how_many() -> None:
    """Integrated, one in two assignments is real: as many tokens get no expert as are in no expert's top-k."""
    inputs_NT, targets_NT = windows()
    module = built("mode_integrated", capacity=0.5)
    found = describe(module, inputs_NT, targets_NT, tokens_of(), seed=0)
    taken = [decision.taken_BET.any(1) for decision in module.observe(inputs_NT).decisions]
    assert [row["none"] for row in found["experts"]] == [
        pytest.approx(float(1 - t.float().mean()), rel=1e-4) for t in taken
    ]
    assert found["summary"]["no_expert"] >= 0.5
    assert found["summary"]["participation"] == pytest.approx(1 - found["summary"]["no_expert"], rel=1e-4)
    assert [row["load"] for row in found["experts"]] == [[0.25] * 4] * 2  # experts choose: all take as many


def test_tokens_that_choose_say_which_share_of_their_choices_is_real() -> None:
    """A token may take two experts, so this is not the share of tokens that some expert took."""
    inputs_NT, targets_NT = windows()
    module = built("mode_integrated", capacity=0.5, choice="token", experts_top_k=2)
    found = describe(module, inputs_NT, targets_NT, tokens_of(), seed=0)["summary"]
    module(inputs_NT)
    assert found["real_share"] == pytest.approx(sum(module.pairs) / (2 * 2 * inputs_NT.numel()), abs=1e-6)
    assert found["real_share"] != pytest.approx(found["participation"], abs=0.02)
    of_experts = describe(built("mode_integrated"), inputs_NT, targets_NT, tokens_of(), seed=0)["summary"]
    assert of_experts["real_share"] is None


@pytest.mark.slow
@pytest.mark.parametrize("router", ["learned", "every_n"])
def test_flips_of_every_router(router: str) -> None:
    module = built("mod", router=router, capacity=0.25)
    found = json.loads(json.dumps(flip_effects(module, *windows(8, 32), 64, 0), allow_nan=False))
    assert found["reason"] is None
    assert sum(found["flips"]["passed"]) == 32
    assert set(found["flips"]["layer"]) == {1, 3}
    assert any(effect != 0 for effect in found["flips"]["effect"])
    assert all(found["correlation"][side]["n"] == 64 // (1 + (side != "all")) for side in ("all", "passed", "skipped"))


def test_a_gates_depth_by_length_and_difficulty() -> None:
    """A gate planted to go deep on prompts whose first token is hard."""

    class Gate(nn.Module):
        config = SimpleNamespace(n_layers=4)

        def observe(self, x_BT: Tensor, *, causal: bool = False, prompt_B: Tensor | None = None) -> Observation:
            assert not causal
            del prompt_B
            return Observation(torch.zeros(*x_BT.shape, VOCAB), [], (1 + 3 * (x_BT == ord("~")).any(1)).tolist())

    noise = bytes(np.random.default_rng(0).integers(33, 126, 24).tolist()) + b"~" * 24
    inputs_NT, targets_NT = windows(5, 48, TEXT[:400])
    inputs_NT[2] = inputs_NT[4] = torch.tensor(list(noise))
    found = describe(Gate(), inputs_NT, targets_NT, tokens_of(), seed=0)["depth"]
    assert found["windows"] == [{"depth": 1, "n": 3}, {"depth": 4, "n": 2}]
    assert found["depth"] == pytest.approx(1 + 3 * 2 / 5)
    by_length = {row["length"]: row for row in found["by_length"]}
    assert sorted(by_length) == [8, 16, 32]
    assert by_length[8]["n"] == 30
    assert by_length[8]["depth"] == pytest.approx(1 + 3 * 6 / 30)
    assert sum(row["n"] for row in by_length[8]["by_difficulty"]) == 30
    hardest = by_length[8]["by_difficulty"]
    assert hardest[-1]["depth"] > hardest[0]["depth"] == 1
