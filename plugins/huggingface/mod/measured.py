"""A converted model as modbench measures one: `--model hf:FOLDER`.

Shapes: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from modbench.extend import Decision, UsageError, shown
from modbench.plugins.huggingface.mod.families import FAMILIES, MoDModel
from modbench.plugins.huggingface.model.files import CONVERTED
from modbench.plugins.huggingface.model.loading import load
from modbench.plugins.huggingface.model.model import Wrapper, called_with, real_tokens
from modbench.plugins.huggingface.model.spec import PREFIX, local

if TYPE_CHECKING:
    from transformers import DynamicCache


def load_converted(folder: str, **options: object) -> MoDModel:
    """The converted model in a local folder, in evaluation mode; nothing is downloaded.

    Raises:
        UsageError: if the folder holds no converted model.
    """
    path, said = local(folder), f"model {shown(folder)}"
    kind = load(said, "config", path).model_type
    if path.suffix == ".gguf" or kind not in {f"{CONVERTED}{family}" for family in FAMILIES}:
        raise UsageError(
            f"{shown(folder)} holds a {kind!r} model, not a converted one: make one with `modbench convert "
            f"{PREFIX}{folder} --to mod --out FOLDER`."
        )
    model: MoDModel = load(said, "model", path, **options)
    return model


class MoDForCausalLM:
    """Loads a converted model of any family: `MoDForCausalLM.from_pretrained(FOLDER)`, as `load_converted`."""

    from_pretrained = staticmethod(load_converted)


class Cache:
    """What a model keeps between decode steps: a cache of transformers, which grows without changing a tensor in place.

    Attributes:
        kept: transformers' cache; None before the first call.
        seen: tokens of each row so far.
    """

    def __init__(self, kept: DynamicCache | None, seen: int) -> None:
        self.kept: Any = kept
        self.seen = seen

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values."""
        parts = [part for layer in self.kept.layers for part in (layer.keys, layer.values) if part is not None]
        return sum(part.numel() * part.element_size() for part in parts)

    def mark(self) -> tuple[int, list[dict[str, Any]]]:
        """The present state."""
        return self.seen, [dict(vars(layer)) for layer in self.kept.layers]

    def rewind(self, mark: tuple[int, list[dict[str, Any]]]) -> None:
        """Return to a state that `mark` gave."""
        self.seen, layers = mark
        for layer, state in zip(self.kept.layers, layers, strict=True):
            vars(layer).update(state)


class Logits(Wrapper):
    """From tokens [B, T] to logits [B, T, V], with all that modbench asks a model for (docs/your-model.md).

    Args:
        model: the converted model.
        rule: how tokens are chosen where nothing else is asked for. With `causal`, and in decoding, it is the configured rule.
    """

    def __init__(self, model: MoDModel, rule: str = "top_k") -> None:
        super().__init__()
        with model.routed_by(rule):
            self.model, self.rule = model, rule
        self._auxiliary: Tensor | None = None

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """Logits; `lengths_B` are the real tokens of each row, the rest is padding on the right."""
        routing = self.model.routing
        mask_BT = None if lengths_B is None else real_tokens(tokens_BT, lengths_B).long()
        routing.auxiliary = [] if self.training else None
        try:
            with self._routed(causal=causal), called_with(tokens_BT):
                logits_BTV: Tensor = self.model(input_ids=tokens_BT, attention_mask=mask_BT, use_cache=False).logits
            self._auxiliary = (
                sum(routing.auxiliary, logits_BTV.new_zeros(())) if routing.auxiliary is not None else None
            )
        finally:
            routing.auxiliary = None
        return logits_BTV

    def aux_loss(self) -> Tensor:
        """The predictors' losses in the last forward pass of training."""
        assert self._auxiliary is not None, "a forward pass in training mode comes first"
        return self._auxiliary

    def observe(
        self,
        tokens_BT: Tensor,
        lengths_B: Tensor | None = None,
        *,
        causal: bool = False,
        flip_LBT: Tensor | None = None,
    ) -> tuple[Tensor, list[Decision]]:
        """Logits, and what every router decided, after reversing the decisions in `flip_LBT` (L: all layers)."""
        routing = self.model.routing
        routing.decisions, routing.flip_LBT = [], flip_LBT
        try:
            logits_BTV = self(tokens_BT, lengths_B, causal=causal)
            return logits_BTV, routing.decisions
        finally:
            routing.decisions = routing.flip_LBT = None

    def calibrate(self, tokens_BT: Tensor) -> None:
        """Set the thresholds from typical text."""
        self.model.calibrate(tokens_BT)

    def prefill(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> tuple[Tensor, Cache]:
        """Read prompts; logits [B, V] after the last token of each row.

        Raises:
            ValueError: if prompts have different lengths: transformers pads them on the left, which `generate` serves.
        """
        if lengths_B is not None and bool((lengths_B != tokens_BT.shape[1]).any()):
            raise ValueError("prefill: prompts of one length; for others call model.generate with padding on the left")
        cache = Cache(None, 0)
        return self._step(tokens_BT, cache), cache

    def decode(self, tokens_B: Tensor, cache: Cache) -> Tensor:
        """Logits [B, V] after one more token in each row."""
        return self._step(tokens_B[:, None], cache)

    def _step(self, tokens_BT: Tensor, cache: Cache) -> Tensor:
        name = self.model.routed_layers[0].cache_name
        t = tokens_BT.shape[1]
        told = {} if cache.kept is None else {name: cache.kept}
        with self._routed(causal=True):
            position_1T = torch.arange(cache.seen, cache.seen + t, device=tokens_BT.device)[None]
            out = self.model(input_ids=tokens_BT, position_ids=position_1T, use_cache=True, logits_to_keep=1, **told)
        cache.kept, cache.seen = out[name], cache.seen + t
        logits_BV: Tensor = out.logits[:, -1]
        return logits_BV

    def _routed(self, *, causal: bool) -> AbstractContextManager[None]:
        return self.model.routed_by(self.model.options.causal if causal else self.rule)


def build(config: object, path: str, rule: str = "top_k") -> Logits:
    """The converted model in a folder, for Python: `build(None, FOLDER)`.

    Args:
        config: None. As `--model modbench.plugins.huggingface.mod:build(path=FOLDER)` modbench would pass a shape here, and feed
            bytes to a model that was trained with a tokenizer.
        path: the folder.
        rule: how tokens are chosen (see `MoDModel.route_by`) in training and in losses that may see later tokens.

    Raises:
        UsageError: if the folder holds no converted model, or modbench asks for it by this function's name.
    """
    if config is not None:
        said = "" if rule == "top_k" else f"(rule={rule})"
        raise UsageError(
            f"build(path={path}) would not use the tokenizer of {shown(path)}: write --model '{PREFIX}{path}{said}'."
        )
    return Logits(load_converted(path), rule)
