"""What the NVIDIA driver says of its devices, through nvidia-ml-py. No driver is a reason, never a zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def devices() -> dict[str, Any]:
    """`{"devices": [...]}`, or `{"devices": [], "reason": why}`; a query that one device refuses is null there."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return {"devices": [], "reason": f"NVML: {error}"}
    try:
        driver = _text(_or_none(pynvml.nvmlSystemGetDriverVersion))
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            found.append(
                {
                    "name": _text(_or_none(pynvml.nvmlDeviceGetName, handle)),
                    "uuid": _text(_or_none(pynvml.nvmlDeviceGetUUID, handle)),
                    "memory_bytes": getattr(_or_none(pynvml.nvmlDeviceGetMemoryInfo, handle), "total", None),
                    "power_limit_mW": _or_none(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle),
                    "persistence_mode": _or_none(pynvml.nvmlDeviceGetPersistenceMode, handle),
                    "driver": driver,
                }
            )
    except pynvml.NVMLError as error:
        return {"devices": [], "reason": f"NVML: {error}"}
    finally:
        pynvml.nvmlShutdown()
    return {"devices": found} if found else {"devices": [], "reason": "NVML: the driver reports no device"}


def _or_none(query: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401  # whatever the query returns
    import pynvml

    try:
        return query(*arguments)
    except pynvml.NVMLError:
        return None


def _text(value: Any) -> Any:  # noqa: ANN401  # older bindings return bytes
    return value.decode() if isinstance(value, bytes) else value
