"""What this machine can do, measured: the best matrix product and the best copy. Data sheets promise; this is the roof.

As MAMF does (Bekman, *Machine Learning Engineering*): the peak is the fastest product that was found among a few shapes, so that
MFU and rooflines are shares of something that happened here, with these threads and this number format. The products' inputs are
random: zeros draw less power and ran 15 % faster on an A100.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from modbench.harness.subject.subject import DTYPES

# (rows, inner, columns) of the products tried; a CPU is full at a few hundred, a GPU at thousands.
SHAPES = {
    "cpu": (
        (128, 256, 1024),
        (256, 1024, 256),
        (512, 512, 512),
        (1024, 1024, 1024),
        (512, 256, 2048),
        (512, 2048, 256),
    ),
    "cuda": ((4096, 4096, 4096), (8192, 8192, 8192), (8192, 4096, 16384), (16384, 8192, 1280)),
}
# Larger than any cache: the copy must reach memory.
COPY_BYTES = {"cpu": 256 * 2**20, "cuda": 2**30}
SECONDS_EACH = 0.25


def measure_peak(device: str, dtype: str) -> dict[str, Any]:
    """`flop_per_s` and `bytes_per_s`, each the best of repeated calls, with the shape that gave it.

    Args:
        device: `cpu` (with the threads that torch is set to) or `cuda`.
        dtype: the case's number format.
    """
    kind = DTYPES[dtype]
    rates = {}
    for rows, inner, columns in SHAPES[device]:
        a, b = (torch.randn(shape, device=device, dtype=kind) for shape in ((rows, inner), (inner, columns)))
        out = torch.empty(rows, columns, device=device, dtype=kind)
        rates[rows, inner, columns] = 2 * rows * inner * columns / _best_s(lambda: torch.mm(a, b, out=out), device)  # noqa: B023  # called at once
    shape = max(rates, key=lambda key: rates[key])
    source = torch.randn(COPY_BYTES[device] // 4, device=device)
    target = torch.empty_like(source)
    copied = _best_s(lambda: target.copy_(source), device)
    return {
        "device": device,
        "dtype": dtype,
        "threads": torch.get_num_threads(),
        "flop_per_s": rates[shape],
        "shape": "x".join(map(str, shape)),
        "bytes_per_s": 2 * COPY_BYTES[device] / copied,
        "how": f"best torch.mm of {len(rates)} shapes and best copy of {COPY_BYTES[device] // 2**20} MiB (read and write)",
    }


def _best_s(call: Callable[[], object], device: str) -> float:
    """Fastest of the calls that fit the time, after one to warm up."""
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    call()
    wait()
    best, end = float("inf"), time.perf_counter() + SECONDS_EACH
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        wait()
        best = min(best, time.perf_counter() - start)
    return best
