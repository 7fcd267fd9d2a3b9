"""Prefill and decode: the same numbers as one full forward with the same routing, for every model, policy and raggedness."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from present import present
from toolbox import MODELS, VARIANTS, WITH_ROUTER, build, config, name_of, tokens
from torch import Tensor

from modbench.harness.registry import catalogue
from modbench.models.layers.decode_cache import BlockCache, Cache
from modbench.models.layers.decoder import Decoder
from modbench.models.layers.generate import generate
from modbench.models.mod import MoD


def replay(module: Decoder, x_BT: Tensor, lengths_B: Tensor, *, longest: int | None = None) -> tuple[float, Cache]:
    """Prefill the first `lengths_B` tokens, decode the rest; largest difference from one full forward."""
    t, row_B = x_BT.shape[1], torch.arange(len(x_BT))
    wanted = module(x_BT, causal=True, prompt_B=lengths_B)
    prompt = int(lengths_B.max())
    logits_BV, cache = module.prefill(x_BT[:, :prompt], lengths_B, max_len=longest)
    worst = (logits_BV - wanted[row_B, lengths_B - 1]).abs().max().item()
    for step in range(t - prompt):
        logits_BV = module.decode(x_BT[row_B, lengths_B + step], cache)
        worst = max(worst, (logits_BV - wanted[row_B, lengths_B + step]).abs().max().item())
    return worst, cache


def _policies() -> Iterator[Any]:
    """Every variant under every policy; in a model without a router of tokens, `budget` is `masked`."""
    for variant in VARIANTS:
        for policy in ("host", "budget", "masked"):
            proof = variant[0] not in WITH_ROUTER and policy == "budget"
            marks = pytest.mark.proof if proof else ()
            yield pytest.param(variant, policy, id=f"{name_of(variant)}-{policy}", marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "policy"), list(_policies()))
def test_decode_equals_one_forward(variant: tuple[str, dict[str, Any]], policy: str) -> None:
    """B = 4, prompts of 5, 17, 1 and 12 tokens, rows that skip; every policy (a budget of all rows overflows nowhere)."""
    name, options = variant
    module = build(name, decode_policy=policy, decode_rows=1.0, **options).eval()
    with torch.no_grad():
        worst, cache = replay(module, tokens(4, 28), torch.tensor([5, 17, 1, 12]))
    assert worst < 2e-5
    assert sum(cache.overflow()) == 0
    shares = [share for share in cache.participation() if share is not None]
    if name in WITH_ROUTER:
        assert all(0 < share < 1 for share in shares), shares  # some passed, some skipped: the test saw both


@pytest.mark.slow
@given(
    name=st.sampled_from(["mod", "mode_staged", "dense", "mode_integrated", "early_exit"]),
    shape=st.fixed_dictionaries(
        {
            "capacity": st.floats(0.05, 1.0),
            "every": st.integers(1, 3),
            "n_heads": st.sampled_from([2, 4]),
            "n_kv_heads": st.sampled_from([1, 2]),
            "decode_policy": st.sampled_from(["host", "masked"]),
        }
    ),
    bf16=st.booleans(),
    t=st.integers(3, 40),
    data=st.data(),
)
def test_decode_equals_one_forward_on_any_shape(
    name: str, shape: dict[str, Any], bf16: bool, t: int, data: st.DataObject
) -> None:
    lengths_B = torch.tensor(data.draw(st.lists(st.integers(1, t - 1), min_size=1, max_size=5)))
    routed = {"capacity", "every"} - catalogue.model_options(name).keys()
    options = {key: value for key, value in {**shape, "first_routed": 0}.items() if key not in routed}
    if name in WITH_ROUTER:
        options["router"] = "synthetic"  # decisions that rounding cannot flip
    if name == "early_exit":
        options["exit_threshold"] = 1.0
    module = build(name, **options).eval()
    x_BT = tokens(len(lengths_B), t + int(lengths_B.max()))
    with torch.no_grad():
        if bf16 and name != "mode_integrated":  # a threshold on probabilities may flip where bf16 rounds them
            module = module.to(torch.bfloat16)
            worst, _ = replay(module, x_BT[:, :t], lengths_B)
            assert worst < 0.25  # logits have deviation 1; bf16 carries 3 digits through 4 blocks
        else:
            worst, _ = replay(module, x_BT[:, :t], lengths_B)
            assert worst < 5e-5


def test_a_budget_that_is_too_small_prefers_high_scores_and_counts_overflow() -> None:
    """Two of four rows fit; everybody wants to pass: two are computed at each step, two are counted as overflow."""
    module = build(
        "mod", router="synthetic", capacity=0.5, participation=1.0, decode_policy="budget", decode_rows=0.5, n_layers=2
    ).eval()
    _, cache = module.prefill(tokens(4, 6), max_len=40)
    cache.reset_counts()
    block, before = cache.blocks[1], cache.blocks[1].length_B.clone()
    for step in range(8):
        module.decode(tokens(4, 1, seed=step)[:, 0], cache)
    assert cache.participation() == [None, 0.5]
    assert cache.overflow() == [0, 16]
    assert (block.length_B - before).sum() == 16  # nothing was stored for those who did not fit
    wants, r_B = torch.ones(4, dtype=torch.bool), torch.tensor([0.1, 3.0, -1.0, 2.0])
    rows = block.admit(wants, r_B)
    assert sorted(present(rows.index_R).tolist()) == [1, 3]


def test_a_full_fixed_cache_skips_and_counts() -> None:
    shape = config(router="synthetic", capacity=0.1, participation=1.0, decode_policy="masked", n_layers=2)
    cache = BlockCache(shape, 2, 60, torch.zeros(1), share=0.1, routed=True)
    cache.slots = 3
    wants, r_B, k = torch.ones(2, dtype=torch.bool), torch.zeros(2), torch.randn(2, 4, 1, 8)
    for _ in range(5):
        cache.append(k, k, cache.admit(wants, r_B))
    assert cache.length_B.tolist() == [3, 3]
    assert int(cache.overflow) == 4


def test_a_cache_grows_if_more_tokens_are_selected_than_expected() -> None:
    module = build("mod", router="synthetic", capacity=0.1, participation=0.9).eval()
    short = BlockCache(module.config, 1, 64, torch.zeros(1), share=0.1, routed=True)
    assert short.slots == 7
    with torch.no_grad():
        worst, _ = replay(module, tokens(2, 60), torch.tensor([20, 33]))
    assert worst < 2e-5
    k = torch.randn(1, 4, 20, 8)
    short.fill(k, k, None)
    assert short.slots >= 20
    assert torch.equal(short.k_BKSd[:, :, :20], k)


def test_prompts_routed_by_top_k_route_at_least_one_token() -> None:
    """prefill = "top_k": k follows each prompt's real length, at least one; pads win nothing."""
    module = build("mod", capacity=0.25, prefill="top_k", n_layers=2).eval()
    _, cache = module.prefill(tokens(4, 16), torch.tensor([16, 8, 3, 1]))
    assert cache.blocks[1].lengths == [4, 2, 1, 1]
    assert cache.participation()[1] == 8 / 28


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_generate_is_greedy_decode_and_repeats_with_a_seed(name: str) -> None:
    module = build(name).eval()
    x_BT, lengths_B = tokens(3, 10), torch.tensor([10, 4, 7])
    got_BN, cache = generate(module, x_BT, 6, lengths_B=lengths_B)
    assert got_BN.shape == (3, 6)
    for row, length in enumerate(lengths_B.tolist()):  # by hand, one row alone, each token from a full forward
        text = x_BT[row : row + 1, :length]
        for _ in range(6):
            logits = module(text, causal=True, prompt_B=torch.tensor([length]))
            text = torch.cat((text, logits[:, -1:].argmax(-1)), dim=1)
        assert text[0, length:].tolist() == got_BN[row].tolist()
    assert cache.positions == [15, 9, 12]
    drawn = [
        generate(module, x_BT, 6, temperature=2.0, generator=torch.Generator().manual_seed(seed))[0]
        for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


DENSE = build("dense").eval()
CACHE = DENSE.prefill(tokens(2, 8), max_len=8)[1]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: DENSE(torch.zeros(3, dtype=torch.int64)), "int64 \\[B, T\\]"),
        (lambda: DENSE(torch.zeros((2, 0), dtype=torch.int64)), "are empty"),
        (lambda: DENSE.prefill(torch.zeros((0, 4), dtype=torch.int64)), "are empty"),
        (lambda: DENSE(tokens(1, 65)), "more than max_seq_len 64"),
        (lambda: DENSE(tokens(2, 4), torch.tensor([0, 4])), "between 1 and 4"),
        (lambda: DENSE(tokens(2, 4), torch.tensor([4])), "lengths must be int64 \\[2\\]"),
        (lambda: DENSE.prefill(tokens(1, 9), max_len=8), "do not fit max_len 8"),
        (lambda: build("dense").decode(torch.zeros(2, dtype=torch.int64), CACHE), "another model"),
        (lambda: DENSE.decode(torch.zeros(3, dtype=torch.int64), CACHE), "tokens \\[2\\]"),
        (lambda: DENSE.decode(torch.zeros(2, dtype=torch.int64), CACHE), "full at 8"),
        (lambda: build("mod", causal="none").prefill(tokens(1, 4)), "no causal router"),
        (lambda: MoD(config(capacity=0.5, router="norm"))(tokens(1, 4), causal=True), "calibrate"),
        (lambda: build("dense", bidirectional=True).prefill(tokens(1, 4)), "cannot generate"),
        (lambda: generate(DENSE, tokens(1, 4), 0), "at least 1"),
        (lambda: build("depth_branches", n_branches=4), "n_branches 4 needs"),
        (lambda: build("depth_branches", forced_depth=1), "none of \\[2, 3, 4\\]"),
        (lambda: build("early_exit", exit_by="token", bidirectional=True), "exit_by"),
    ],
)
def test_bad_input_is_refused_in_words(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.parametrize("policy", ["host", "budget", "masked"])
@pytest.mark.parametrize("mixer", [{"mixer": "window", "window": 16}, {"mixer": "convolution", "kernel_size": 16}])
def test_a_routed_ring_keeps_its_whole_width(policy: str, mixer: dict[str, Any]) -> None:
    """More tokens pass than the capacity says; the ring holds all that the mixer reaches all the same."""
    options: dict[str, Any] = {"causal": "aux_loss", "capacity": 0.125, "decode_rows": 1.0, **mixer}
    module = build("mod", decode_policy=policy, **options).eval()
    with torch.no_grad():
        worst, cache = replay(module, tokens(3, 44), torch.tensor([20, 5, 1]), longest=64)
    assert worst < 2e-5
    assert [block.slots for block in cache.blocks] == [16] * 4


@pytest.mark.parametrize(
    ("name", "options", "of_a_row"),
    [
        ("dense", {}, 4 * 24 * 64),
        ("dense", {"mixer": "window", "window": 8}, 4 * 8 * 64),
        ("dense", {"mixer": "convolution"}, 4 * 7 * 32),  # 7 values of each block and no keys
        ("mod", {"capacity": 0.125}, (2 + 2 * 0.125) * 24 * 64),  # a routed block stores nothing of what bypasses it
    ],
)
def test_a_cache_holds_the_bytes_that_the_closed_form_says(name: str, options: dict[str, Any], of_a_row: float) -> None:
    """After a context that is longer than the mixer reaches."""
    module = build(name, **options).eval()
    _, cache = module.prefill(tokens(2, 24), max_len=24)
    assert cache.nbytes == 4 * 2 * of_a_row
    assert cache.nbytes == 4 * present(catalogue.load("models", name).decode_cost(module.config, 24, 2)).held


@pytest.mark.parametrize("options", [{}, {"mixer": "window", "window": 4}, {"mixer": "convolution", "kernel_size": 4}])
@pytest.mark.parametrize("policy", ["host", "masked"])
def test_rewinding_repeats_the_same_numbers(policy: str, options: dict[str, Any]) -> None:
    module = build("mod", router="synthetic", capacity=0.5, decode_policy=policy, **options).eval()
    x_BT = tokens(2, 20)
    _, cache = module.prefill(x_BT[:, :2])
    mark = cache.mark()
    runs = []
    for _ in range(2):
        cache.rewind(mark)
        runs.append(torch.stack([module.decode(x_BT[:, 2 + i], cache) for i in range(12)]))
    torch.testing.assert_close(*runs)
