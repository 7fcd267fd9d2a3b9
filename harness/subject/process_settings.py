"""What torch and Python hold for a whole process: one table of settings, each with a reader and a writer.

Some are called in every operation, once they are left on: hooks, modes, a profiler, tools. Their writers end them.
A user's file may change any of them, in a line at its top or in a call, for every model that is timed beside it.
`shared_state.py` restores them and names what was changed. What cannot be put back (the process's priority) is not here.
"""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch._C import (
    _get_nnpack_enabled,
    _is_multithreading_enabled,
    _set_multithreading_enabled,
    _set_nnpack_enabled,
)
from torch._C._autograd import (
    _disable_profiler,
    _pop_saved_tensors_default_hooks,
    _profiler_enabled,
    _top_saved_tensors_default_hooks,
)
from torch.autograd import profiler as autograd_profiler
from torch.nn.modules import module as modules
from torch.optim import optimizer as optimizers
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

# Hooks that torch calls for every module, or optimizer, of the process.
HOOKS = {
    modules: (
        *("forward", "forward_pre", "backward", "backward_pre"),
        *("module_registration", "buffer_registration", "parameter_registration"),
    ),
    optimizers: ("optimizer_pre", "optimizer_post"),
}


def _hooks(owner: object) -> Iterator[tuple[str, dict[int, Callable[..., object]]]]:
    for kind in HOOKS[owner]:  # type: ignore[index]  # modules are hashable
        yield kind, getattr(owner, f"_global_{kind}_hooks")


class Hook(NamedTuple):
    """A hook of every module or optimizer: its kind, its number, and what is called."""

    kind: str
    number: int
    function: Callable[..., object]

    def __str__(self) -> str:
        """Its kind and the name of what is called."""
        return f"{self.kind} {getattr(self.function, '__qualname__', type(self.function).__name__)}"


def hooks_of(owner: object) -> tuple[Callable[[], tuple[Hook, ...]], Callable[[tuple[Hook, ...]], None]]:
    """Functions that read the hooks of every module or optimizer, and set them."""

    def read() -> tuple[Hook, ...]:
        return tuple(Hook(kind, number, hook) for kind, hooks in _hooks(owner) for number, hook in hooks.items())

    def write(wanted: tuple[Hook, ...]) -> None:
        for kind, hooks in _hooks(owner):
            hooks.clear()
            hooks.update({hook.number: hook.function for hook in wanted if hook.kind == kind})
        if owner is modules and not any(hook.kind == "backward" for hook in wanted):
            modules._global_is_full_backward_hook = None  # noqa: SLF001  # else the other kind would be refused

    return read, write


def saved_tensors() -> bool:
    """Whether hooks see every tensor that is kept for a backward pass."""
    return _top_saved_tensors_default_hooks(True) is not None


def pop_saved_tensors(_wanted: bool) -> None:  # noqa: FBT001  # as a setter
    """Remove these hooks."""
    while saved_tensors():
        _pop_saved_tensors_default_hooks()


def _names(modes: Iterable[object]) -> tuple[str, ...]:
    return tuple(type(mode).__name__ for mode in modes)


def function_modes() -> tuple[str, ...]:
    """Modes that see every function of torch's Python API, by their classes."""
    return _names(_get_current_function_mode_stack())


def leave_function_modes(wanted: tuple[str, ...]) -> None:
    """Leave those that came since."""
    if "DeviceContext" not in wanted:
        torch.set_default_device(None)  # its mode is one of them, which torch remembers
    for mode in reversed(_get_current_function_mode_stack()[len(wanted) :]):
        TorchFunctionMode.__exit__(mode, None, None, None)


def operator_modes() -> tuple[str, ...]:
    """Modes that see every operator, by their classes."""
    return _names(_get_current_dispatch_mode_stack())


def leave_operator_modes(wanted: tuple[str, ...]) -> None:
    """Leave those that came since."""
    for mode in reversed(_get_current_dispatch_mode_stack()[len(wanted) :]):
        TorchDispatchMode.__exit__(mode, None, None, None)


