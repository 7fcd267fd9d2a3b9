"""Which GPU this process would use, asked of the CUDA driver: without torch, and without a context, which takes memory."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def uuid_in_use() -> str | None:
    """UUID of CUDA's device 0, which CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER decide; None without a driver or a device.

    Written as torch writes it; of a MIG instance the instance's.
    """
    try:
        driver: Any = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    device, uuid = ctypes.c_int(), (ctypes.c_ubyte * 16)()
    # The second version knows MIG instances; the driver has had it since CUDA 11.4.
    ask = getattr(driver, "cuDeviceGetUuid_v2", None) or driver.cuDeviceGetUuid
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0) or ask(uuid, device):
        return None
    digits = bytes(uuid).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
