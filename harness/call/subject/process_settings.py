"""What torch and Python hold for a whole process: one table of settings, each with a reader. None of them is set here.

A user's file may change any of them, in a line at its top or in a call, for every model that is timed beside it. Such a model
fails by name, and its process ends: nothing is timed under what it left behind (`ProcessChangedError`).
What no reader sees (the process's priority, a function of torch that is replaced) is left to the process without the user's code.
"""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._C import _get_nnpack_enabled, _is_multithreading_enabled
from torch._C._autograd import _profiler_enabled, _top_saved_tensors_default_hooks
from torch.nn.modules import module as modules
from torch.optim import optimizer as optimizers
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from modbench.harness.machine.process.graceful_stop import ProcessChangedError

# Objects in the place of modules, which mypy takes them for.
BACKENDS: Any = torch.backends
CUDA: Any = torch.cuda
GPU, CUDNN, ONEDNN = BACKENDS.cuda, BACKENDS.cudnn, BACKENDS.mkldnn
TINY = sys.float_info.min
# What a setting of the GPU is before one is used, which is no change.
NO_GPU = "no GPU in use"
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


def fp32_precision() -> str:
    """How cuBLAS multiplies fp32: `ieee`, or `tf32` with fewer digits. Torch starts with `none`, which is full fp32."""
    return str(GPU.matmul.fp32_precision).replace("none", "ieee")


def attention() -> tuple[str, ...]:
    """Kernels that attention may use, by torch's names."""
    return tuple(name for name in ("flash", "mem_efficient", "math", "cudnn") if getattr(GPU, f"{name}_sdp_enabled")())


def _precision() -> list[str]:
    parts = (BACKENDS, GPU.matmul, ONEDNN, CUDNN.conv, CUDNN.rnn)
    return [str(part.fp32_precision).replace("none", "ieee") for part in parts]


def _hooks(owner: object) -> list[str]:
    """The hooks that torch calls for every module, or optimizer, of the process, by the names of what is called."""
    kinds = (
        kept for name, kept in sorted(vars(owner).items()) if name.startswith("_global_") and isinstance(kept, dict)
    )
    return [getattr(hook, "__qualname__", type(hook).__name__) for kept in kinds for hook in kept.values()]


def _names(modes: list[Any]) -> list[str]:
    return [type(mode).__name__ for mode in modes]


def _stance() -> str:
    """What torch.compile does with compiled code. While nothing has loaded dynamo, nothing can have set it."""
    frame = sys.modules.get("torch._dynamo.eval_frame")
    return "default" if frame is None else str(frame._stance.stance)  # noqa: SLF001  # torch has a setter only


def _monitors() -> list[str]:
    """Tools that see the interpreter's events, from Python 3.12 on."""
    monitoring = getattr(sys, "monitoring", None)
    return [monitoring.get_tool(i) or "none" for i in range(6)] if monitoring is not None else []


def _on_gpu(name: str) -> Callable[[], object]:
    """A reader of `torch.cuda` for a process that uses a GPU: asking would start CUDA."""
    return lambda: getattr(CUDA, name)() if CUDA.is_initialized() else NO_GPU


READERS: Mapping[str, Callable[[], object]] = {
    "the number of threads": torch.get_num_threads,
    "inference mode": torch.is_inference_mode_enabled,
    "gradients": torch.is_grad_enabled,
    "the default number format": torch.get_default_dtype,
    "the default device": torch.get_default_device,
    "the precision of fp32": _precision,
    "the kernels of attention": attention,
    "cuDNN's flags": lambda: [CUDNN.enabled, CUDNN.benchmark, CUDNN.deterministic],
    "deterministic algorithms": torch.are_deterministic_algorithms_enabled,
    "reductions of bf16": lambda: GPU.matmul.allow_bf16_reduced_precision_reduction,
    "reductions of fp16": lambda: GPU.matmul.allow_fp16_reduced_precision_reduction,
    "sums of fp16": lambda: GPU.matmul.allow_fp16_accumulation,
    "oneDNN's flags": lambda: [ONEDNN.enabled, ONEDNN.deterministic],
    "NNPACK": _get_nnpack_enabled,
    "the fast path of attention": BACKENDS.mha.get_fastpath_enabled,
    "the rounding of denormal numbers to 0": lambda: TINY / 2 == 0.0,  # torch has a setter only
    "autocast": lambda: [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)],
    "anomaly detection": torch.is_anomaly_enabled,
    "threads of the backward pass": _is_multithreading_enabled,
    "the hooks of saved tensors": lambda: _top_saved_tensors_default_hooks(True) is not None,
    "the hooks of every module": lambda: _hooks(modules),
    "the hooks of every optimizer": lambda: _hooks(optimizers),
    "the modes of torch's functions": lambda: _names(_get_current_function_mode_stack()),
    "the modes of torch's operators": lambda: _names(_get_current_dispatch_mode_stack()),
    "the stance of torch.compile": _stance,
    "torch's profiler": _profiler_enabled,
    "the garbage collector": lambda: [gc.isenabled(), *gc.get_threshold(), gc.get_debug()],
    "the tracing of memory": tracemalloc.is_tracing,
    "the function that traces Python": sys.gettrace,
    "the function that profiles Python": sys.getprofile,
    "the tools that monitor Python": _monitors,
    "how often threads of Python switch": sys.getswitchinterval,
    "the cores of the process": lambda: sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    "the current GPU": _on_gpu("current_device"),
    "the current stream": _on_gpu("current_stream"),
    "the reports of waits": _on_gpu("get_sync_debug_mode"),
}


def read() -> dict[str, object]:
    """The value of every setting now, by name."""
    return {name: reader() for name, reader in READERS.items()}


def changed(before: Mapping[str, object]) -> str:
    """What differs from the settings that were read before, in words; empty if nothing does."""
    now = read()
    found = [name for name, value in before.items() if value != NO_GPU and now[name] != value]
    return " and ".join(f"{name} from {_in_words(before[name])} to {_in_words(now[name])}" for name in found)


def check(before: Mapping[str, object], case_id: str) -> None:
    """Check that loading, building or calling a model has left the settings of the process as they were before.

    Raises:
        ProcessChangedError: naming the case and what it changed.
    """
    if found := changed(before):
        raise ProcessChangedError(
            f"{case_id} changed {found}, for every model of its process. Let your code leave it as it is."
        )


def _in_words(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return getattr(value, "__qualname__", None) or str(value).lower()


def variables() -> dict[str, str]:
    """Those of `VARIABLES`, and of cuDNN's attention, that are set."""
    return {name: value for name, value in sorted(os.environ.items()) if name in VARIABLES or name.startswith(PREFIX)}