def stance() -> str:
    """What torch.compile does with compiled code. While nothing has loaded dynamo, nothing can have set it."""
    frame = sys.modules.get("torch._dynamo.eval_frame")
    if frame is None:
        return "default"
    now = frame._stance  # noqa: SLF001  # torch has a setter only
    return str(now.stance) + ", without guards" * bool(getattr(now, "skip_guard_eval_unsafe", False))


def set_stance(wanted: str) -> None:
    """Let torch.compile do with compiled code as it did."""
    torch.compiler.set_stance(wanted.partition(",")[0])


def profiled() -> bool:
    """Whether torch's profiler watches."""
    return bool(_profiler_enabled())


def stop_profiler(_wanted: bool) -> None:  # noqa: FBT001  # as a setter
    """Stop it, and drop what it saw; Python's half of torch has a flag of its own."""
    _disable_profiler()
    autograd_profiler._run_on_profiler_stop()  # noqa: SLF001  # what the profiler's own end calls


def monitors() -> tuple[str, ...]:
    """Tools that see the interpreter's events, from Python 3.12 on."""
    monitoring = getattr(sys, "monitoring", None)
    return tuple(monitoring.get_tool(i) or "" for i in range(6)) if monitoring is not None else ()


def free_monitors(wanted: tuple[str, ...]) -> None:
    """End the tools that came since."""
    monitoring: Any = getattr(sys, "monitoring")  # noqa: B009  # mypy reads the oldest Python
    for i, (now, before) in enumerate(zip(monitors(), wanted, strict=True)):
        if now != before:
            monitoring.set_events(i, 0)
            monitoring.free_tool_id(i)


# Objects in the place of modules, which mypy takes them for.
BACKENDS: Any = torch.backends
cuda, cudnn, mkldnn = BACKENDS.cuda, BACKENDS.cudnn, BACKENDS.mkldnn

DEVICES = ("cpu", "cuda")
TINY = sys.float_info.min
_ENTERED: list[object] = []

Flags = dict[str, Any]


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


def _deterministic() -> Flags:
    return {
        "enabled": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
    }


def _set_deterministic(wanted: Flags) -> None:
    torch.use_deterministic_algorithms(wanted["enabled"], warn_only=wanted["warn_only"])


def _flags(owner: object, *names: str) -> tuple[Callable[[], Flags], Callable[[Flags], None]]:
    """Functions that read and set attributes of torch that are flags."""

    def read() -> Flags:
        return {name: getattr(owner, name) for name in names}

    def write(wanted: Flags) -> None:
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


def _set_inference(wanted: bool) -> None:  # noqa: FBT001  # torch's setter has the same signature
    """Leave, or enter, inference mode for good: torch has no setter but its context."""
    context = torch.inference_mode(wanted)
    context.__enter__()
    _ENTERED.append(context)  # it is left where nothing holds it any more


def _default_device() -> str:
    return str(torch.get_default_device())


def _set_default_device(wanted: str) -> None:
    torch.set_default_device(None if wanted == "cpu" else wanted)


def _anomaly() -> bool:
    return torch.is_anomaly_enabled()


def _set_anomaly(wanted: bool) -> None:  # noqa: FBT001  # as above
    torch.set_anomaly_enabled(wanted, True)


def _autocast() -> tuple[str, ...]:
    return tuple(device for device in DEVICES if torch.is_autocast_enabled(device))


def _set_autocast(wanted: tuple[str, ...]) -> None:
    for device in DEVICES:
        torch.set_autocast_enabled(device, device in wanted)
    # Weights that were cast are kept as long as an autocast is entered: they would be stale after a training step.
    while torch.autocast_decrement_nesting() > 0:
        pass
    torch.clear_autocast_cache()


def _collector() -> Flags:
    return {"on": gc.isenabled(), "thresholds": gc.get_threshold(), "debugging": gc.get_debug()}


def _set_collector(wanted: Flags) -> None:
    (gc.enable if wanted["on"] else gc.disable)()
    gc.set_threshold(*wanted["thresholds"])
    gc.set_debug(wanted["debugging"])


