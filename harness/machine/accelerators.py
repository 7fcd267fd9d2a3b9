"""What can be measured on which accelerator, in words: NVIDIA's cards in full, AMD's in part, others not at all."""

from __future__ import annotations

from modbench.harness.core.errors import UsageError, unknown

DEVICES = ("cpu", "cuda")
# What only NVIDIA's driver tells; on an AMD card these are null with a reason, or have no column.
FROM_NVML = "energy, clocks, throttling and other processes on the card"
# Names that torch gives to devices that modbench does not measure on.
OTHERS = {"mps": "Apple's GPU", "xpu": "Intel's GPU"}
# What would be missing there.
BY_CUDA = "device times, graphs, waits for the host, memory and energy are measured through CUDA"
ROCM = {"rocm", "hip", "amd"}


def check(name: str | None) -> None:
    """Refuse a device that is neither `cpu` nor `cuda`.

    Raises:
        UsageError: for a name that is no device, or one of a device that modbench does not measure on.
    """
    if name is None or name in DEVICES:
        return
    if name in OTHERS:
        raise UsageError(f"device {name!r}: modbench does not measure on {OTHERS[name]}: {BY_CUDA}. Use --device cpu.")
    if name.startswith("cuda:"):
        raise UsageError(
            f"device {name!r}: modbench uses the first GPU that CUDA shows. Set CUDA_VISIBLE_DEVICES={name[5:]} and use "
            "--device cuda."
        )
    if name in ROCM:
        raise UsageError(f"device {name!r}: a ROCm build of torch calls an AMD card 'cuda'. Use --device cuda.")
    raise unknown("device", name, DEVICES)


def build() -> str:
    """Which build of torch this is: `a CPU build`, `a CUDA 13.0 build`, `a ROCm 6.4 build`."""
    import torch

    if torch.version.hip is not None:
        return f"a ROCm {torch.version.hip} build"
    return "a CPU build" if torch.version.cuda is None else f"a CUDA {torch.version.cuda} build"


def not_measured(device: str) -> str | None:
    """What will not be measured on this device with this build of torch, in one sentence; None on a CPU and on NVIDIA's cards."""
    import torch

    if device != "cuda" or torch.version.hip is None:
        return None
    return (
        f"torch {torch.__version__} is {build()}: times, FLOPs and memory are measured; {FROM_NVML} are not, since they come "
        "from NVIDIA's driver. No AMD card has been tried."
    )
