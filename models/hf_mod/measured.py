"""A converted model as modbench measures one: `--model 'modbench.models.hf_mod:build(path=FOLDER)'`.

Shapes: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from modbench.harness.core.errors import UsageError, shown
from modbench.models.hf_mod.families import FAMILIES, MoDModel
from modbench.models.hf_mod.loading import PREFIX, located, offline


class MoDForCausalLM:
    """Loads a converted model of any family: `MoDForCausalLM.from_pretrained(FOLDER)`."""

    @staticmethod
    def from_pretrained(folder: str, **options: Any) -> MoDModel:  # noqa: ANN401  # what transformers takes
        """The model in a local folder, in evaluation mode; nothing is downloaded.

        Raises:
            UsageError: if the folder holds no converted model.
        """
        from transformers import AutoConfig

        path, gguf = located(folder)
        with offline():
            config = AutoConfig.from_pretrained(str(path))
            kind = config.model_type.removeprefix("mod_")
            if gguf is not None or kind == config.model_type or kind not in FAMILIES:
                raise UsageError(
                    f"{shown(folder)} holds a {config.model_type!r} model, not a converted one: make one with `modbench convert "
                    f"{PREFIX}{folder} --to mod --out FOLDER`."
                )
            made_class: Any = FAMILIES[kind]
            model: MoDModel = made_class.from_pretrained(str(path), local_files_only=True, **options)
        return model


class Logits(nn.Module):
    """From tokens [B, T] to logits [B, T, V], as modbench calls a user's model. Training adds the predictors' losses.

    Attributes:
        has_auxiliary: training calls `forward(tokens, auxiliary=True)`.
    """

    has_auxiliary = True

    def __init__(self, model: MoDModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens_BT: Tensor, *, auxiliary: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Logits; with `auxiliary` also the sum of the predictors' losses."""
        routing = self.model.routing
        routing.auxiliary = [] if auxiliary else None
        try:
            logits_BTV: Tensor = self.model(input_ids=tokens_BT, use_cache=False).logits
            if not auxiliary:
                return logits_BTV
            assert routing.auxiliary is not None
            return logits_BTV, sum(routing.auxiliary, logits_BTV.new_zeros(()))
        finally:
            routing.auxiliary = None


def build(config: Any, path: str, rule: str = "auto") -> Logits:  # noqa: ANN401  # modbench's ModelConfig, or anything with a vocab_size
    """The converted model in a folder.

    Args:
        config: what modbench asks for; of it only `vocab_size` matters, the shape is the folder's.
        path: the folder.
        rule: how tokens are chosen (see `MoDModel.route_by`); `auto` is causal but for training.

    Raises:
        UsageError: if the folder holds no converted model, or another vocabulary is asked for.
    """
    model: Any = MoDForCausalLM.from_pretrained(path)
    if config is not None and config.vocab_size != model.config.vocab_size:
        raise UsageError(
            f"{path}: its vocabulary has {model.config.vocab_size} tokens, not {config.vocab_size}. "
            f"Set shape.vocab_size={model.config.vocab_size}."
        )
    model.route_by(rule)
    return Logits(model)
