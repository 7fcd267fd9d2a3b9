"""Models that come from elsewhere, named `PREFIX:WHAT`, such as `hf:llama`: a plug-in has a model loader for each prefix.

A model loader says what it can without importing what it loads models with, so that planning stays fast. For the harness its
models are users' models (`Case.is_user_model`): their code is not ours, so every validity check runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from modbench.harness.registry import catalogue

if TYPE_CHECKING:
    from torch import nn

    from modbench.harness.core.config import ModelConfig
    from modbench.harness.core.contracts import Cost, DecodeCost


class LoadedModel(Protocol):
    """One model of a loader. All methods but `build` import neither torch nor another heavy package."""

    def check(self) -> None:
        """Raise a `UsageError` unless the model can be made, as far as its files show."""

    def settings(self) -> Mapping[str, Any]:
        """The keys of `ModelConfig` that the model itself decides; the suite decides the others."""

    def build(self, config: ModelConfig) -> object:
        """Make the module."""

    def cost(self, config: ModelConfig, seq_len: int, batch_size: int) -> Cost | None:
        """Its closed form; None if there is none for this model."""

    def decode_cost(self, config: ModelConfig, context: int, batch_size: int) -> DecodeCost | None:
        """The same for a decode step."""

    def files(self) -> Sequence[Path]:
        """The files that are read to make it."""

    def tokenizer(self) -> str | None:
        """The spec of its own tokenizer, where it comes with trained weights, which mean nothing for other tokens; else None."""

    def tokenizer_json(self) -> bytes:
        """Its tokenizer in the JSON format of the package `tokenizers`."""


def adopted(module: nn.Module) -> nn.Module:
    """A module in memory as the loader that knows its library wraps it (`LOADER.adopt`); the module itself if none does."""
    loader = next((each for each in catalogue.usable("model_loaders").values() if each.adopts(module)), None)
    return loader.adopt(module) if loader else module


def from_loader(model: str, options: Mapping[str, Any] | Sequence[tuple[str, Any]] = ()) -> LoadedModel | None:
    """The model that a loader makes of a spec `PREFIX:WHAT` and its options; None for any other model.

    A file of the kind `model_loaders` exports `LOADER`, which is called with WHAT and the options; its static methods `adopts`
    and `adopt` tell a module of its library in memory, and wrap it.

    Raises:
        UsageError: for an option that the loader does not know.
    """
    prefix, colon, what = model.partition(":")
    if not colon or prefix not in catalogue.entries("model_loaders"):
        return None
    made: LoadedModel = catalogue.load("model_loaders", prefix)(what, dict(options))
    return made
