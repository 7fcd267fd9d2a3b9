"""Did a module skip what it claims to skip? Compares its claim with the rows that each weight was multiplied with.

**The protocol.** Any module, in a catalogue model or a user's, may have two attributes; it needs no base class:

    capacity         the share of its input's tokens that it claims to process
    executed_tokens  how many tokens it claims to have processed in its last call, over the whole batch

and optionally `routed_parts`, the names of the submodules that the claim is about (default: all of it). Of a module with
stacked weights (experts), both are per slice. Without any claim, the report says "not reported".

**The detector.** A dispatch mode watches every matrix product and counts the rows that each parameter was multiplied with. If
most weights of a module (by elements, so that a small router does not decide) met more rows than the module claims to have
processed, it computed all of them and masked: its FLOPs were not saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from modbench.harness.core.torch_modes import Operator, OperatorMode, name_of
from modbench.harness.flops.operators import is_product
from modbench.harness.results.notes.counting import Claim

# Allows for rounding of k, and for padding rows to the longest of a batch.
TOLERANCE = 0.05


@runtime_checkable
class StatesTokens(Protocol):
    """A module that claims how many tokens it processes; see the protocol above."""

    capacity: float
    executed_tokens: int


def factors(operator: Operator, args: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """The two factors of a product: after the bias where the operator adds one, before the offsets of a grouped product."""
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    first = 1 if name_of(operator) in {"addmm", "baddbmm"} else 0
    return tensors[first], tensors[first + 1]


class RowWatch(OperatorMode):
    """Counts the rows that every parameter is multiplied with.

    A parameter is identified by its range in a storage, so that transposed and sliced views count; a converted copy does not.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.places: dict[int, list[tuple[int, int, str]]] = {}  # storage to (first element, end, name)
        for name, p in module.named_parameters():
            if p.ndim > 1:
                first = int(p.storage_offset())
                place = (first, first + p.numel(), name)
                self.places.setdefault(p.untyped_storage()._cdata, []).append(place)  # noqa: SLF001  # the storage's identity
        self.work: dict[str, float] = {}

    def before(self, operator: Operator, args: Sequence[Any]) -> None:
        """Count the rows that each factor of a product is multiplied with."""
        if is_product(operator):
            left, right = factors(operator, args)
            self._note(right, left.shape[-2] / (right.shape[0] if left.ndim < right.ndim else 1))
            self._note(left, right.shape[-1])

    def _note(self, weight: Tensor, rows: float) -> None:
        for first, end, name in self.places.get(weight.untyped_storage()._cdata, ()):  # noqa: SLF001  # as above
            if first <= weight.storage_offset() < end:
                self.work[name] = self.work.get(name, 0.0) + rows * weight.numel()


def claims(module: nn.Module, tokens_BT: Tensor) -> list[Claim]:
    """Compare the claims of all modules that make one with one forward pass of the whole model."""
    watch = RowWatch(module)
    module.eval()
    stating = {path: part for path, part in module.named_modules() if isinstance(part, StatesTokens)}
    reported: dict[str, int] = {}  # summed over the calls of a module that runs more than once

    def note(path: str, part: StatesTokens) -> None:
        reported[path] = reported.get(path, 0) + int(part.executed_tokens)

    hooks = [
        part.register_forward_hook(lambda *_, path=path, claim=stating[path]: note(path, claim))
        for path, part in module.named_modules()
        if path in stating
    ]
    try:
        with torch.no_grad(), watch:
            module(tokens_BT)
    finally:
        for hook in hooks:
            hook.remove()
    sizes = {name: p.numel() for name, p in module.named_parameters() if p.ndim > 1}
    found = []
    for path, part in stating.items():
        # Weights of an inner module with its own claim do not count for the outer one.
        inner = tuple(
            f"{other}." for other in stating if other != path and other.startswith(f"{path}." if path else "")
        )
        own = [name for name in sizes if name.startswith(_prefixes(path, part)) and not name.startswith(inner)]
        stated = reported.get(path, int(part.executed_tokens))
        met = {name: watch.work[name] / sizes[name] for name in own if name in watch.work}
        # Products with copies and convolutions are not seen: those that are must cover most elements.
        most = 2 * sum(sizes[name] for name in met) >= sum(sizes[name] for name in own)
        rows = _typical(met, sizes) if most else None
        masked = rows is not None and rows > stated * (1 + TOLERANCE) + 1
        claim = Claim(
            module=path,
            capacity=float(part.capacity),
            tokens=tokens_BT.numel(),
            stated=stated,
            rows=rows,
            masked=masked,
        )
        found.append(claim)
    return found


def _prefixes(path: str, part: object) -> tuple[str, ...]:
    """Prefixes of the names of the weights that a claim is about."""
    base = f"{path}." if path else ""
    return tuple(f"{base}{name}." for name in getattr(part, "routed_parts", ())) or (base,)


def _typical(rows: dict[str, float], sizes: dict[str, int]) -> float | None:
    """Median of rows, weighted by the number of elements of each weight."""
    ordered = sorted((value, sizes[name]) for name, value in rows.items())
    half, seen = sum(size for _, size in ordered) / 2, 0.0
    for value, size in ordered:
        seen += size
        if seen >= half:
            return value
    return None
