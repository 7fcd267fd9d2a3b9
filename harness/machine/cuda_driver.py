"""Which GPU this process would use, asked of the CUDA driver: without torch, and without a context, which takes memory."""

from __future__ import annotations

import ctypes
import sys

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def uuid_in_use() -> str | None:
    """UUID of CUDA's device 0, which CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER decide; None without a driver or a device.

    Written as torch writes it; of a MIG instance the instance's.
    """
    driver = _driver()
    return None if driver is None or driver.cuInit(0) else _uuid(driver, 0)


def _driver() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:
        return None


def _uuid(driver: ctypes.CDLL, index: int) -> str | None:
    device, uuid = ctypes.c_int(), (ctypes.c_ubyte * 16)()
    # The second version knows MIG instances; the driver has had it since CUDA 11.4.
    ask = getattr(driver, "cuDeviceGetUuid_v2", None) or driver.cuDeviceGetUuid
    if driver.cuDeviceGet(ctypes.byref(device), index) or ask(uuid, device):
        return None
    digits = bytes(uuid).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def gpus_in_use() -> tuple[str, ...]:
    """UUIDs of all devices that CUDA shows, as CUDA_VISIBLE_DEVICES takes them; empty without a driver.

    An instance of a divided card (MIG) is the only device that CUDA shows, and has no such name: it gives one empty name.
    """
    driver = _driver()
    number = ctypes.c_int()
    if driver is None or driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(number)):
        return ()
    if number.value == 1:
        return ("",)
    found = [_uuid(driver, index) for index in range(number.value)]
    return tuple(f"GPU-{uuid}" for uuid in found if uuid is not None)
