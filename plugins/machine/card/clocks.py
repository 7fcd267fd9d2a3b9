"""Watches the clocks of all GPUs from a process that uses none, while another one works: are they locked?

NVML has no query for locked clocks, so the answer is inferred from readings under load.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from modbench.extend import nvml

PERIOD_S = 0.1
# Readings under load from which the answer is inferred.
ENOUGH = 5
# A card works if its clock is at least this share of its maximum.
WORKING = 0.3


@dataclass
class Clocks:
    """Readings of one card.

    Attributes:
        name: as the driver writes it.
        index: its number for `nvidia-smi -i`.
        most_MHz: its highest SM clock; None if refused.
        sm_MHz: readings under load.
        temperature_C: the same of the temperature.
        power_W: the same of the power.
    """

    name: str
    index: int
    most_MHz: float | None = None
    sm_MHz: list[float] = field(default_factory=list)
    temperature_C: list[float] = field(default_factory=list)
    power_W: list[float] = field(default_factory=list)

    def verdict(self) -> str:
        """Say whether the SM clock is held, and which command holds or frees it."""
        if len(self.sm_MHz) < ENOUGH or self.most_MHz is None:
            return "whether they are locked is not known: the driver gave too few readings under load"
        low, high, select = min(self.sm_MHz), max(self.sm_MHz), f"nvidia-smi -i {self.index}"
        if low == high < self.most_MHz:
            return f"constant below the maximum, so locked, or held by a limit; `sudo {select} -rgc` frees them"
        if low == high:
            return f"constant at the maximum, locked or not; `sudo {select} -lgc {low:.0f},{low:.0f}` makes sure"
        return f"not locked; `sudo {select} -lgc {low:.0f},{low:.0f}` holds the lowest clock seen, `sudo {select} -rgc` frees it"


@contextlib.contextmanager
def watching() -> Iterator[dict[str, Clocks]]:
    """Read all GPUs in the background while the `with` block runs; yields uuid to clocks, empty without a driver."""
    import pynvml

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(nvml.driver())
            found = dict(_card(index) for index in range(pynvml.nvmlDeviceGetCount()))
        except pynvml.NVMLError:
            found = {}
        done = threading.Event()
        reader = threading.Thread(target=_read, args=(found, done), daemon=True)
        reader.start()
        stack.callback(reader.join)
        stack.callback(done.set)  # the last one is called first
        yield {uuid: clocks for uuid, (_, clocks) in found.items()}


def _card(index: int) -> tuple[str, tuple[object, Clocks]]:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    clocks = Clocks(
        name=str(nvml.text(pynvml.nvmlDeviceGetName(handle))),
        index=index,
        most_MHz=nvml.or_none(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM),
    )
    return str(nvml.text(pynvml.nvmlDeviceGetUUID(handle))), (handle, clocks)


def _read(found: dict[str, tuple[object, Clocks]], done: threading.Event) -> None:
    import pynvml

    while not done.wait(PERIOD_S):
        for handle, clocks in found.values():
            now = nvml.or_none(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM)
            if now is None or now < WORKING * (clocks.most_MHz or now):
                continue
            clocks.sm_MHz.append(float(now))
            hot = nvml.or_none(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)
            for readings, value in ((clocks.temperature_C, hot), (clocks.power_W, _watts(handle))):
                if value is not None:
                    readings.append(float(value))


def _watts(handle: object) -> float | None:
    import pynvml

    power_mW = nvml.or_none(pynvml.nvmlDeviceGetPowerUsage, handle)
    return None if power_mW is None else power_mW / 1e3
