"""The machine's peak, measured: the fastest matrix product and the fastest copy, the roof that data sheets only promise.

As MAMF does (Bekman, *Machine Learning Engineering*): the peak is the fastest product among a few shapes, so that
MFU and rooflines are shares of what was measured here, with these threads and this number format. The products' inputs are
random: zeros draw less power and ran 15 % faster on an A100.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from modbench.harness.call.subject.build import DTYPES
from modbench.harness.machine.process import clocks

# (rows, inner, columns) of the products tried; a CPU is saturated at a few hundred, a GPU at thousands.
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
# On a GPU: long enough to meet its power limit, and so many calls in a row that launching the first does not count.
SECONDS_EACH_ON_GPU, IN_A_ROW = 1.0, 10


def measure_peak(device: str, dtype: str) -> dict[str, Any]:
    """Measure `flop_per_s` and `bytes_per_s`, each the best of repeated calls, with the shape that gave it.

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
    each = f"{IN_A_ROW} in a row, by CUDA events: " if device == "cuda" else ""
    return {
        "device": device,
        "dtype": dtype,
        "threads": torch.get_num_threads(),
        "flop_per_s": rates[shape],
        "shape": "x".join(map(str, shape)),
        "bytes_per_s": 2 * COPY_BYTES[device] / copied,
        "how": f"{each}best torch.mm of {len(rates)} shapes and best copy of {COPY_BYTES[device] // 2**20} MiB (read and write)",
    }


def _best_s(call: Callable[[], object], device: str) -> float:
    """Time of the fastest call within `SECONDS_EACH`, after one to warm up; on a GPU by the device's clock."""
    if device == "cuda":
        return _best_on_gpu_s(call)
    call()
    best, end = float("inf"), clocks.perf_counter() + SECONDS_EACH
    while clocks.perf_counter() < end:
        start = clocks.perf_counter()
        call()
        best = min(best, clocks.perf_counter() - start)
    return best


def _best_on_gpu_s(call: Callable[[], object]) -> float:
    call()
    torch.cuda.synchronize()
    best, end = float("inf"), clocks.perf_counter() + SECONDS_EACH_ON_GPU
    while clocks.perf_counter() < end:
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        call()  # keeps the device busy until all others are queued
        first.record()
        for _ in range(IN_A_ROW):
            call()
        last.record()
        torch.cuda.synchronize()
        best = min(best, first.elapsed_time(last) / 1e3 / IN_A_ROW)
    return best
