"""Global state of the process, which one model could change for all others in it: restored, and named."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from modbench.harness.process import clocks
from modbench.harness.subject.process_settings import SETTINGS, in_words
from modbench.harness.timing.host_sync import set_sync_debug

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


@dataclass(frozen=True)
class Wanted:
    """Settings that a call must leave: those of the harness; of callables in a user's process those that the user made.

    Attributes:
        threads: number of threads.
        clocks: the functions of `time`.
        settings: those of the process, by name; one that is missing is the harness's.
        gpu: the current one.
        stream: the current one; None: the default.
        sync_debug: whether torch reports waits.
    """

    threads: int
    clocks: Mapping[str, Callable[..., Any]] = field(default_factory=lambda: clocks.BOUND)
    settings: Mapping[str, object] = field(default_factory=dict)
    gpu: int = 0
    stream: torch.cuda.Stream | None = None
    sync_debug: int = 0


def as_now() -> Wanted:
    """The settings as they are."""
    on_gpu: dict[str, Any] = {}
    if torch.cuda.is_initialized():
        on_gpu = {
            "gpu": torch.cuda.current_device(),
            "stream": torch.cuda.current_stream(),
            "sync_debug": torch.cuda.get_sync_debug_mode(),
        }
    return Wanted(torch.get_num_threads(), clocks.in_place(), read_all(), **on_gpu)


def restore(threads: int, wanted: Wanted | None = None) -> list[str]:
    """Restore the settings; return what had been changed, in words.

    Args:
        threads: number of threads of the case.
        wanted: the settings; None: those of the harness.
    """
    wanted = wanted or Wanted(threads)
    changed = [f"the clock {name}" for name in clocks.restored(wanted.clocks)]
    if torch.get_num_threads() != threads:
        changed.append(f"the number of threads to {torch.get_num_threads()}")
        torch.set_num_threads(threads)
    for setting in SETTINGS:
        now, then = setting.read(), wanted.settings.get(setting.name, setting.wanted)
        if now != then:
            changed.append(f"{setting.name} to {in_words(now)}")
            setting.write(then)
    return changed + (_restore_device(wanted) if torch.cuda.is_initialized() else [])


def restore_after(case_id: str, threads: int) -> None:
    """Restore what loading or building a model has changed, and keep it for the record.

    Args:
        case_id: of the model.
        threads: number of threads of the case.
    """
    changed = restore(threads)
    if changed:
        CHANGED[case_id] = " and ".join(changed)


def _restore_device(wanted: Wanted) -> list[str]:
    """The device and stream that work goes to, and whether torch reports waits. Asking a CPU would start CUDA."""
    changed = []
    if torch.cuda.current_device() != wanted.gpu:
        changed.append(f"the current GPU to {torch.cuda.current_device()}")
        torch.cuda.set_device(wanted.gpu)
    stream = wanted.stream or torch.cuda.default_stream()
    if torch.cuda.current_stream() != stream:
        changed.append("the current stream")
        torch.cuda.set_stream(stream)
    if torch.cuda.get_sync_debug_mode() != wanted.sync_debug:
        changed.append(f"the sync-debug mode to {torch.cuda.get_sync_debug_mode()}")
        set_sync_debug(wanted.sync_debug)
    return changed


def checked(threads: int, wanted: Wanted | None = None) -> None:
    """Restore the settings, and raise if a call had changed any.

    Args:
        threads: number of threads of the case.
        wanted: the settings; None: those of the harness.

    Raises:
        RuntimeError: naming what.
    """
    changed = restore(threads, wanted)
    if changed:
        raise RuntimeError(f"its call changed {' and '.join(changed)} for every model of the process")


def variables() -> dict[str, str]:
    """Those of `VARIABLES`, and of cuDNN's attention, that are set."""
    return {name: value for name, value in sorted(os.environ.items()) if name in VARIABLES or name.startswith(PREFIX)}
