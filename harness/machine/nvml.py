"""Data of NVIDIA's driver on its devices, through nvidia-ml-py. A missing driver gives a reason, never a zero.

A query that a device refuses gives null; the others still work. Handles are found by UUID, since NVML's index ignores
CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from modbench.harness.core.errors import Unmeasured

T = TypeVar("T")
Reader = Callable[[], float]


def devices() -> dict[str, Any]:
    """Describe all devices: `{"devices": [...]}`, or `{"devices": [], "reason": why}`; a refused query is null."""
    import pynvml

    try:
        with driver():
            version = text(or_none(pynvml.nvmlSystemGetDriverVersion))
            handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
            found = [_describe(handle) | {"driver": version} for handle in handles]
    except pynvml.NVMLError as error:
        return {"devices": [], "reason": f"NVML: {error}"}
    return {"devices": found} if found else {"devices": [], "reason": "NVML: the driver reports no device"}


@contextlib.contextmanager
def driver() -> Iterator[None]:
    """Start the driver's library, and end it.

    Raises:
        pynvml.NVMLError: if there is none.
    """
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

    A MIG instance has memory and processes of its own; clocks, power and temperature are those of the card that it is a part of.

    Args:
        uuid: as torch writes it, with or without `GPU-` or `MIG-`.

    Raises:
        pynvml.NVMLError: if there is no driver, or no such device.
    """

    def __init__(self, uuid: str) -> None:
        import pynvml

        self.nvml: Any = pynvml
        self.unanswered = 0
        pynvml.nvmlInit()
        self.handle, instance = self._found(uuid)
        self.card = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self.handle) if instance else self.handle
        mode = or_none(pynvml.nvmlDeviceGetMigMode, self.card)
        self.shared = instance or bool(mode and mode[0])

    def _found(self, uuid: str) -> tuple[object, bool]:
        """The handle, and whether it is a MIG instance's; torch names the two kinds of device alike."""
        by_uuid = self.nvml.nvmlDeviceGetHandleByUUID
        if uuid.startswith(("GPU-", "MIG-")):
            return by_uuid(uuid), uuid.startswith("MIG-")
        try:
            return by_uuid(f"GPU-{uuid}"), False
        except self.nvml.NVMLError:
            with contextlib.suppress(self.nvml.NVMLError):
                return by_uuid(f"MIG-{uuid}"), True
            raise

    def energy_mJ(self) -> int:  # noqa: N802  # the unit's own spelling
        """Millijoules since the driver was loaded; updated some ten times a second (Volta and newer).

        Raises:
            Unmeasured: if the card is divided (MIG): its counter is everybody's.
        """
        if self.shared:
            raise Unmeasured("energy: the card is divided (MIG), and its counter is that of all instances together")
        return int(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle))

    def free_bytes(self) -> int:
        """Memory that nobody has taken, in B. Asking torch would create a context, which takes some."""
        return int(self.nvml.nvmlDeviceGetMemoryInfo(self.handle).free)

    def levels(self) -> dict[str, Reader]:
        """Readers of what can change during a measurement, as far as this device answers; they never raise.

        `sm_mhz`, `memory_mhz`, `power_W`, `temperature_C`, `throttle` (bits of the clocks' event reasons) and `foreign`
        (compute processes other than this one).
        """
        nvml, card = self.nvml, self.card
        return self._answered(
            {
                "sm_mhz": lambda: float(nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM)),
                "memory_mhz": lambda: float(nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_MEM)),
                "power_W": lambda: nvml.nvmlDeviceGetPowerUsage(card) / 1e3,
                "temperature_C": lambda: float(nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU)),
                "throttle": lambda: float(nvml.nvmlDeviceGetCurrentClocksEventReasons(card)),
                # In a container process ids are the host's: this process is one of them, whatever its number.
                "foreign": lambda: float(max(0, len(nvml.nvmlDeviceGetComputeRunningProcesses(self.handle)) - 1)),
            },
            # The name before driver 535.
            {"throttle": lambda: float(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(card))},
        )

    def counters(self) -> dict[str, Reader]:
        """Readers of the seconds in which clocks were held down, since the driver was loaded; they never raise.

        `power_capped_s`, `thermal_s` (by software), `thermal_hw_s` and `power_brake_s`, as far as this device answers. Unlike
        the bits of `throttle`, which show one moment, they miss nothing between two readings.
        """
        nvml = self.nvml
        # NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP, _SW_THERM_SLOWDOWN, _HW_THERM_SLOWDOWN, _HW_POWER_BRAKE_SLOWDOWN: older
        # versions of nvidia-ml-py lack the names.
        fields = {"power_capped_s": 74, "thermal_s": 269, "thermal_hw_s": 270, "power_brake_s": 271}
        violations = {"power_capped_s": 0, "thermal_s": 1}  # NVML_PERF_POLICY_POWER and _THERMAL

        def violated_s(policy: int) -> float:
            return float(nvml.nvmlDeviceGetViolationStatus(self.card, policy).violationTime) / 1e9

        return self._answered(
            {name: partial(self._field_s, number) for name, number in fields.items()},
            {name: partial(violated_s, policy) for name, policy in violations.items()},
        )

    def _field_s(self, number: int) -> float:
        """A field of the driver that counts ns (`NVML_FI_DEV_CLOCKS_EVENT_REASON_*`), in s."""
        (field,) = self.nvml.nvmlDeviceGetFieldValues(self.card, [number])
        if field.nvmlReturn:
            raise self.nvml.NVMLError(field.nvmlReturn)
        kinds = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
        return float(getattr(field.value, kinds[field.valueType])) / 1e9

    def _answered(self, asked: dict[str, Reader], older: dict[str, Reader]) -> dict[str, Reader]:
        """The readers that the device answers now, else those of an older driver."""
        answered = {}
        for name, reader in (*older.items(), *asked.items()):
            with contextlib.suppress(self.nvml.NVMLError, AttributeError):
                answered[name] = self._lasting(reader, reader())
        return {name: answered[name] for name in {**asked, **older} if name in answered}

    def _lasting(self, reader: Reader, last: float) -> Reader:
        """A reader that repeats its last value when a query fails, and counts that: columns must stay equally long."""

        def read() -> float:
            nonlocal last
            try:
                last = reader()
            except self.nvml.NVMLError:
                self.unanswered += 1
            return last

        return read

    def missed(self) -> float:
        """Queries that failed since this was last asked."""
        missed, self.unanswered = self.unanswered, 0
        return float(missed)


@dataclass(frozen=True)
class Watched:
    """What the driver says of a device while something is measured on it.

    Attributes:
        counters: column to reader of a count, of which the growth matters.
        levels: column to reader of a value now; `unanswered`, the queries that failed, is the last.
        reason: why there are none; None if there are.
    """

    counters: dict[str, Reader]
    levels: dict[str, Reader]
    reason: str | None = None


def watched() -> Watched:
    """Readers of the device that torch uses; none, and the reason, without a driver."""
    import pynvml
    import torch

    try:
        device = Device(str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid))
    except pynvml.NVMLError as error:
        return Watched({}, {}, f"NVML: {error}")
    counters, levels = device.counters(), device.levels()
    return Watched(counters, levels | {"unanswered": device.missed})


def settled(clock: Callable[[], float]) -> Callable[[], bool]:
    """Make a test, repeated during a warm-up, of whether a clock's last five readings lie within 1 % of one another."""
    seen: list[float] = []

    def ready() -> bool:
        seen.append(clock())
        last = seen[-5:]
        return len(last) == 5 and max(last) <= 1.01 * min(last)

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
