"""The converted models: Llama (SmolLM too), Qwen 2, Qwen 3 and GPT-2 with routed layers, known to transformers' Auto classes.

Importing this module registers them, so that `AutoModelForCausalLM.from_pretrained(FOLDER)` finds them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer

from modbench.extend import UsageError
from modbench.plugins.huggingface.mod.layer import RULES, RoutedLayer, Routing, TokenRouter
from modbench.plugins.huggingface.model.mod_options import MoDOptions

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def _with_padding_mask(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A model's forward pass, from which the routed layers learn what is padding. Its signature stays: `generate` reads it."""
    signature = inspect.signature(forward)

    @functools.wraps(forward)
    def masked(self: MoDModel, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # as the model itself
        given = signature.bind(self, *args, **kwargs).arguments
        mask, tokens = given.get("attention_mask"), given.get("input_ids")
        length: int = (given["inputs_embeds"] if tokens is None else tokens).shape[1]
        if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
            raise ValueError("attention_mask: a routed layer needs it as [B, T], 1 for tokens and 0 for padding")
        # Without padding there is nothing to know, and top-k has one k for all rows.
        real_BT = None if mask is None else mask[:, -length:].bool()
        self.routing.real_BT = None if real_BT is None or bool(real_BT.all()) else real_BT
        try:
            return forward(self, *args, **kwargs)
        finally:
            self.routing.real_BT = None

    return masked


class MoDModel(nn.Module):
    """What converted models of all families share; it stands before the family's own class.

    Attributes:
        routing: how the routed layers choose now.
    """

    layer_class: ClassVar[type[RoutedLayer]]
    layers_name: ClassVar[str] = "layers"
    supports_gradient_checkpointing = False  # a layer that runs twice would report its decisions twice
    _can_compile_fullgraph = False
    _keep_in_fp32_modules_strict: ClassVar[set[str]] = {"router"}

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.options = MoDOptions(**(config.mod or {}))
        config.mod = self.options.as_dict()
        if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
            raise UsageError("this model has layers with sliding-window attention, which cannot be routed yet.")
        self.routing = Routing()
        layers = getattr(self.base_model, self.layers_name)
        for index in self.options.layers(len(layers)):
            layers[index] = made = self.layer_class(config, index)
            made.routing = self.routing
        self.post_init()  # type: ignore[operator]  # of PreTrainedModel

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[misc]  # of PreTrainedModel
        if isinstance(module, TokenRouter) and not getattr(module.score_weight.weight, "_is_hf_initialized", False):
            module.reset()

    @property
    def routed_layers(self) -> list[RoutedLayer]:
        """Its routed layers, first layer first."""
        return [module for module in self.modules() if isinstance(module, RoutedLayer)]

    @property
    def router_parameters(self) -> list[nn.Parameter]:
        """Weights of all routers and predictors."""
        return [weight for layer in self.routed_layers for weight in layer.router.parameters()]

    def route_by(self, rule: str) -> None:
        """Set how tokens are chosen from now on.

        Args:
            rule: `top_k` (sees later tokens), `threshold`, `predictor`, `dense` (every token, multiplier 1), or `auto`: top-k
                while training, the configured causal rule otherwise.

        Raises:
            UsageError: if the rule is unknown.
        """
        if rule not in RULES:
            raise UsageError(f"routing rule {rule!r}: known are {', '.join(RULES)}.")
        self.routing.rule = rule

    @contextmanager
    def routed_by(self, rule: str) -> Iterator[None]:
        """`route_by` for the length of a `with` block."""
        before = self.routing.rule
        self.route_by(rule)
        try:
            yield
        finally:
            self.routing.rule = before

    @torch.no_grad()
    def calibrate(self, tokens_BT: Tensor) -> None:
        """Set the thresholds so that a share `capacity` of these tokens passes; routed by top-k meanwhile."""
        self.routing.calibrating = True
        try:
            with self.routed_by("top_k"):
                self(input_ids=tokens_BT, use_cache=False, logits_to_keep=1)
        finally:
            self.routing.calibrating = False


class MoDLlamaConfig(LlamaConfig):  # type: ignore[misc]  # transformers is not seen by the type checker
    """A Llama config with `mod`: the fields of `MoDOptions`."""

    model_type = "mod_llama"
    mod: dict[str, Any] | None = None


class MoDQwen2Config(Qwen2Config):  # type: ignore[misc]  # as above
    """A Qwen 2 config with `mod`."""

    model_type = "mod_qwen2"
    mod: dict[str, Any] | None = None


class MoDQwen3Config(Qwen3Config):  # type: ignore[misc]  # as above
    """A Qwen 3 config with `mod`."""

    model_type = "mod_qwen3"
    mod: dict[str, Any] | None = None


class MoDGPT2Config(GPT2Config):  # type: ignore[misc]  # as above
    """A GPT-2 config with `mod`."""

    model_type = "mod_gpt2"
    mod: dict[str, Any] | None = None


class RoutedLlamaLayer(RoutedLayer, LlamaDecoderLayer):  # type: ignore[misc]  # as above
    """A routed layer of Llama."""


class RoutedQwen2Layer(RoutedLayer, Qwen2DecoderLayer):  # type: ignore[misc]  # as above
    """A routed layer of Qwen 2."""


class RoutedQwen3Layer(RoutedLayer, Qwen3DecoderLayer):  # type: ignore[misc]  # as above
    """A routed layer of Qwen 3."""


class RoutedGPT2Layer(RoutedLayer, GPT2Block):  # type: ignore[misc]  # as above
    """A routed layer of GPT-2."""


class MoDLlamaForCausalLM(MoDModel, LlamaForCausalLM):  # type: ignore[misc]  # as above
    """Llama with routed layers."""

    config_class = MoDLlamaConfig
    layer_class = RoutedLlamaLayer
    forward = _with_padding_mask(LlamaForCausalLM.forward)


class MoDQwen2ForCausalLM(MoDModel, Qwen2ForCausalLM):  # type: ignore[misc]  # as above
    """Qwen 2 with routed layers."""

    config_class = MoDQwen2Config
    layer_class = RoutedQwen2Layer
    forward = _with_padding_mask(Qwen2ForCausalLM.forward)


class MoDQwen3ForCausalLM(MoDModel, Qwen3ForCausalLM):  # type: ignore[misc]  # as above
    """Qwen 3 with routed layers."""

    config_class = MoDQwen3Config
    layer_class = RoutedQwen3Layer
    forward = _with_padding_mask(Qwen3ForCausalLM.forward)


class MoDGPT2LMHeadModel(MoDModel, GPT2LMHeadModel):  # type: ignore[misc]  # as above
    """GPT-2 with routed layers."""

    config_class = MoDGPT2Config
    layer_class = RoutedGPT2Layer
    layers_name = "h"
    forward = _with_padding_mask(GPT2LMHeadModel.forward)


# Of the dense model's `model_type`.
FAMILIES: dict[str, type[MoDModel]] = {
    "llama": MoDLlamaForCausalLM,
    "qwen2": MoDQwen2ForCausalLM,
    "qwen3": MoDQwen3ForCausalLM,
    "gpt2": MoDGPT2LMHeadModel,
}
for _model in FAMILIES.values():
    AutoConfig.register(_model.config_class.model_type, _model.config_class, exist_ok=True)  # type: ignore[attr-defined]  # set in every family
    AutoModelForCausalLM.register(_model.config_class, _model, exist_ok=True)  # type: ignore[attr-defined]  # as above
