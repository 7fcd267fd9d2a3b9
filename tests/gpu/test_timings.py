"""Three timings of one call: end to end, device, graph. Each where it must be, and the doubts that they raise or do not."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor

from modbench.harness.call.subject.subject import Subject
from modbench.harness.call.timing.cuda_events import DeviceTimer, GraphTimer, device_share
from modbench.harness.core.config import ModelConfig
from modbench.harness.domain.case import Case, GridPoint
from modbench.harness.measure.warnings.gpu import LEAST_BUSY
from modbench.harness.registry.case_facts import with_facts

# A model that keeps any card busy, and one that does not.
LARGE: dict[str, int] = {"d_model": 2048, "n_layers": 4, "seq_len": 8192}
SMALL: dict[str, int] = {"d_model": 64, "n_layers": 4, "seq_len": 32}
TINY: dict[str, int] = {"d_model": 64, "n_layers": 1, "seq_len": 16}


def subject(seq_len: int, **shape: int) -> Subject:
    grid_point = GridPoint(seq_len=seq_len, batch_size=1, dtype="bf16", device="cuda", threads=1, compile=False)
    config = ModelConfig.model_validate({"max_seq_len": seq_len, **shape})
    return Subject(with_facts(Case(model="dense", variant_parts=(), config=config, grid_point=grid_point)), 0)


def end_to_end_s(call: Any, tokens_BT: Tensor, calls: int = 15) -> float:
    seconds = []
    for _ in range(calls + 5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call(tokens_BT)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return median(seconds[5:])


def test_the_three_timings_run() -> None:
    """On any card, a pretend one too: without an error, and with a time."""
    made = subject(**TINY)
    tokens_BT = made.inputs(0, 1)[0]
    assert end_to_end_s(made.forward, tokens_BT) > 0
    assert DeviceTimer(made.forward, tokens_BT)(tokens_BT)["device/wall_s"] > 0
    graph = GraphTimer(made.forward, tokens_BT)
    graph(tokens_BT)


@pytest.mark.usefixtures("real_card")
def test_where_the_device_is_busy_the_three_agree() -> None:
    made = subject(**LARGE)
    tokens_BT = made.inputs(0, 1)[0]
    whole = end_to_end_s(made.forward, tokens_BT)
    timer = DeviceTimer(made.forward, tokens_BT)
    rows = [timer(tokens_BT) for _ in range(15)]
    graph = end_to_end_s(GraphTimer(made.forward, tokens_BT), tokens_BT)
    device = median(row["device/wall_s"] for row in rows)
    assert sum(row["starved"] for row in rows) <= 2, "the spin must outlast the launches, but for a pause of the host"
    assert device == pytest.approx(whole, rel=0.15)
    assert graph == pytest.approx(whole, rel=0.15)
    share = device_share(made.forward, tokens_BT, whole)
    assert share["device_share"] >= LEAST_BUSY
    assert share["escaped"] == 0


@pytest.mark.usefixtures("real_card")
def test_a_small_model_is_process_bound() -> None:
    """The device works for less than 70 % of the time; a graph takes the processes away, and is faster."""
    made = subject(**SMALL)
    tokens_BT = made.inputs(0, 1)[0]
    whole = end_to_end_s(made.forward, tokens_BT)
    share = device_share(made.forward, tokens_BT, whole)
    assert share["starved"] <= 0.4, "the spin must outlast the launches, but for a pause of the host"
    assert share["device_share"] < LEAST_BUSY
    graph = end_to_end_s(GraphTimer(made.forward, tokens_BT), tokens_BT)
    assert share["device_s"] < whole
    assert graph < whole


@pytest.mark.usefixtures("real_card")
def test_a_model_that_waits_starves_the_device() -> None:
    made = subject(**SMALL)
    tokens_BT = made.inputs(0, 1)[0]

    def waiting(x_BT: Tensor) -> None:
        made.forward(x_BT)
        x_BT.sum().item()
        made.forward(x_BT)

    timer = DeviceTimer(waiting, tokens_BT)
    assert all(timer(tokens_BT)["starved"] for _ in range(5))


@pytest.mark.usefixtures("real_card")
def test_work_on_another_stream_escapes() -> None:
    side, big = torch.cuda.Stream(), torch.randn(4096, 4096, device="cuda")

    def elsewhere(_x_BT: Tensor) -> None:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(20):
                big @ big

    timer = DeviceTimer(elsewhere, torch.zeros(1, 1, device="cuda"))
    row = timer(torch.zeros(1, 1, device="cuda"))
    assert row["escaped_s"] > row["device/wall_s"]
