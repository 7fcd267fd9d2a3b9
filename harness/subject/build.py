"""Builds the module of a case, and calls modules in evaluation mode.

A call in training mode may change a model for good: the package `mixture-of-depth` sets its capacity in each. So no guard calls
a model in training mode that is measured in evaluation mode afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from modbench.harness.domain.case import Case
from modbench.harness.registry import catalogue, user_code, user_models

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
