"""Queues that are never interrupted: no waits for the host, decode steps as CUDA graphs, compilation as one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from toolbox import STATIC, WITH_CAPACITY, build, tokens
from torch import Tensor

from modbench.harness.call.subject.generation import Replay
from modbench.harness.call.timing.cuda_events import capture
from modbench.harness.call.timing.host_sync import count_syncs, syncs
from modbench.harness.core.errors import Unmeasured


def options_of(name: str) -> dict[str, Any]:
    return {"capacity": 0.5} if name in WITH_CAPACITY else {}


@pytest.mark.parametrize("name", STATIC)
def test_a_forward_pass_of_static_shapes_never_waits(name: str) -> None:
    module = build(name, **options_of(name)).eval().to("cuda")
    with torch.no_grad():
        module(tokens().to("cuda"))  # tables that are made at the first call
    assert count_syncs(module, tokens().to("cuda")) == 0


@pytest.mark.usefixtures("real_card")
def test_waits_are_counted() -> None:
    """A value read by Python, a shape that depends on data, a copy from the host."""
    x_BT = tokens().to("cuda")
    calls: list[Callable[[Tensor], object]] = [
        lambda x: x.sum().item(),
        lambda x: x.nonzero(),
        lambda x: x[x > 3],
        lambda x: x.tolist(),
        lambda _: torch.tensor([1, 2]).to("cuda"),
    ]
    for call in calls:
        assert syncs(call, x_BT), call


@pytest.mark.usefixtures("real_card")
@pytest.mark.parametrize("policy", ["budget", "masked"])
@pytest.mark.parametrize("name", ["dense", "mod", "mode_staged"])
def test_a_replayed_step_equals_a_step(name: str, policy: str) -> None:
    options = {"capacity": 0.5, "router": "synthetic"} if name != "dense" else {}
    module = build(name, decode_policy=policy, **options).eval().to("cuda")
    prompt = tokens(4, 16).to("cuda")
    with torch.no_grad():
        (_, eager), (_, graphed) = module.prefill(prompt), module.prefill(prompt)
        replay = Replay(module, graphed)
        for step in range(20):
            token_B = torch.full((4,), step, device="cuda")
            torch.testing.assert_close(replay(token_B), module.decode(token_B, eager), rtol=1e-4, atol=1e-5)
    assert graphed.positions == eager.positions
    for ours, theirs in zip(graphed.blocks, eager.blocks, strict=True):
        assert torch.equal(ours.length_B, theirs.length_B)


@pytest.mark.usefixtures("real_card")
def test_what_waits_cannot_be_captured_and_harms_nobody() -> None:
    x = torch.randn(64, 64, device="cuda")
    with pytest.raises(Unmeasured, match="waits for the host"):
        capture(lambda: x.sum().item())
    graph, out = capture(lambda: x @ x)
    graph.replay()
    torch.testing.assert_close(out, x @ x)
