"""What NVIDIA's driver says of the card while it works: clocks, reasons to slow down, other processes, energy."""

from __future__ import annotations

import time

import pynvml
import pytest
import torch
from present import present

from modbench.harness.core.errors import Unmeasured
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


@pytest.mark.usefixtures("real_card")
def test_energy_grows_with_work() -> None:
    """Twice the work takes more energy, and a working card takes more power than an idle one."""
    try:
        card = device()
        card.energy_mJ()
    except (pynvml.NVMLError, Unmeasured) as error:
        pytest.skip(f"this card has no energy counter: {error}")

    def spent(seconds: float, *, busy: bool) -> float:
        before = card.energy_mJ()
        work(seconds) if busy else time.sleep(seconds)
        return (card.energy_mJ() - before) / 1e3

    work(1.0)
    once, twice = spent(2.0, busy=True), spent(4.0, busy=True)
    time.sleep(1.0)
    idle = spent(2.0, busy=False)
    assert twice > 1.5 * once
    assert once > idle
