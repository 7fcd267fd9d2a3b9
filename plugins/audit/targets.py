"""From what a user names or holds in memory to a model that probes call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from modbench.extend import (
    Case,
    CostRequest,
    Dtype,
    GridPoint,
    ModbenchError,
    ModelConfig,
    UsageError,
    adopted,
    case_of,
    check_called,
    check_sizes,
    environment,
    from_loader,
    in_words,
    shown,
    unknown,
)
from modbench.plugins.audit.probing import BATCH_SIZE, SEQ_LEN, SHAPE, why
from modbench.plugins.audit.report import ARCHITECTURES

if TYPE_CHECKING:
    from torch import nn

    from modbench.extend import Overrides
    from modbench.plugins.audit.model import Audited
    from modbench.plugins.audit.report import Architecture


@dataclass(frozen=True)
class Called:
    """The shape, number format and seed of weights and tokens with which a model is called."""

    seq_len: int = SEQ_LEN
    batch_size: int = BATCH_SIZE
    dtype: Dtype = "fp32"
    seed: int = 0


def architecture(name: str | None) -> Architecture | None:
    """The architecture that a model is held to.

    Raises:
        UsageError: if there is no such architecture.
    """
    for known in ARCHITECTURES:
        if name == known:
            return known
    if name is None:
        return None
    raise unknown("architecture", name, ARCHITECTURES)


def case_of_flags(model: str, flags: Overrides) -> Case:
    """The case of a model that is named, in the default shape as far as nothing else decides it.

    Raises:
        UsageError: if the model or a setting is unknown, the shape is invalid, or a flag has several values.
    """
    request, at = CostRequest.from_flags(model, flags), called(flags)
    shape = {} if from_loader(request.model, request.options) else SHAPE
    request = replace(request, settings={**shape, **flags.settings})
    capacity = request.capacity[0] if request.capacity else None
    case = case_of(request, capacity, request.dtype[0], at.batch_size, at.seq_len)
    check_called(case, environment.all_memory())
    return case


def called(flags: Overrides, seed: int = 0) -> Called:
    """With what a model is called: one length and one batch size, or the defaults.

    Raises:
        UsageError: if a flag has several values, or a size is none.
    """
    for flag in ("capacity", "seq_len", "batch_size", "dtype"):
        if len(getattr(flags, flag)) > 1:
            raise UsageError(f"--{flag.replace('_', '-')}: an audit takes one value. Audit each setting by itself.")
    check_sizes((*flags.seq_len, *flags.batch_size))
    return Called((*flags.seq_len, SEQ_LEN)[0], (*flags.batch_size, BATCH_SIZE)[0], seed=seed)


def in_memory(module: nn.Module, of: Architecture | None, called: Called, *, vocab_size: int | None = None) -> Audited:
    """Take a module as it is.

    Args:
        module: maps int64 tokens [B, T] to logits [B, T, V].
        of: what it is held to.
        called: with what it is called.
        vocab_size: V; None: the rows of its first embedding.

    Raises:
        UsageError: if V is not known, or the module cannot be called so.
    """
    from torch import nn

    from modbench.plugins.audit.model import Audited

    name = type(module).__name__
    module = adopted(module)
    tables = (part.num_embeddings for part in module.modules() if isinstance(part, nn.Embedding))
    found = next(tables, None) if vocab_size is None else vocab_size
    if found is None:
        raise UsageError("the module has no nn.Embedding, so its vocabulary is not known. Give vocab_size=….")
    try:
        config = ModelConfig.model_validate({"vocab_size": found, "max_seq_len": called.seq_len})
    except ValidationError as error:
        raise UsageError(f"the module {shown(name)}: {in_words(error)}") from error
    grid_point = GridPoint(
        seq_len=called.seq_len, batch_size=called.batch_size, dtype=called.dtype, device="cpu", threads=1, compile=False
    )
    case = Case(model=f"{name}:module", variant_parts=(), config=config, grid_point=grid_point)
    check_called(case, environment.all_memory())
    try:
        return Audited(case, of, module=module, seed=called.seed)
    except ModbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"the module {shown(name)} cannot be audited: {why(error)}") from error
