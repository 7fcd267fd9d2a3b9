"""Converted Hugging Face models: equal to the dense model at capacity 1, and to a slow Mixture-of-Depths below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers", reason="the extra hf is not installed")

from hf_tiny import FAMILIES, LAYERS, dense, padded, routed, slow, tokens  # after the check
from transformers import AutoModelForCausalLM

from modbench.plugins.huggingface.mod import Logits, MoDForCausalLM, MoDModel, MoDOptions, build, convert

FAMILY = pytest.mark.parametrize("family", FAMILIES)
CAUSAL = pytest.mark.parametrize("rule", ["threshold", "predictor"])
LENGTHS = (20, 13, 5)


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


def top_k(model: MoDModel, x_BT: Tensor) -> Tensor:
    with model.routed_by("top_k"):
        return logits(model, x_BT)


def name_of_cache(model: MoDModel) -> str:
    return model.routed_layers[0].cache_name


def logits(model: Any, x_BT: Tensor, **told: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(x_BT, use_cache=False, **told).logits
    return found


def written(model: Any, x_BT: Tensor, mask_BT: Tensor | None = None, **told: Any) -> Tensor:
    """What it generates greedily, without the prompt."""
    mask_BT = torch.ones_like(x_BT) if mask_BT is None else mask_BT
    found: Tensor = model.generate(x_BT, attention_mask=mask_BT, max_new_tokens=8, do_sample=False, **told)
    return found[:, x_BT.shape[1] :]


def lengths(model: Any, x_BT: Tensor, mask_BT: Tensor | None = None) -> list[list[int]]:
    """Tokens that each routed layer's cache holds of each row."""
    mask_BT = torch.ones_like(x_BT) if mask_BT is None else mask_BT
    position_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        out = model(x_BT, attention_mask=mask_BT, position_ids=position_BT, use_cache=True)
    return [out[name_of_cache(model)].layers[layer.index].lengths for layer in model.routed_layers]


@pytest.mark.slow
@FAMILY
def test_capacity_1_with_a_neutral_router_is_the_dense_model(family: str) -> None:
    """Logits by every rule; what it generates by the one that generation uses."""
    original, x_BT = dense(family), tokens(3, 20)
    model = convert(original, MoDOptions(capacity=1.0, every=1, first_routed=0, router_init=0.0))
    assert len(model.routed_layers) == LAYERS
    for rule in ("top_k", "threshold", "predictor", "dense"):
        with model.routed_by(rule):
            close(logits(model, x_BT), logits(original, x_BT))
    x_BT, mask_BT = padded([x_BT[row, :length] for row, length in enumerate(LENGTHS)], 20, "left")
    assert torch.equal(written(model, x_BT, mask_BT), written(original, x_BT, mask_BT))


@pytest.mark.slow
@FAMILY
@pytest.mark.parametrize("rule", ["top_k", "threshold"])
def test_logits_are_those_of_a_slow_mixture_of_depths(family: str, rule: str) -> None:
    """Fused attention and eager attention; rows choose different numbers of tokens under the threshold."""
    x_BT = tokens(2, 18)
    model = routed(family, x_BT, capacity=0.4)
    model.route_by(rule)
    want_BTV = torch.stack([slow(dense(family), model, row_T, rule) for row_T in x_BT])
    assert (want_BTV - logits(dense(family), x_BT)).abs().max() > 0.1, "the test cannot tell it from the dense model"
    close(logits(model, x_BT), want_BTV)
    model.set_attn_implementation("eager")  # type: ignore[operator]  # of PreTrainedModel
    close(logits(model, x_BT), want_BTV)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("rule", ["top_k", "threshold", "predictor"])
def test_padding_changes_no_row(family: str, side: str, rule: str) -> None:
    """Under top-k too: k follows the real length, and padding is never chosen."""
    x_BT = tokens(3, 20)
    model = routed(family, x_BT)
    model.route_by(rule)
    parts = [x_BT[row, :length] for row, length in enumerate(LENGTHS)]
    ids_BT, mask_BT = padded(parts, 20, side)
    position_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)  # learned positions need them
    got_BTV = logits(model, ids_BT, attention_mask=mask_BT, position_ids=position_BT)
    for row, part in enumerate(parts):
        close(got_BTV[row][mask_BT[row].bool()], logits(model, part[None])[0])


