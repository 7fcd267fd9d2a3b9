"""The same numbers on a card as on a CPU: logits, gradients, decoding, choices."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from toolbox import MODELS, VARIANTS, WITH_CAPACITY, build, grads, name_of, tokens
from torch import Tensor

from modbench.models.layers.decoder import Decoder

# fp32 without TF32: other orders of summation only.
close = partial(torch.testing.assert_close, rtol=1e-3, atol=1e-4)


def both(name: str, **options: Any) -> tuple[Decoder, Decoder]:
    """A model with weights drawn on the CPU, and its copy on the card."""
    module = build(name, **options).eval()
    return module, copy.deepcopy(module).to("cuda")


def named(key: str, said: str) -> str:
    """The mismatch, with the parameter's name."""
    return f"{key}: {said}"


def steps(module: Decoder, x_BT: Tensor, prompt: int) -> list[Tensor]:
    """Logits after the prompt and after each further token."""
    logits_BV, cache = module.prefill(x_BT[:, :prompt])
    return [logits_BV, *(module.decode(x_BT[:, t], cache).clone() for t in range(prompt, x_BT.shape[1]))]


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_logits_are_the_cpus(variant: tuple[str, dict[str, Any]]) -> None:
    name, options = variant
    ours, theirs = both(name, **options)
    with torch.no_grad():
        close(theirs(tokens().to("cuda")).cpu(), ours(tokens()))
        wanted, found = ours(tokens(), causal=True), theirs(tokens().to("cuda"), causal=True).cpu()
    close(found, wanted)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_the_cpus(name: str) -> None:
    ours, theirs = both(name, **({"capacity": 0.5} if name in WITH_CAPACITY else {}))
    wanted, found = grads(ours.train(), tokens()), grads(theirs.train(), tokens().to("cuda"))
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        close(found[key].cpu(), value, msg=partial(named, key))


@pytest.mark.parametrize("policy", ["host", "budget", "masked"])
@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_decoding_is_the_cpus(variant: tuple[str, dict[str, Any]], policy: str) -> None:
    name, options = variant
    ours, theirs = both(name, decode_policy=policy, decode_rows=1.0, **options)
    with torch.no_grad():
        wanted, found = steps(ours, tokens(4, 20), 12), steps(theirs, tokens(4, 20).to("cuda"), 12)
    for mine, other in zip(wanted, found, strict=True):
        close(other.cpu(), mine)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_input_gives_the_same_bits(name: str) -> None:
    """Top-k, gather and scatter on distinct rows: nothing depends on the order in which threads arrive."""
    _, module = both(name, **({"capacity": 0.5} if name in WITH_CAPACITY else {}))
    x_BT = tokens().to("cuda")
    with torch.no_grad():
        first = module(x_BT)
        # Experts may add to one token in any order.
        for _ in range(3):
            if name in {"moe", "mode_integrated", "mode_staged"}:
                close(module(x_BT), first)
            else:
                assert torch.equal(module(x_BT), first)
