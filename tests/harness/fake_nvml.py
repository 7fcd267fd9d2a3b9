"""NVIDIA's driver without a driver: what nvidia-ml-py would answer for one card."""

from __future__ import annotations

import types
from typing import Any


class FakeNVMLError(Exception):
    pass


def refuse(*_: Any) -> Any:
    """A query that this device does not answer."""
    raise FakeNVMLError("Not Supported")


def fake_pynvml(**changes: Any) -> Any:
    """A driver with one device that refuses one query; energy grows with every reading."""
    energy = [0]

    def spent(_handle: object) -> int:
        energy[0] += 1000
        return energy[0]

    functions: dict[str, Any] = {
        "NVMLError": FakeNVMLError,
        "NVML_CLOCK_SM": 1,
        "NVML_CLOCK_MEM": 2,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: b"590.1",
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda i: i,
        "nvmlDeviceGetHandleByUUID": lambda _uuid: 0,
        "nvmlDeviceGetName": lambda _: "Fake H100",
        "nvmlDeviceGetUUID": lambda _: "GPU-1",
        "nvmlDeviceGetMemoryInfo": lambda _: types.SimpleNamespace(total=80 * 2**30),
        "nvmlDeviceGetEnforcedPowerLimit": refuse,
        "nvmlDeviceGetPersistenceMode": lambda _: 1,
        "nvmlDeviceGetEccMode": lambda _: [1, 1],
        "nvmlDeviceGetMigMode": lambda _: [0, 0],
        "nvmlDeviceGetClockInfo": lambda _, kind: {1: 1980, 2: 2619}[kind],
        "nvmlDeviceGetMaxClockInfo": lambda _, kind: {1: 1980, 2: 2619}[kind],
        "nvmlDeviceGetPowerUsage": lambda _: 512_000,
        "nvmlDeviceGetTemperature": lambda *_: 61,
        "nvmlDeviceGetCurrentClocksEventReasons": lambda _: 0x4,
        "nvmlDeviceGetComputeRunningProcesses": lambda _: ["this one"],
        "nvmlDeviceGetTotalEnergyConsumption": spent,
    }
    return types.SimpleNamespace(**{**functions, **changes})
