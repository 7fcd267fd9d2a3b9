"""Peak memory of a step, measured in four ways that must agree: storages, profiler events, fake tensors, the allocator.

Storages (a dispatch mode) see eager tensors; on eager models they agree to the byte with torch's profiler and MemTracker. Memory
that a kernel allocates and frees inside itself is not seen, and a compiled model runs eagerly under any dispatch mode. Profiler
events see every allocation of the CPU allocator, in compiled code and inside kernels too. Fake tensors run the whole step without
allocating anything. On CUDA the allocator itself counts.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from modbench.harness.core.errors import Unmeasured, in_short
from modbench.harness.machine.process.torch_modes import Operator, OperatorMode


class StorageTracker(OperatorMode):
    """Counts live bytes while it is entered.

    Attributes:
        live: bytes alive now.
        peak: most bytes alive at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()

    def watch(self, tensors: Iterable[Any]) -> None:
        """Count tensors that were created before the mode was entered."""
        for tensor in tensors:
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())

    def after(self, operator: Operator, args: Sequence[Any], out: object) -> None:  # noqa: ARG002  # the hook's signature
        """Count what an operator returned."""
        self.watch(tree_leaves(out))

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata  # noqa: SLF001  # the storage's identity: wrappers of one storage differ
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


if TYPE_CHECKING:
    from modbench.harness.call.subject.subject import Subject
    from modbench.harness.domain.case import Case


@dataclass(frozen=True)
class Peak:
    """Memory of a second training step.

    Attributes:
        peak: most bytes alive at once.
        resident: bytes alive before it: parameters, both moments, buffers, tokens.
        saved: bytes that the forward pass saved for the backward pass; None where they were not measured.
        reserved: most bytes that the allocator held, workspaces of libraries included; None except on CUDA.
        retries: how often the allocator had to empty its cache; None except on CUDA.
    """

    peak: float
    resident: float
    saved: float | None = None
    reserved: float | None = None
    retries: int | None = None


def of_training(subject: Subject) -> Peak:
    """Measure the second step, when the optimizer's state exists, with the method for this device."""
    grid_point = subject.case.grid_point
    tokens_BT = subject.inputs(0, 1)[0]
    for _ in range(2 if grid_point.compile else 1):  # a compiled step is compiled in its first call, or its second
        subject.train_step(tokens_BT)
    subject.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    if grid_point.device == "cuda":
        return _by_allocator(subject, tokens_BT)
    return by_profiler(subject, tokens_BT) if grid_point.compile else by_storages(subject, tokens_BT)


def resident(subject: Subject, tokens_BT: Tensor) -> Iterator[Tensor]:
    """Tensors that exist before a step begins."""
    yield from subject.module.parameters()
    yield from subject.module.buffers()
    for state in subject.optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))
    yield tokens_BT


def by_storages(subject: Subject, tokens_BT: Tensor) -> Peak:
    """Measure an eager step by its storages."""
    tracker = StorageTracker()
    tracker.watch(resident(subject, tokens_BT))
    before = tracker.live
    with tracker:
        loss, auxiliary = subject.loss(tokens_BT, subject.targets(tokens_BT))
        saved = tracker.live - before
        (loss + auxiliary).backward()
        del loss, auxiliary
        subject.optimizer.step()
        subject.optimizer.zero_grad(set_to_none=True)
    return Peak(tracker.peak, before, saved)


def by_profiler(subject: Subject, tokens_BT: Tensor) -> Peak:
    """Measure a step by the CPU allocator's events, which include compiled code and kernels."""
    from torch.profiler import ProfilerActivity, profile

    before = bytes_of(resident(subject, tokens_BT))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        subject.train_step(tokens_BT)
    assert profiler.profiler is not None
    results: Any = profiler.profiler.kineto_results
    events = sorted((e for e in results.events() if e.name() == "[memory]"), key=lambda event: event.start_ns())
    live = peak = 0
    for event in events:
        live += event.nbytes()
        peak = max(peak, live)
    return Peak(before + peak, before)


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of the tensors' storages; a shared one counts once."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())  # noqa: SLF001  # the storage's identity


def _by_allocator(subject: Subject, tokens_BT: Tensor) -> Peak:
    torch.cuda.synchronize()
    torch.cuda.empty_cache()  # what earlier variants left behind does not count
    before, tried = torch.cuda.memory_allocated(), torch.cuda.memory_stats().get("num_alloc_retries", 0)
    # Libraries keep workspaces in the same allocator, tens of MB on large cards: they are not tensors of the model.
    own = bytes_of(resident(subject, tokens_BT))
    torch.cuda.reset_peak_memory_stats()
    loss, auxiliary = subject.loss(tokens_BT, subject.targets(tokens_BT))
    torch.cuda.synchronize()
    saved = torch.cuda.memory_allocated() - before
    (loss + auxiliary).backward()
    del loss, auxiliary
    subject.optimizer.step()
    torch.cuda.synchronize()
    retries = torch.cuda.memory_stats().get("num_alloc_retries", 0) - tried
    peak, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    subject.optimizer.zero_grad(set_to_none=True)
    return Peak(own + peak - before, own, saved, reserved, retries)


def of_fake_tensors(case: Case) -> Peak:
    """Measure the same step on fake tensors: a forecast for models that have no closed form, of any size.

    Raises:
        Unmeasured: if what the model does depends on data, not on shapes alone.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    from modbench.harness.call.subject.build import DTYPES, build_module
    from modbench.harness.call.subject.subject import Subject

    with FakeTensorMode():
        try:
            module = build_module(case, 0)
            for tensor in (*module.parameters(), *module.buffers()):
                if tensor.is_floating_point():
                    tensor.data = tensor.data.to(DTYPES[case.grid_point.dtype])
            subject = Subject(case, 0, module=module)
            tokens_BT = subject.inputs(0, 1)[0]
            subject.train_step(tokens_BT)
            subject.optimizer.zero_grad(set_to_none=True)
            gc.collect()
            return by_storages(subject, tokens_BT)
        except (NotImplementedError, RuntimeError) as error:
            raise Unmeasured(
                f"it cannot run on shapes alone: {type(error).__name__}: {in_short(error, 120)}"
            ) from error
