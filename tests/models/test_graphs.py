"""Compiled graphs, synchronisations, checkpointing, accumulation: nothing changes but time and memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toolbox import GATES, STATIC, WITH_CAPACITY, build, tokens
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from modbench.harness.call.timing.host_sync import syncs

ROUTED: dict[str, Any] = {"first_routed": 0, "every": 1}  # ignored by models that route nothing
SHAPES: list[Any] = [
    *((name, {}) for name in STATIC),
    pytest.param("mod", {"mixer": "window", "window": 5}, marks=pytest.mark.proof),
    pytest.param("mod", {"mixer": "convolution"}, marks=pytest.mark.proof),
    pytest.param("mod", {"granularity": "attention", "router": "stochastic"}, marks=pytest.mark.proof),
    ("mod", {"granularity": "mlp", "multiplier": "sigmoid", "causal": "aux_loss"}),
    ("moe", {"choice": "token"}),
    pytest.param("mode_staged", {"bidirectional": True}, marks=pytest.mark.proof),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), SHAPES)
def test_static_k_compiles_as_one_graph(name: str, options: dict[str, Any]) -> None:
    """`fullgraph=True` raises at any break; the traced graph gives the same logits, losses and gradients, in one block."""
    if name in WITH_CAPACITY:
        options = {"capacity": 0.5, **options}
    module = build(name, n_layers=1, **ROUTED, **options).eval()
    x_BT = tokens(2, 16)
    traced = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(traced(x_BT), module(x_BT), rtol=1e-4, atol=1e-5)
    if options.get("router") == "stochastic":
        return  # fresh noise in training: nothing to compare
    compiled = torch.compile(module.train(), fullgraph=True, backend="aot_eager")

    def step(model: Any) -> tuple[Tensor, list[Tensor]]:
        module.zero_grad()
        logits, auxiliary = model(x_BT, auxiliary=True)
        loss = logits.square().mean() + auxiliary
        loss.backward()
        return loss.detach(), [p.grad.clone() for p in module.parameters() if p.grad is not None]

    torch.testing.assert_close(step(compiled), step(module), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", STATIC)
def test_static_k_never_synchronises(name: str) -> None:
    module = build(name, **({"capacity": 0.5} if name in WITH_CAPACITY else {})).eval()
    assert syncs(module, tokens()) == []


def test_prefill_without_padding_and_rewinding_never_synchronise() -> None:
    """What is timed is the model's work, not the harness's bookkeeping. (Routed models do ask, once for each routed block.)"""
    module = build("dense").eval()
    assert syncs(module.prefill, tokens(4, 8)) == []
    cache = module.prefill(tokens(4, 8))[1]
    assert syncs(cache.rewind, cache.mark()) == []


def test_syncs_are_seen() -> None:
    """A value read by Python, a shape that depends on data, an index by mask: each is one."""

    class Waits(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            _ = x.sum().item()
            _ = x.nonzero()
            return x[x > 0]

    assert syncs(Waits(), torch.randn(5)) == ["_local_scalar_dense", "nonzero", "index"]
    for name in GATES:
        assert syncs(build(name).eval(), tokens()), name
    routed = build("mod", capacity=0.5).eval()
    assert len(syncs(routed, tokens(), causal=True)) == 2  # one for each of two routed blocks: how many pass at most


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    """All models share the code of one forward: each test starts with an empty cache of graphs."""
    torch._dynamo.reset()


class Checkpointed(nn.Module):
    """A block whose activations are recomputed in the backward pass."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Any) -> Any:
        return checkpoint(self.block, *args, use_reentrant=False)

    def __getattr__(self, name: str) -> Any:
        return (
            super().__getattr__(name) if name in {"block", "_modules"} else getattr(super().__getattr__("block"), name)
        )


@pytest.mark.parametrize("name", STATIC)
def test_checkpointing_changes_nothing(name: str) -> None:
    """Losses and gradients to the bit, auxiliary losses included; no counter moves with the second forward."""
    module = build(name, **({"capacity": 0.5} if name in WITH_CAPACITY else {})).train()
    x_BT = tokens()

    def step() -> list[Tensor]:
        module.zero_grad()
        logits, auxiliary = module(x_BT, auxiliary=True)
        (F.cross_entropy(logits.flatten(0, 1), x_BT.flatten()) + auxiliary).backward()
        return [
            logits.detach(),
            auxiliary.detach(),
            *(p.grad.clone() for p in module.parameters() if p.grad is not None),
        ]

    plain, state = step(), {key: value.clone() for key, value in module.state_dict().items()}
    module.register_module("blocks", nn.ModuleList(Checkpointed(block) for block in module.blocks))
    recomputed = step()
    assert len(plain) == len(recomputed)
    for ours, theirs in zip(recomputed, plain, strict=True):
        assert torch.equal(ours, theirs)
    for key, value in module.state_dict().items():
        assert torch.equal(value, state[key.replace(".block.", ".", 1)]), key


@pytest.mark.parametrize("name", STATIC)
def test_accumulation_changes_nothing(name: str) -> None:
    """Two halves of a batch, losses halved, give the whole batch's gradients."""
    options: dict[str, Any] = {"capacity": 0.5} if name in WITH_CAPACITY else {}
    module = build(name, **options).train()
    x_BT = tokens(4)

    def gradients(*parts: Tensor) -> list[Tensor]:
        module.zero_grad()
        for part_BT in parts:
            logits, auxiliary = module(part_BT, auxiliary=True)
            ((F.cross_entropy(logits.flatten(0, 1), part_BT.flatten()) + auxiliary) / len(parts)).backward()
        return [p.grad.clone() for p in module.parameters() if p.grad is not None]

    whole, halves = gradients(x_BT), gradients(x_BT[:2], x_BT[2:])
    for ours, theirs in zip(halves, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
