"""Which GPU is used: asked without a context, and what identifies a machine."""

from __future__ import annotations

import ctypes
import platform
from typing import Any

import pytest

from modbench.harness.machine import certificate, cuda_driver

NODE: dict[str, Any] = {
    "cpu": "c",
    "cores": 64,
    "memory_bytes": 2**40,
    "gpu": {"devices": [{"uuid": f"GPU-{i}"} for i in range(8)]},
}


def of(uuid: str | None, *, visible: str = "0", node: dict[str, Any] = NODE, host: str = "n") -> str:
    """The fingerprint of a machine as it is used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_driver, "uuid_in_use", lambda: uuid)
        patch.setattr(platform, "node", lambda: host)
        patch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return certificate.fingerprint(node, "cuda", 1)


def test_two_gpus_of_a_node_are_two_machines_and_each_is_the_same_in_every_container() -> None:
    """Another host name, and another number of GPUs that are visible beside it."""
    assert of("0") != of("5")
    assert of("5", host="7f3a9c", node=NODE | {"gpu": {"devices": [{"uuid": "GPU-5"}]}}) == of("5")


class Driver:
    """libcuda with a number of devices, whose handles are 40, 41, …"""

    def __init__(self, devices: int) -> None:
        self.devices = devices

    def cuInit(self, _flags: int) -> int:  # noqa: N802  # the driver's name
        return 0 if self.devices else 100

    def cuDeviceGetCount(self, number: Any) -> int:  # noqa: N802
        number._obj.value = self.devices
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:  # noqa: N802
        device._obj.value = 40 + number
        return 0

    def cuDeviceGetUuid_v2(self, uuid: Any, device: Any) -> int:  # noqa: N802
        uuid[:] = range(device.value, device.value + 16)
        return 0


FIRST, SECOND = "28292a2b-2c2d-2e2f-3031-323334353637", "292a2b2c-2d2e-2f30-3132-333435363738"


@pytest.mark.parametrize(
    ("devices", "used", "every"),
    # One device may be an instance of a divided card, which has another kind of name.
    [(0, None, ()), (1, FIRST, ("",)), (2, FIRST, (f"GPU-{FIRST}", f"GPU-{SECOND}"))],
)
def test_the_driver_names_the_device_in_use_and_all_of_several(
    devices: int, used: str | None, every: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: Driver(devices))
    assert cuda_driver.uuid_in_use() == used
    assert cuda_driver.gpus_in_use() == every
