"""Data of NVIDIA's driver on its devices, through nvidia-ml-py. A missing driver gives a reason, never a zero.

A query that a device refuses gives null; the others still work. Handles are found by UUID, since NVML's index ignores
CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def devices() -> dict[str, Any]:
    """Describe all devices: `{"devices": [...]}`, or `{"devices": [], "reason": why}`; a refused query is null."""
    import pynvml

    try:
        with _driver():
            driver = text(or_none(pynvml.nvmlSystemGetDriverVersion))
            handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
            found = [_describe(handle) | {"driver": driver} for handle in handles]
    except pynvml.NVMLError as error:
        return {"devices": [], "reason": f"NVML: {error}"}
    return {"devices": found} if found else {"devices": [], "reason": "NVML: the driver reports no device"}


@contextlib.contextmanager
def _driver() -> Iterator[None]:
    import pynvml

    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _describe(handle: object) -> dict[str, Any]:
    import pynvml

    ecc = or_none(pynvml.nvmlDeviceGetEccMode, handle)
    mig = or_none(pynvml.nvmlDeviceGetMigMode, handle)
    return {
        "name": text(or_none(pynvml.nvmlDeviceGetName, handle)),
        "uuid": text(or_none(pynvml.nvmlDeviceGetUUID, handle)),
        "memory_bytes": getattr(or_none(pynvml.nvmlDeviceGetMemoryInfo, handle), "total", None),
        "power_limit_mW": or_none(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle),
        "persistence_mode": or_none(pynvml.nvmlDeviceGetPersistenceMode, handle),
        "ecc_mode": ecc[0] if ecc else None,
        "mig_mode": mig[0] if mig else None,
    }


class Device:
    """One device, read by a process that uses it.

    Args:
        uuid: as torch writes it, with or without `GPU-`.

    Raises:
        pynvml.NVMLError: if there is no driver, or no such device.
    """

    def __init__(self, uuid: str) -> None:
        import pynvml

        self.nvml: Any = pynvml
        pynvml.nvmlInit()
        name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
        self.handle = pynvml.nvmlDeviceGetHandleByUUID(name)

    def energy_mJ(self) -> int:  # noqa: N802  # the unit's own spelling
        """Millijoules since the driver was loaded; updated some ten times a second (Volta and newer)."""
        return int(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle))

    def levels(self) -> dict[str, Callable[[], float]]:
        """Readers of what can change during a measurement, as far as this device answers.

        `sm_mhz`, `memory_mhz`, `power_W`, `temperature_C`, `throttle` (bits of the clocks' event reasons) and `foreign`
        (compute processes other than this one).
        """
        nvml, handle = self.nvml, self.handle
        asked: dict[str, Callable[[], float]] = {
            "sm_mhz": lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            "memory_mhz": lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
            "power_W": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
            "temperature_C": lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            "throttle": lambda: float(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)),
            # In a container process ids are the host's: this process is one of them, whatever its number.
            "foreign": lambda: float(max(0, len(nvml.nvmlDeviceGetComputeRunningProcesses(handle)) - 1)),
        }

        # The name before driver 535; asked first, so that the newer one replaces it where both answer.
        def older() -> float:
            return float(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))

        answered = {}
        for name, reader in (("throttle", older), *asked.items()):
            with contextlib.suppress(nvml.NVMLError, AttributeError):
                reader()
                answered[name] = reader
        return answered


def levels() -> dict[str, Callable[[], float]]:
    """Readers of the device that torch uses; empty without a driver."""
    import pynvml
    import torch

    try:
        return Device(str(torch.cuda.get_device_properties(0).uuid)).levels()
    except pynvml.NVMLError:
        return {}


def settled(clock: Callable[[], float], readings: int = 5, within: float = 0.01) -> Callable[[], bool]:
    """Make a test, repeated during a warm-up, of whether a clock's last readings lie within 1 % of one another."""
    seen: list[float] = []

    def ready() -> bool:
        seen.append(clock())
        last = seen[-readings:]
        return len(last) == readings and max(last) <= (1 + within) * min(last)

    return ready


def or_none(query: Callable[..., T], *arguments: object) -> T | None:
    """The answer of a query, or None if the device refuses it."""
    import pynvml

    try:
        return query(*arguments)
    except pynvml.NVMLError:
        return None


def text(value: str | bytes | None) -> str | None:
    """The text of an answer: older bindings return bytes."""
    return value.decode() if isinstance(value, bytes) else value
