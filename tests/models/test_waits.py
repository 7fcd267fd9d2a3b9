"""What the host must not do while a GPU works: wait for it, or copy to it, more often than a decision needs.

A CPU shows waits (`host_syncs`). It does not show copies to the device, which wait as well: a test forbids them by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from toolbox import build, tokens

from modbench.harness.core.torch_modes import FunctionMode
from modbench.harness.timing.host_syncs import syncs
from modbench.models.layers.router import Threshold

LENGTHS_B = torch.tensor([8, 3, 5, 8])


class _Copies(FunctionMode):
    """Tensors made of Python's numbers: on a GPU, copies that the host waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def before(self, name: str) -> None:
        if name in {"tensor", "as_tensor"}:
            self.seen.append(name)


def waits(call: Callable[[], object]) -> list[str]:
    """Everything that one call makes the host wait for, copies to the device included."""
    copies = _Copies()
    with copies:
        seen = syncs(call)
    return seen + copies.seen


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mod", {}),
        ("mod", {"causal": "aux_loss"}),
        ("moe", {"choice": "token"}),
        ("mode_integrated", {"choice": "token"}),
    ],
)
def test_losses_over_padded_rows_never_wait(name: str, options: dict[str, Any]) -> None:
    module = build(name, **options).train()
    checked = ["_local_scalar_dense"] * 2  # of the lengths, on CPUs only
    x_BT = tokens(4, 8)
    assert waits(lambda: module(x_BT, LENGTHS_B, auxiliary=True)) == checked


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("mod", {}), ("moe", {"choice": "token"})])
def test_a_padded_step_compiles_as_one_graph(name: str, options: dict[str, Any]) -> None:
    torch._dynamo.reset()
    module = build(name, n_layers=2, **options).train()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(*(one(tokens(4, 8), LENGTHS_B, auxiliary=True) for one in (compiled, module)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_threshold_knows_that_it_is_set() -> None:
    """After `set`, after loading, and in a copy; a loaded NaN is not a threshold."""
    unset, made = Threshold(None), Threshold(None)
    assert not unset.is_set
    made.set(torch.arange(4.0), 0.5)
    assert made.is_set
    assert waits(lambda: made.is_set) == []
    other = Threshold(None)
    other.load_state_dict(made.state_dict())
    assert other.is_set
    other.load_state_dict(unset.state_dict())
    assert not other.is_set
    assert Threshold(None).to("meta").is_set
