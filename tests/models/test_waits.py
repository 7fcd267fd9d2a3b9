"""What the host must not do while a GPU works: wait for it, or copy to it, more often than a decision needs.

A CPU shows waits (`host_syncs`). It does not show copies to the device, which wait as well: a test forbids them by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from toolbox import GATES, STATIC, WITH_CAPACITY, build, tokens
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from modbench.harness.call.timing.host_sync import syncs
from modbench.harness.machine.process.torch_modes import FunctionMode
from modbench.models.layers.decode_cache import Cache
from modbench.models.layers.decoder import Decoder

LENGTHS_B, NEXT_B = torch.tensor([8, 3, 5, 8]), torch.tensor([1, 2, 3, 4])


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


def prefilled(module: Decoder, lengths_B: Tensor | None = LENGTHS_B, steps: int = 0) -> Cache:
    cache = module.eval().prefill(tokens(4, 8), lengths_B)[1]
    for step in range(steps):
        module.decode(tokens(4, 1, seed=step)[:, 0], cache)
    return cache


def forward(module: Decoder) -> None:
    module.eval()(tokens())


def losses(module: Decoder) -> None:
    module.train()(tokens(4, 8), LENGTHS_B, auxiliary=True)


def prompt(module: Decoder) -> None:
    module.eval().prefill(tokens(4, 8), LENGTHS_B)


HALF: dict[str, Any] = {"capacity": 0.5}
EXITS: dict[str, Any] = {"exit_threshold": 0.08}
MASKED: dict[str, Any] = {"decode_policy": "masked"}
CHECKED = 2  # values that Python reads to check lengths, on CPUs only


@pytest.mark.parametrize(
    ("call", "name", "options", "read", "asked"),
    [
        *((forward, name, HALF if name in WITH_CAPACITY else {}, 0, 0) for name in STATIC),
        # But for tokens that choose no-ops: none is dropped, so how many each expert has are shapes, which the host must know.
        (losses, "mod", {}, CHECKED, 0),
        (losses, "moe", {"choice": "token"}, CHECKED, 0),
        (losses, "mode_integrated", {}, CHECKED, 0),
        (losses, "mode_integrated", {"choice": "token", "balance": "threshold"}, CHECKED, 2),
        # Once for its lengths and once for each decision, not once in each block that keeps them.
        (prompt, "dense", {}, CHECKED, 1),
        (prompt, "mod", HALF, CHECKED, 3),
        (prompt, "depth_predictor", {}, CHECKED, 2),
        (prompt, "depth_scale", {}, CHECKED, 2),
        (prompt, "early_exit", {"exit_threshold": 1.0}, CHECKED, 5),
    ],
)
def test_a_call_waits_once_for_each_decision(
    call: Callable[[Decoder], None], name: str, options: dict[str, Any], read: int, asked: int
) -> None:
    module = build(name, **options)
    assert waits(lambda: call(module)) == ["_local_scalar_dense"] * read + ["tolist"] * asked


@pytest.mark.parametrize("lengths_B", [None, LENGTHS_B], ids=["equal", "ragged"])
@pytest.mark.parametrize(
    ("name", "options", "asked"),
    [
        ("dense", {}, 0),
        ("mod", {"router": "synthetic", **HALF}, 2),
        ("moe", {}, 2),
        ("depth_branches", {}, 0),
        ("depth_scale", {"forced_depth": 3}, 0),
        ("early_exit", EXITS, 0),
        # With fixed shapes never: it could not be captured in a graph.
        ("mod", {"router": "norm", **HALF, **MASKED}, 0),
        ("mod", {"router": "synthetic", **HALF, "decode_policy": "budget"}, 0),
        ("mode_staged", {**HALF, **MASKED}, 0),
        ("depth_branches", MASKED, 0),
        ("depth_scale", MASKED, 0),
        ("early_exit", {**EXITS, **MASKED}, 0),
    ],
)
def test_a_step_waits_once_for_each_decision(
    name: str, options: dict[str, Any], asked: int, lengths_B: Tensor | None
) -> None:
    """Under the host policy: routed blocks and experts ask how many; what the prompt decided is not asked again."""
    module = build(name, **options)
    cache = prefilled(module, lengths_B, steps=3)
    assert waits(lambda: module.decode(NEXT_B, cache)) == ["tolist"] * asked
    mark = cache.mark()
    assert waits(lambda: cache.rewind(mark)) == []


def test_waits_are_seen() -> None:
    """A value read by Python, a shape that depends on data, an index by mask: each is one."""

    def call(x: Tensor) -> Tensor:
        _ = x.sum().item()
        _ = x.nonzero()
        return x[x > 0]

    assert syncs(call, torch.randn(5)) == ["_local_scalar_dense", "nonzero", "index"]
    assert waits(lambda: torch.tensor([1.0])) == ["tensor"]
    for name in GATES:
        assert syncs(build(name).eval(), tokens()), name


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"router": "synthetic"}, {"router": "norm"}])
def test_a_replayed_graph_counts_its_own_steps(options: dict[str, Any]) -> None:
    """A replay runs the operators that were recorded, and no Python: participation must not depend on Python's counts."""
    module = build("mod", capacity=0.5, decode_policy="masked", **options)
    eager, graphed = prefilled(module), prefilled(module)
    mark = graphed.mark()
    graph = make_fx(lambda x_B: module.decode_step(x_B, graphed))(NEXT_B)
    graphed.rewind(mark)
    graphed.reset_counts()
    eager.reset_counts()
    for _ in range(6):
        torch.testing.assert_close(graph(NEXT_B), module.decode(NEXT_B, eager))
    assert graphed.participation() == eager.participation()
    assert [share for share in eager.participation() if share is not None]
    graphed.reset_counts()
    assert set(graphed.participation()) == {None}