@pytest.mark.slow
@FAMILY
@CAUSAL
def test_a_ragged_batch_generates_what_each_prompt_does_alone(family: str, rule: str) -> None:
    x_BT = tokens(3, 20)
    model = routed(family, x_BT)
    model.route_by(rule)
    parts = [x_BT[row, :length] for row, length in enumerate(LENGTHS)]
    ids_BT, mask_BT = padded(parts, 20, "left")
    together, stored = written(model, ids_BT, mask_BT), lengths(model, ids_BT, mask_BT)
    for row, part in enumerate(parts):
        assert torch.equal(together[row], written(model, part[None])[0])
        assert [layer[row] for layer in stored] == [layer[0] for layer in lengths(model, part[None])], (
            "padding is stored"
        )


@pytest.mark.slow
@FAMILY
@CAUSAL
def test_decoding_with_a_cache_is_one_forward_pass(family: str, rule: str) -> None:
    """In pieces of 7, 1, 1, 4, 1, … tokens; the cache holds the processed tokens and no others, row by row."""
    x_BT = tokens(3, 20)
    model = routed(family, x_BT)
    model.route_by(rule)
    model.routing.decisions = []
    want_BTV = logits(model, x_BT)
    first, last = (decision.chosen_BT.sum(1).tolist() for decision in model.routing.decisions)
    model.routing.decisions = None
    cache, pieces, start = None, [], 0
    for size in (7, 1, 1, 4, *[1] * 7):
        told: dict[str, Any] = {} if cache is None else {name_of_cache(model): cache}
        with torch.no_grad():
            out: Any = model(x_BT[:, start : start + size], use_cache=True, **told)
        cache, start = out[name_of_cache(model)], start + size
        pieces.append(out.logits)
    close(torch.cat(pieces, 1), want_BTV)
    assert cache is not None
    assert [cache.layers[0].lengths, cache.layers[2].lengths] == [first, last]
    assert cache.layers[0].keys.shape[2] == max(first) < 20 == cache.layers[1].keys.shape[2]
    assert len(set(first)) + len(set(last)) > 2, "rows of one length test nothing"
    assert cache.get_seq_length() == 20


def test_auto_is_top_k_in_training_and_causal_otherwise() -> None:
    x_BT = tokens(2, 20)
    model = routed("llama", x_BT)
    for training, rule in ((True, "top_k"), (False, "threshold")):
        model.train(training)
        found_BTV = logits(model, x_BT)
        with model.routed_by(rule):
            assert torch.equal(found_BTV, logits(model, x_BT))
    assert model.routing.rule == "auto"


def test_only_chosen_tokens_are_computed() -> None:
    """10 of 20 tokens in each of 2 rows reach the layer's MLP; a decode step in which no row passes computes nothing."""
    x_BT, seen = tokens(2, 20), []
    model = routed("llama", x_BT)
    layer: Any = model.routed_layers[0]
    layer.mlp.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[:2]))
    with model.routed_by("top_k"):
        logits(model, x_BT)
    assert (seen, layer.executed_tokens) == ([(2, 10)], 20)
    for one in model.routed_layers:
        one.router.threshold.value.fill_(1e9)
    out = written(model, x_BT)
    assert (len(seen), layer.executed_tokens) == (1, 0)
    assert out.shape == (2, 8)


@pytest.mark.slow
@FAMILY
def test_saved_and_loaded_it_is_the_same_to_the_bit(family: str, tmp_path: Any) -> None:
    """Under the dense model's own names, and tied weights stay tied."""
    x_BT = tokens(2, 20)
    model = routed(family, x_BT, causal="predictor")
    model.save_pretrained(tmp_path)  # type: ignore[operator]  # of PreTrainedModel
    again: Any = MoDForCausalLM.from_pretrained(str(tmp_path))
    assert type(AutoModelForCausalLM.from_pretrained(str(tmp_path))) is type(again)
    assert (type(again), again.options) == (type(model), model.options)
    assert again.state_dict().keys() == model.state_dict().keys() > dense(family).state_dict().keys()
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())
    assert torch.equal(logits(again, x_BT), logits(model, x_BT))
    with torch.no_grad():
        assert torch.equal(build(None, path=str(tmp_path))(x_BT), top_k(model, x_BT))
    half = MoDForCausalLM.from_pretrained(str(tmp_path), dtype=torch.bfloat16)
    assert half.routed_layers[0].router.score_weight.weight.dtype == torch.float32


