"""Compiled graphs, checkpointing, accumulation: nothing changes but time and memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toolbox import STATIC, WITH_CAPACITY, build, tokens
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from modbench.models.layers.decoder import Decoder

ROUTED: dict[str, Any] = {"first_routed": 0, "every": 1}  # ignored by models that route nothing
SHAPES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in STATIC),
    ("mod", {"granularity": "mlp", "multiplier": "sigmoid", "causal": "aux_loss"}),
    ("moe", {"choice": "token"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), SHAPES)
def test_static_k_compiles_as_one_graph(name: str, options: dict[str, Any]) -> None:
    """`fullgraph=True` raises at any break; the traced graph gives the same logits, losses and gradients of padded rows."""
    if name in WITH_CAPACITY:
        options = {"capacity": 0.5, **options}
    module = build(name, n_layers=1, **ROUTED, **options).eval()
    x_BT, lengths_B = tokens(2, 16), torch.tensor([16, 5])
    traced = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(traced(x_BT), module(x_BT), rtol=1e-4, atol=1e-5)
    compiled = torch.compile(module.train(), fullgraph=True, backend="aot_eager")

    def step(model: Any) -> tuple[Tensor, list[Tensor]]:
        module.zero_grad()
        logits, auxiliary = model(x_BT, lengths_B, auxiliary=True)
        loss = logits.square().mean() + auxiliary
        loss.backward()
        return loss.detach(), [p.grad.clone() for p in module.parameters() if p.grad is not None]

    torch.testing.assert_close(step(compiled), step(module), rtol=1e-4, atol=1e-5)


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


def stepped(module: Decoder, *parts_BT: Tensor) -> list[Tensor]:
    """Gradients of a step over parts of a batch, auxiliary losses included."""
    module.zero_grad()
    for x_BT in parts_BT:
        logits, auxiliary = module(x_BT, auxiliary=True)
        ((F.cross_entropy(logits.flatten(0, 1), x_BT.flatten()) + auxiliary) / len(parts_BT)).backward()
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", STATIC)
def test_checkpointing_and_accumulation_change_nothing(name: str) -> None:
    """Gradients of activations that are computed again to the bit, where no counter moves; two halves are near the whole."""
    module, x_BT = build(name, **({"capacity": 0.5} if name in WITH_CAPACITY else {})).train(), tokens(4)
    whole, state = stepped(module, x_BT), {key: value.clone() for key, value in module.state_dict().items()}
    for ours, theirs in zip(stepped(module, x_BT[:2], x_BT[2:]), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    module.register_module("blocks", nn.ModuleList(Checkpointed(block) for block in module.blocks))
    for ours, theirs in zip(stepped(module, x_BT), whole, strict=True):
        assert torch.equal(ours, theirs)
    for key, value in module.state_dict().items():
        assert torch.equal(value, state[key.replace(".block.", ".", 1)]), key
