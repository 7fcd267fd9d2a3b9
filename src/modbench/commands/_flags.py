"""Flags that commands share: what they are called, and what they mean together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modbench.harness.core.errors import UsageError, unknown

if TYPE_CHECKING:
    from modbench.harness.planning.overrides import Overrides

SuiteName = Annotated[str, typer.Argument(metavar="SUITE", help="A shipped suite's name, or a TOML file.")]
ModelFlag = Annotated[
    list[str] | None,
    typer.Option("--model", help="Keep only these models (the anchor stays), or add FILE.py:build as an arm."),
]
CapacityFlag = Annotated[list[str] | None, typer.Option("--capacity", help="Capacities, such as 0.125,0.5.")]
SeqLenFlag = Annotated[list[str] | None, typer.Option("--seq-len", help="Sequence lengths, such as 128,512.")]
BatchFlag = Annotated[list[str] | None, typer.Option("--batch-size", help="Batch sizes.")]
DtypeFlag = Annotated[list[str] | None, typer.Option("--dtype", help="Number formats: fp32, bf16, fp16.")]
DeviceFlag = Annotated[str | None, typer.Option("--device", help="cpu or cuda; default cuda where there is one.")]
CompileFlag = Annotated[bool, typer.Option("--compile", help="Wrap every model in torch.compile.")]
SeedsFlag = Annotated[list[str] | None, typer.Option("--seeds", help="Seeds, such as 0,1,2.")]
CorpusFlag = Annotated[str | None, typer.Option("--corpus", help="Text to train on: stdlib, a file or a folder.")]
SetFlag = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other key of a suite.")]
EffortFlag = Annotated[str | None, typer.Option("--effort", help="smoke, draft, standard or rigorous.")]
SelectFlag = Annotated[str | None, typer.Option("-k", metavar="EXPR", help="Only matching cases: 'mod and not c0.5'.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def overrides(
    model: list[str] | None,
    capacity: list[str] | None,
    seq_len: list[str] | None,
    batch_size: list[str] | None,
    dtype: list[str] | None,
    device: str | None,
    compile_: bool,  # noqa: FBT001  # a flag
    seeds: list[str] | None,
    corpus: str | None,
    effort: str | None,
    settings: list[str] | None,
) -> Overrides:
    """The command line's word, checked as far as no suite is needed for that."""
    from modbench.harness.planning.overrides import Overrides
    from modbench.harness.planning.suite import EFFORTS

    if effort is not None and effort not in EFFORTS:
        raise unknown("effort", effort, EFFORTS)
    check_device(device)
    return Overrides(
        model=listed("--model", model, str),
        capacity=listed("--capacity", capacity, float),
        seq_len=listed("--seq-len", seq_len, int),
        batch_size=listed("--batch-size", batch_size, int),
        dtype=listed("--dtype", dtype, str),
        device=device,
        compile=compile_,
        seeds=listed("--seeds", seeds, int),
        corpus=corpus,
        effort=effort,
        settings=tuple(settings or ()),
    )


def check_device(device: str | None) -> None:
    """Refuse a device that is neither `cpu` nor `cuda`."""
    if device is not None and device not in {"cpu", "cuda"}:
        raise unknown("device", device, ("cpu", "cuda"))


def listed(flag: str, values: list[str] | None, kind: Callable[[str], Any]) -> tuple[Any, ...]:
    """Comma lists and repeated flags alike."""
    items = [item.strip() for value in values or () for item in value.split(",") if item.strip()]
    if values and not items:
        raise UsageError(f"{flag} needs at least one value.")
    try:
        return tuple(kind(item) for item in items)
    except ValueError:
        what = {"int": "whole numbers", "float": "numbers"}[getattr(kind, "__name__", "")]
        raise UsageError(f"{flag} takes {what} joined by commas; got {','.join(items)!r}.") from None
