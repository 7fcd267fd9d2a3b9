"""Builds the module of a case, and calls modules in evaluation mode.

A call in training mode may change a model for good: the package `mixture-of-depth` sets its capacity in each. So no validity
check calls a model in training mode that is measured in evaluation mode afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.model_methods import parts_of
from modbench.harness.domain.case import Case
from modbench.harness.registry import catalogue, user_code, user_models
from modbench.harness.results.measured_or_missing import SURVIVABLE

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def build_module(case: Case, seed: int, device: str | None = None) -> nn.Module:
    """The case's model with weights drawn from `seed`.

    Args:
        case: what to build.
        seed: seeds the weights.
        device: where its weights are drawn, since one CPU thread takes many seconds for a large model; None is torch's default
            device. A user's build always gets that, as it may have a CPU generator of its own.

    Raises:
        TypeError: if a user's build does not return a module.
    """
    torch.manual_seed(seed)
    if case.is_user_model:
        # A file runs once: what it makes outside of its functions must serve builds with values after one on shapes alone.
        shapes = torch.get_default_device().type == "meta"
        with torch.device("cpu") if shapes else contextlib.nullcontext():
            build = user_models.load_user_model(case.model, case.given)
        torch.manual_seed(seed)  # the first build finds what a later one finds
        module = build(case.config)
        user_code.search_all()
    else:
        with torch.device(device) if device else contextlib.nullcontext():
            module = catalogue.load("models", case.model).build(case.config)
    if not isinstance(module, nn.Module):
        raise TypeError(f"{case.model} returned {type(module).__name__}; build(config) must return a torch.nn.Module")
    return module


def noting(config: ModelConfig) -> tuple[ModelConfig, set[str]]:
    """The same configuration, and the keys of it that are read from now on; whatever takes all of it at once reads each."""
    read = set[str]()

    class Noting(ModelConfig):
        def __getattribute__(self, name: str) -> Any:  # noqa: ANN401  # of any attribute
            read.update(ModelConfig.model_fields if name == "__dict__" else [name])
            return super().__getattribute__(name)

    made = Noting.model_construct(**dict(config))
    read.clear()
    return made, read


def keys_read(module: nn.Module, tokens_BT: Tensor, read: Collection[str]) -> tuple[str, ...] | None:
    """The keys that a model reads, which was built and called; None where it may read more: in a method that is called later.

    Args:
        module: the model; nothing else is done with it afterwards.
        tokens_BT: it is called in training mode, too.
        read: of `noting`.
    """
    if parts_of(module, "").takes.keys() - {"forward"}:
        return None
    try:
        module.train()(tokens_BT)
    except SURVIVABLE:
        return None
    return tuple(sorted(ModelConfig.model_fields.keys() & read))


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards every part has the mode that it had, also one that its model keeps apart."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