def _trace_memory(wanted: bool) -> None:  # noqa: FBT001  # as above
    (tracemalloc.start if wanted else tracemalloc.stop)()


def _flushed() -> bool:
    """Whether the processor rounds denormal numbers to 0: torch has a setter only."""
    return TINY / 2 == 0.0


def _cores() -> tuple[int, ...]:
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return tuple(sorted(affinity(0))) if affinity is not None else ()


def _set_cores(wanted: tuple[int, ...]) -> None:
    os.sched_setaffinity(0, wanted)


@dataclass
class Setting:
    """A setting of the process.

    Attributes:
        name: what it is, in words.
        read: returns its value.
        write: sets it.
        wanted: its value in every process; None: the one with which the process started, as the environment may have set it.
    """

    name: str
    read: Callable[[], object]
    write: Callable[..., object]
    wanted: Any = field(default=None)

    def __post_init__(self) -> None:
        self.wanted = self.read() if self.wanted is None else self.wanted


REDUCED = (
    "allow_bf16_reduced_precision_reduction",
    "allow_fp16_reduced_precision_reduction",
    "allow_fp16_accumulation",
)
# In this order: leaving inference mode sets gradients, and a default device is one of the modes.
SETTINGS = (
    Setting("inference mode", torch.is_inference_mode_enabled, _set_inference, wanted=False),
    Setting("gradients", torch.is_grad_enabled, torch.set_grad_enabled, wanted=True),
    Setting("the default number format", torch.get_default_dtype, torch.set_default_dtype, wanted=torch.float32),
    Setting("the default device", _default_device, _set_default_device, wanted="cpu"),
    Setting("the precision of fp32", _precision, _set_precision),
    Setting("the kernels of attention", attention, _set_attention),
    Setting("cuDNN's flags", *_flags(cudnn, "enabled", "benchmark", "deterministic")),
    Setting("deterministic algorithms", _deterministic, _set_deterministic),
    Setting("reductions in half precision", *_flags(cuda.matmul, *REDUCED)),
    Setting("oneDNN's flags", *_flags(mkldnn, "enabled", "deterministic")),
    Setting("NNPACK", _get_nnpack_enabled, _set_nnpack_enabled),
    Setting("the fast path of attention", BACKENDS.mha.get_fastpath_enabled, BACKENDS.mha.set_fastpath_enabled),
    Setting("denormal numbers", _flushed, torch.set_flush_denormal),
    Setting("autocast", _autocast, _set_autocast, wanted=()),
    Setting("anomaly detection", _anomaly, _set_anomaly, wanted=False),
    Setting("threads of the backward pass", _is_multithreading_enabled, _set_multithreading_enabled),
    Setting("the hooks of saved tensors", saved_tensors, pop_saved_tensors, wanted=False),
    Setting("the hooks of every module", *hooks_of(modules)),
    Setting("the hooks of every optimizer", *hooks_of(optimizers)),
    Setting("the modes of torch's functions", function_modes, leave_function_modes),
    Setting("the modes of torch's operators", operator_modes, leave_operator_modes),
    Setting("the stance of torch.compile", stance, set_stance, wanted="default"),
    Setting("torch's profiler", profiled, stop_profiler, wanted=False),
    Setting("the garbage collector", _collector, _set_collector),
    Setting("the tracing of memory", tracemalloc.is_tracing, _trace_memory),
    Setting("a function that traces Python", sys.gettrace, sys.settrace),
    Setting("a function that profiles Python", sys.getprofile, sys.setprofile),
    Setting("tools that monitor Python", monitors, free_monitors),
    Setting("how often threads of Python switch", sys.getswitchinterval, sys.setswitchinterval),
    Setting("the cores of the process", _cores, _set_cores),
)


def fp32_precision() -> str:
    """How cuBLAS multiplies fp32: `ieee`, or `tf32` with fewer digits."""
    return _precision()["cuBLAS"]


def in_words(value: object) -> str:
    """A value of a setting, for people."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    if isinstance(value, tuple):
        return ", ".join(str(each) for each in value if each != "") or "none"
    return getattr(value, "__qualname__", None) or str(value)
