"""What a process calls in every operation, once it is left on: hooks, modes, a profiler, tools. Readers, and what ends them.

`process_settings.py` has the table that they stand in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
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
