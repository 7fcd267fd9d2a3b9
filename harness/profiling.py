"""One call opened up: time, FLOPs, bytes and memory by module and by component, each seen in a run of its own.

Ranges are the modules (hooks name them by path) and whatever names the model gives its steps (`models/layers/span.py`). Every
moment belongs to the innermost range around it, so that components add up to the whole. Watching costs time: shares come from the
profiled run, seconds from the unwatched one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from modbench.harness.passes.profile import MODULE
from modbench.harness.storage import StorageTracker


@dataclass
class Range:
    """A stretch of a call, and the stretches inside it.

    Attributes:
        name: as it was recorded.
        start: in µs of the profiler's clock.
        end: as well.
        device_s: seconds that the device worked for it; None on a CPU, where the stretch itself is the work.
        inner: ranges inside.
    """

    name: str
    start: float
    end: float
    device_s: float | None = None
    inner: list[Range] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end - self.start) / 1e6 if self.device_s is None else self.device_s

    @property
    def own_seconds(self) -> float:
        """How long it took, ranges inside it left out."""
        return max(0.0, self.seconds - sum(each.seconds for each in self.inner))


@contextmanager
def named_modules(module: nn.Module) -> Iterator[None]:
    """While this is entered, every module's forward pass is a range called by the module's path."""
    stack: list[Any] = []

    def enter(path: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            guard = torch.profiler.record_function(f"{MODULE}{path}")
            guard.__enter__()
            stack.append(guard)

        return hook

    def leave(*_: object) -> None:
        stack.pop().__exit__(None, None, None)

    handles = []
    for path, part in module.named_modules():
        if path:
            handles.append(part.register_forward_pre_hook(enter(path)))
            handles.append(part.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tree(events: Sequence[Any], names: set[str], *, on_gpu: bool = False) -> list[Range]:
    """Ranges of a profile, nested by time.

    Args:
        events: `profile.events()`.
        names: which of them are ranges, beside the modules.
        on_gpu: a range takes what the kernels take that were launched inside, not what the launching takes.
    """
    found = sorted(
        (
            Range(e.name, e.time_range.start, e.time_range.end, e.device_time_total / 1e6 if on_gpu else None)
            for e in events
            # A range stands once more on the device's own timeline; what it launched is noted at the host's.
            if e.device_type.name == "CPU" and (e.name in names or e.name.startswith(MODULE))
        ),
        key=lambda each: (each.start, -each.end),
    )
    outermost: list[Range] = []
    open_: list[Range] = []
    for each in found:
        while open_ and each.start >= open_[-1].end:
            open_.pop()
        (open_[-1].inner if open_ else outermost).append(each)
        open_.append(each)
    return outermost


def walk(ranges: Sequence[Range]) -> Iterator[Range]:
    """Every range, outermost first."""
    for each in ranges:
        yield each
        yield from walk(each.inner)


def by_name(ranges: Sequence[Range]) -> dict[str, dict[str, float]]:
    """Per name: calls, seconds, and seconds of its own."""
    found: dict[str, dict[str, float]] = {}
    for each in walk(ranges):
        row = found.setdefault(each.name, {"calls": 0, "seconds": 0.0, "own_seconds": 0.0})
        row["calls"] += 1
        row["seconds"] += each.seconds
        row["own_seconds"] += each.own_seconds
    return found


def typical(calls: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """The same of several calls: medians, name by name, of the numbers in each row."""
    names = dict.fromkeys(name for call in calls for name in call)
    return {
        name: {key: median(call[name][key] for call in calls if name in call) for key in rows[0]}
        for name in names
        if (rows := [call[name] for call in calls if name in call])
    }


# Modules whose last name says what they are; all others are part of whatever they stand in.
_PARTS = {"attention": "attention", "mlp": "mlp", "head": "head", "embedding": "embedding", "router": "router"}
REST = "the rest"


def components(ranges: Sequence[Range], spans: set[str]) -> dict[str, float]:
    """Seconds by component: every moment belongs to the innermost range that is one, and all add up to the whole.

    Args:
        ranges: nested.
        spans: names that are components of their own.
    """
    found: dict[str, float] = {}

    def add(inside: Sequence[Range], around: str) -> None:
        for each in inside:
            component = _component(each.name, spans) or around
            found[component] = found.get(component, 0.0) + each.own_seconds
            add(each.inner, component)

    add(ranges, REST)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _component(name: str, spans: set[str]) -> str | None:
    if name in spans:
        return name if name != "forward" else REST
    last = name.removeprefix(MODULE).rpartition(".")[2]
    if last.startswith("norm"):
        return "norm"
    return _PARTS.get(last) if name.startswith(MODULE) else None


LOOK_UPS = {"embedding", "gather", "index", "index_select", "_unsafe_index", "take"}


class Traffic(TorchDispatchMode):
    """Bytes that operators read and write, by the module that is running; views move nothing.

    Args:
        module: gives the paths.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.module, self.stack = module, [""]
        self.moved: dict[str, float] = {}

    @contextmanager
    def watching(self) -> Iterator[Traffic]:
        """Enter the mode and follow the modules."""
        handles = []
        for path, part in self.module.named_modules():
            if path:
                handles.append(part.register_forward_pre_hook(lambda *_, path=path: self.stack.append(path)))
                handles.append(part.register_forward_hook(lambda *_: self.stack.pop() and None, always_call=True))
        try:
            with self:
                yield self
        finally:
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(  # torch's protocol
        self,
        func: Any,  # noqa: ANN401  # torch's protocol
        types: Any,  # noqa: ANN401  # torch's protocol
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  # whatever the operator returns
        out = func(*args, **(kwargs or {}))
        if not any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns):  # noqa: SLF001  # no public way to a signature
            read, made = ([leaf for leaf in tree_leaves(side) if isinstance(leaf, Tensor)] for side in (args, out))
            if func._overloadpacket.__name__ in LOOK_UPS:  # noqa: SLF001  # as above
                read[0] = made[0]  # of the table no more is read than is found
            bytes_ = sum(tensor.numel() * tensor.element_size() for tensor in (*read, *made))
            for path in _ancestors(self.stack[-1]):
                self.moved[path] = self.moved.get(path, 0.0) + bytes_
        return out


def _ancestors(path: str) -> Iterator[str]:
    """A path and everything above it, the whole model ("") included."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


class Kept:
    """Bytes that each module leaves behind for the backward pass.

    Args:
        module: gives the paths.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module, self.tracker = module, StorageTracker()
        self.tracker.watch((*module.parameters(), *module.buffers()))  # what is there already is not kept anew
        self.bytes: dict[str, float] = {}

    @contextmanager
    def watching(self) -> Iterator[Kept]:
        """Enter the tracker and note what was alive around each module."""
        handles, before = [], dict[str, int]()
        for path, part in self.module.named_modules():
            if path:
                handles.append(
                    part.register_forward_pre_hook(lambda *_, path=path: before.update({path: self.tracker.live}))
                )
                handles.append(
                    part.register_forward_hook(
                        lambda *_, path=path: self.bytes.update(
                            {path: self.bytes.get(path, 0) + self.tracker.live - before[path]}
                        )
                    )
                )
        try:
            with self.tracker:
                yield self
        finally:
            for handle in handles:
                handle.remove()
