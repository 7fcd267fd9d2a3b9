"""What the host must not do while a GPU works: wait for it, or copy to it, more often than a decision needs.

A CPU shows waits (`host_syncs`). It does not show copies to the device, which wait as well: a test forbids them by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from toolbox import build, tokens
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from modbench.harness.call.timing.host_sync import syncs
from modbench.harness.machine.process.torch_modes import FunctionMode, Operator, OperatorMode, name_of
from modbench.models.layers.decode_cache import Cache
from modbench.models.layers.decoder import Decoder
from modbench.models.layers.router import Threshold

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


MASKED: dict[str, Any] = {"decode_policy": "masked"}


@pytest.mark.parametrize("lengths_B", [None, LENGTHS_B], ids=["equal", "ragged"])
@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("dense", {}, 0),
        ("mod", {"router": "synthetic", "capacity": 0.5}, 2),
        ("mod", {"router": "norm", "capacity": 0.5}, 2),
        ("moe", {}, 2),
        ("depth_branches", {}, 0),
        ("depth_predictor", {}, 0),
        ("depth_scale", {"forced_depth": 3}, 0),
        ("early_exit", {"exit_threshold": 0.08}, 0),
        # With fixed shapes never: it could not be captured in a graph.
        ("mod", {"router": "norm", "capacity": 0.5, **MASKED}, 0),
        ("mod", {"router": "synthetic", "capacity": 0.5, "decode_policy": "budget"}, 0),
        ("mode_staged", {"capacity": 0.5, **MASKED}, 0),
        ("depth_branches", MASKED, 0),
        ("depth_predictor", MASKED, 0),
        ("depth_scale", MASKED, 0),
        ("early_exit", {"exit_threshold": 0.08, **MASKED}, 0),
    ],
)
def test_a_step_waits_once_for_each_decision(
    name: str, options: dict[str, Any], wanted: int, lengths_B: Tensor | None
) -> None:
    """Under the host policy: routed blocks and experts ask how many; what the prompt decided is not asked again."""
    module = build(name, **options)
    cache = prefilled(module, lengths_B, steps=3)
    assert waits(lambda: module.decode(NEXT_B, cache)) == ["tolist"] * wanted


@pytest.mark.parametrize(
    ("name", "options", "decisions"),
    [
        ("dense", {}, 0),
        ("mod", {"capacity": 0.5}, 2),
        ("depth_branches", {}, 1),
        ("depth_predictor", {}, 1),
        ("depth_scale", {}, 1),
        ("early_exit", {"exit_threshold": 1.0}, 4),
    ],
)
def test_a_prompt_waits_once_for_its_lengths_and_once_for_each_decision(
    name: str, options: dict[str, Any], decisions: int
) -> None:
    """Not once in each block that keeps them."""
    module = build(name, **options).eval()
    seen = waits(lambda: module.prefill(tokens(4, 8), LENGTHS_B))
    assert seen == ["_local_scalar_dense"] * 2 + ["tolist"] * (1 + decisions)  # the first two: a check, on CPUs only


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("mod", {}, 0),
        ("mod", {"causal": "aux_loss"}, 0),
        ("moe", {"choice": "token"}, 0),
        ("mode_integrated", {}, 0),
        # None is dropped, so how many each expert has are shapes, which the host must know.
        ("mode_integrated", {"choice": "token", "balance": "threshold"}, 2),
    ],
)
def test_losses_over_padded_rows_never_wait(name: str, options: dict[str, Any], wanted: int) -> None:
    """But for tokens that choose no-ops, once for each routed block."""
    module = build(name, **options).train()
    x_BT = tokens(4, 8)
    checked = ["_local_scalar_dense"] * 2  # of the lengths, on CPUs only
    assert waits(lambda: module(x_BT, LENGTHS_B, auxiliary=True)) == checked + ["tolist"] * wanted


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("mod", {}), ("moe", {"choice": "token"})])
def test_a_padded_step_compiles_as_one_graph(name: str, options: dict[str, Any]) -> None:
    torch._dynamo.reset()
    module = build(name, n_layers=1, first_routed=0, **options).train()
    compiled = torch.compile(module, fullgraph=True, backend="eager")  # gradients: test_graphs
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


@pytest.mark.parametrize("options", [{}, {"mixer": "window", "window": 4}])
def test_the_host_policy_keeps_lengths_on_the_device_too(options: dict[str, Any]) -> None:
    """Steps of all rows, of some and of none, before a mark and after: both copies agree."""
    module = build("mod", router="synthetic", capacity=0.5, **options)
    cache = prefilled(module, LENGTHS_B, steps=4)
    mark = cache.mark()

    def check() -> list[list[int]]:
        lengths = [block.lengths for block in cache.blocks]
        assert [(block.length_B + block.since).tolist() for block in cache.blocks] == lengths
        return [list(each) for each in lengths]

    marked = check()
    for step in range(9):
        module.decode(tokens(4, 1, seed=step)[:, 0], cache)
        check()
    assert check() != marked
    cache.rewind(mark)
    assert check() == marked


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


class _Seen(OperatorMode):
    """Names of the operators that ran, and elements of the largest int64 tensor that one returned."""

    def __init__(self) -> None:
        super().__init__()
        self.names, self.elements = set[str](), 0

    def after(self, operator: Operator, args: Any, out: object) -> None:  # noqa: ARG002  # the hook's signature
        self.names.add(name_of(operator))
        if isinstance(out, Tensor) and out.dtype == torch.int64:
            self.elements = max(self.elements, out.numel())


def test_the_gathers_gradient_sorts_nothing() -> None:
    """The gradient of an index in brackets is `index_put` that accumulates, for which CUDA sorts the indices."""
    module = build("mod", capacity=0.5).train()
    with _Seen() as seen:
        module(tokens()).square().mean().backward()
    assert "index_select" in seen.names
    assert not {name for name in seen.names if "index_put" in name}


@pytest.mark.parametrize("options", [{}, {"mixer": "window", "window": 6}])
def test_masks_of_late_tokens_are_never_squares_of_integers(options: dict[str, Any]) -> None:
    module = build("early_exit", exit_by="token", exit_threshold=0.09, **options).eval()
    b, t = 2, 60
    with _Seen() as seen, torch.no_grad():
        module(tokens(b, t))
    assert 0 < seen.elements < b * t * t
