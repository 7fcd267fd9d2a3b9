"""Global state of torch, which one model could change for all others in the process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from modbench.harness.core import clocks
from modbench.harness.timing.waits import set_sync_debug

# Objects in the place of modules, which mypy takes them for.
BACKENDS: Any = torch.backends
cuda, cudnn, mkldnn = BACKENDS.cuda, BACKENDS.cudnn, BACKENDS.mkldnn

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


def _precision() -> dict[str, str]:
    """How fp32 is multiplied; `none`, which torch starts with, is full fp32. The older functions raise after the newer ones."""
    read = {
        "all libraries": BACKENDS.fp32_precision,
        "cuBLAS": cuda.matmul.fp32_precision,
        "oneDNN": mkldnn.matmul.fp32_precision,
        "convolutions in cuDNN": cudnn.conv.fp32_precision,
        "recurrent layers in cuDNN": cudnn.rnn.fp32_precision,
    }
    return {name: "ieee" if value == "none" else str(value) for name, value in read.items()}


def _set_precision(wanted: dict[str, str]) -> None:
    """Set both of torch's interfaces, so that neither complains of the other afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in (BACKENDS, cudnn, mkldnn, mkldnn.conv, mkldnn.rnn):
            part.fp32_precision = "none"
        cudnn.allow_tf32 = wanted["convolutions in cuDNN"] == "tf32"
        torch.set_float32_matmul_precision("high" if wanted["cuBLAS"] == "tf32" else "highest")


def _deterministic() -> dict[str, bool]:
    return {
        "enabled": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
    }


def _set_deterministic(wanted: dict[str, bool]) -> None:
    torch.use_deterministic_algorithms(wanted["enabled"], warn_only=wanted["warn_only"])


def _flags(owner: object, *names: str) -> tuple[Callable[[], dict[str, bool]], Callable[[dict[str, bool]], None]]:
    """Functions that read and set attributes of torch that are flags."""

    def read() -> dict[str, bool]:
        return {name: getattr(owner, name) for name in names}

    def write(wanted: dict[str, bool]) -> None:
        for name, value in wanted.items():
            setattr(owner, name, value)

    return read, write


def attention() -> tuple[str, ...]:
    """Kernels that attention may use, by torch's names."""
    enabled = {
        "flash": cuda.flash_sdp_enabled(),
        "mem_efficient": cuda.mem_efficient_sdp_enabled(),
        "math": cuda.math_sdp_enabled(),
        "cudnn": cuda.cudnn_sdp_enabled(),
    }
    return tuple(name for name, on in enabled.items() if on)


def _set_attention(wanted: tuple[str, ...]) -> None:
    cuda.enable_flash_sdp("flash" in wanted)
    cuda.enable_mem_efficient_sdp("mem_efficient" in wanted)
    cuda.enable_math_sdp("math" in wanted)
    cuda.enable_cudnn_sdp("cudnn" in wanted)


@dataclass
class _Setting:
    """A setting of torch's back-ends, and its value when the process started: the environment may have set it."""

    name: str
    read: Callable[[], object]
    write: Callable[..., None]
    wanted: object = field(init=False)

    def __post_init__(self) -> None:
        self.wanted = self.read()


REDUCED = (
    "allow_bf16_reduced_precision_reduction",
    "allow_fp16_reduced_precision_reduction",
    "allow_fp16_accumulation",
)
SETTINGS = (
    _Setting("the precision of fp32", _precision, _set_precision),
    _Setting("the kernels of attention", attention, _set_attention),
    _Setting("cuDNN's flags", *_flags(cudnn, "enabled", "benchmark", "deterministic")),
    _Setting("deterministic algorithms", _deterministic, _set_deterministic),
    _Setting("reductions in half precision", *_flags(cuda.matmul, *REDUCED)),
)


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def restore(threads: int) -> list[str]:
    """Restore the settings of the harness; return what had been changed, in words.

    Args:
        threads: number of threads of the case.
    """
    changed = [f"the clock {name}" for name in clocks.restored()]
    if torch.get_num_threads() != threads:
        changed.append(f"the number of threads to {torch.get_num_threads()}")
        torch.set_num_threads(threads)
    if not torch.is_grad_enabled():
        changed.append("gradients to off")
        torch.set_grad_enabled(True)
    if torch.get_default_dtype() != torch.float32:
        changed.append(f"the default number format to {torch.get_default_dtype()}")
        torch.set_default_dtype(torch.float32)
    if torch.get_default_device().type != "cpu":
        changed.append(f"the default device to {torch.get_default_device()}")
        torch.set_default_device(None)
    for setting in SETTINGS:
        now = setting.read()
        if now != setting.wanted:
            changed.append(f"{setting.name} to {_words(now)}")
            setting.write(setting.wanted)
    return changed + (_restore_device() if torch.cuda.is_initialized() else [])


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


def fp32_precision() -> str:
    """How cuBLAS multiplies fp32: `ieee`, or `tf32` with fewer digits."""
    return _precision()["cuBLAS"]
