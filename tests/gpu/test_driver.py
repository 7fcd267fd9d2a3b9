"""What NVIDIA's driver says of the card while it works: clocks, reasons to slow down, other processes."""

from __future__ import annotations

import time

import pytest
import torch
from present import present

from modbench.harness.machine import nvml


def device() -> nvml.Device:
    return nvml.Device(str(torch.cuda.get_device_properties(0).uuid))


def work(seconds: float) -> None:
    """Keep the card busy."""
    a = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for _ in range(20):
            a @ a
        torch.cuda.synchronize()


def test_clocks_reasons_and_processes_are_read() -> None:
    """Each level that the driver answers is a number; alone on the card, no process is foreign."""
    levels = {name: read() for name, read in device().levels().items()}
    assert {"sm_mhz", "memory_mhz", "temperature_C", "throttle", "foreign"} <= levels.keys()
    assert levels["sm_mhz"] > 0
    assert levels["temperature_C"] > 0
    assert levels["foreign"] == 0


@pytest.mark.plugin("machine")
@pytest.mark.usefixtures("real_card")
def test_a_working_card_speeds_up() -> None:
    from modbench.plugins.machine.card import clocks as card_clocks

    with card_clocks.watching() as clocks:
        work(2.0)
    uuid = str(torch.cuda.get_device_properties(0).uuid)
    (seen,) = [found for key, found in clocks.items() if uuid in key]
    assert len(seen.sm_MHz) >= card_clocks.ENOUGH
    assert max(seen.sm_MHz) <= present(seen.most_MHz)
    assert "not known" not in seen.verdict()