def test_routers_get_gradients_and_padding_makes_no_nan() -> None:
    ids_BT, mask_BT = padded([tokens(1, n)[0] for n in LENGTHS], 20, "left")
    model = routed("llama").train()
    model.routing.auxiliary = []
    out: Any = model(ids_BT, attention_mask=mask_BT, use_cache=False)
    loss = out.logits.float().logsumexp(-1)[mask_BT.bool()].mean() + sum(model.routing.auxiliary)
    loss.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert bool(weight.grad.isfinite().all()), name
        assert bool(weight.grad.any()), name


def test_the_predictor_learns_nothing_from_the_language_model() -> None:
    """And its own loss reaches no other weight."""
    model = routed("llama").train()
    module = Logits(model)
    module.train()
    module(tokens(2, 20))
    module.aux_loss().backward()
    got = {name for name, weight in model.named_parameters() if weight.grad is not None and bool(weight.grad.any())}
    assert got == {
        name for name, _ in model.named_parameters() if ".router.hidden." in name or ".router.logit." in name
    }


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@torch.no_grad()
def test_as_modbench_decodes_it(family: str) -> None:
    """What prefill and decode give are the causal logits; rewound, the same again. Padding on the right changes nothing."""
    x_BT = tokens(2, 20)
    model = routed(family, x_BT)
    module = Logits(model).eval()
    assert torch.equal(module(x_BT), top_k(model, x_BT))
    causal_BTV = module(x_BT, causal=True)
    close(causal_BTV, logits(model, x_BT))
    logits_BV, cache = module.prefill(x_BT[:, :15])
    close(logits_BV, causal_BTV[:, 14])
    bytes_then, mark = cache.nbytes, cache.mark()
    for _ in range(2):
        for t in range(15, 20):
            close(module.decode(x_BT[:, t], cache), causal_BTV[:, t])
        assert cache.nbytes > bytes_then
        cache.rewind(mark)
    assert cache.nbytes == bytes_then
    close(module(x_BT, torch.tensor([20, 12]))[1, :12], module(x_BT[1:, :12])[0])


def test_a_reversed_decision_changes_its_row_alone() -> None:
    x_BT = tokens(2, 20)
    model = routed("llama", x_BT)
    module = Logits(model).eval()
    seen_BTV, decisions = module.observe(x_BT)
    assert torch.equal(seen_BTV, module(x_BT))
    assert [(each.layer, int(each.chosen_BT.sum())) for each in decisions] == [(0, 20), (2, 20)]
    assert all(each.predicted_BT is not None for each in decisions)
    flip_LBT = torch.zeros(LAYERS, 2, 20, dtype=torch.bool)
    flip_LBT[2, 1, 7] = True
    flipped_BTV, flipped = module.observe(x_BT, flip_LBT=flip_LBT)
    assert (flipped[1].chosen_BT ^ decisions[1].chosen_BT).nonzero().tolist() == [[1, 7]]
    # The chosen tokens of all rows are one product: with one more of them, some processors round the others differently.
    close(flipped_BTV[0], seen_BTV[0])
    assert not torch.allclose(flipped_BTV[1], seen_BTV[1], rtol=0, atol=1e-2)
    assert model.routing.decisions is None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda model: written(model, tokens(2, 20), cache_implementation="static"), "cache_implementation unset"),
        (lambda model: logits(model, tokens(2, 20), attention_mask=torch.ones(2, 1, 20, 20)), r"as \[B, T\]"),
        (lambda _: logits(routed("llama"), tokens(2, 20)), r"no threshold .*model\.calibrate"),
        (
            lambda _: convert(
                dense("qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=0), MoDOptions()
            ),
            "sliding-window",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(call: Callable[[MoDModel], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call(routed("llama", tokens(2, 20)))
