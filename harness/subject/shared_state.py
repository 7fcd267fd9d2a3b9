"""Global state of the process, which one model could change for all others in it: restored, and named."""

from __future__ import annotations

import os

import torch

from modbench.harness.core import clocks
from modbench.harness.subject.process_settings import SETTINGS, in_words
from modbench.harness.timing.waits import set_sync_debug

# Variables that change what CUDA and its libraries compute, or how fast.
VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_LAUNCH_BLOCKING",
    "NVIDIA_TF32_OVERRIDE",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
PREFIX = "TORCH_CUDNN_SDPA_"

# What loading or building a model changed in this process, by case: a worker makes one record, so one table is enough.
CHANGED: dict[str, str] = {}


def read_all() -> dict[str, object]:
    """The value of every setting now, by name."""
    return {setting.name: setting.read() for setting in SETTINGS}


def restore(threads: int) -> list[str]:
    """Restore the settings of the harness; return what had been changed, in words.

    Args:
        threads: number of threads of the case.
    """
    changed = [f"the clock {name}" for name in clocks.restored()]
    if torch.get_num_threads() != threads:
        changed.append(f"the number of threads to {torch.get_num_threads()}")
        torch.set_num_threads(threads)
    for setting in SETTINGS:
        now = setting.read()
        if now != setting.wanted:
            changed.append(f"{setting.name} to {in_words(now)}")
            setting.write(setting.wanted)
    return changed + (_restore_device() if torch.cuda.is_initialized() else [])


def restore_after(case_id: str, threads: int) -> None:
    """Restore what loading or building a model has changed, and keep it for the record.

    Args:
        case_id: of the model.
        threads: number of threads of the case.
    """
    changed = restore(threads)
    if changed:
        CHANGED[case_id] = " and ".join(changed)


def _restore_device() -> list[str]:
    """The device and stream that work goes to, and whether torch reports waits. Asking a CPU would start CUDA."""
    changed = []
    if torch.cuda.current_device() != 0:
        changed.append(f"the current GPU to {torch.cuda.current_device()}")
        torch.cuda.set_device(0)
    if torch.cuda.current_stream() != torch.cuda.default_stream():
        changed.append("the current stream")
        torch.cuda.set_stream(torch.cuda.default_stream())
    if torch.cuda.get_sync_debug_mode() != 0:
        changed.append(f"the sync-debug mode to {torch.cuda.get_sync_debug_mode()}")
        set_sync_debug(0)
    return changed


def checked(threads: int) -> None:
    """Restore the settings, and raise if a call had changed any.

    Raises:
        RuntimeError: naming what.
    """
    changed = restore(threads)
    if changed:
        raise RuntimeError(f"its call changed {' and '.join(changed)} for every model of the process")


def variables() -> dict[str, str]:
    """Those of `VARIABLES`, and of cuDNN's attention, that are set."""
    return {name: value for name, value in sorted(os.environ.items()) if name in VARIABLES or name.startswith(PREFIX)}
