"""From a dense model to a converted one, with routers that start where the layers do most.

Shapes: B batch, T tokens, D width, N tokens of all rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from modbench.extend import UsageError
from modbench.plugins.huggingface.mod.families import FAMILIES, MoDModel
from modbench.plugins.huggingface.mod.layer import RoutedLayer, unit
from modbench.plugins.huggingface.model.mod_options import MoDOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Fields of its config that do not hold for the converted one: of GGUF files, which are dequantised, how they were quantised; of
# folders that bring code, where it is.
OF_THE_DENSE_MODEL = {"model_type", "architectures", "quantization_config", "auto_map"}
# Strength of the ridge, as a share of the mean square of what the router reads (which is 1).
RIDGE = 0.1


def convert(dense: PreTrainedModel, options: MoDOptions, seed: int = 0) -> MoDModel:
    """A model with the weights of `dense`, some of whose layers are routed; routers are drawn from the seed.

    The weights are shared with `dense`, not copied. Thresholds are not set yet: see `MoDModel.calibrate`.

    Raises:
        UsageError: if the family is unknown, or no layer would be routed.
    """
    kind = dense.config.model_type
    if kind not in FAMILIES:
        raise UsageError(f"cannot convert a {kind!r} model: known are {', '.join(FAMILIES)}.")
    made_class: Any = FAMILIES[kind]
    stored = dense.config.to_dict()
    config = made_class.config_class.from_dict({name: stored[name] for name in stored.keys() - OF_THE_DENSE_MODEL})
    config.mod = options.as_dict()
    with torch.random.fork_rng(devices=[]):  # drawn weights that are replaced at once must not move the caller's seed
        model: MoDModel = made_class._from_config(config, attn_implementation=dense.config._attn_implementation)  # noqa: SLF001
    missing = model.load_state_dict(dense.state_dict(), strict=False, assign=True)
    lost = [name for name in missing.missing_keys if ".router." not in name]
    assert not lost, lost
    assert not missing.unexpected_keys, missing.unexpected_keys
    model.tie_weights()  # type: ignore[operator]  # of PreTrainedModel
    generator = torch.Generator().manual_seed(seed)
    for layer in model.routed_layers:
        layer.router.reset(generator)
    model.generation_config = dense.generation_config
    return model.train(dense.training)


@torch.no_grad()
def start_where_layers_do_most(model: MoDModel, batches: list[Tensor]) -> None:
    """Set the routers by least squares: a token's score follows how much the dense layer changes it.

    The target is the logarithm of ‖layer(x) - x‖ ÷ ‖x‖ in the dense model on the tokens [B, T] of `batches`; scores are scaled
    to a standard deviation of `router_init` around 0.
    """
    layers = model.routed_layers
    sums: list[Any] = [None] * len(layers)

    def watch(place: int, layer: RoutedLayer) -> RemovableHandle:
        def hook(
            _: RoutedLayer, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor | tuple[Tensor, ...]
        ) -> None:
            x_BTD: Tensor = args[0] if args else kwargs["hidden_states"]
            y_BTD = output[0] if isinstance(output, tuple) else output
            change_N = ((y_BTD - x_BTD).float().norm(dim=-1) / x_BTD.float().norm(dim=-1).clamp(min=1e-12)).flatten()
            u_ND, target_N = unit(x_BTD).flatten(0, 1).double(), change_N.clamp(min=1e-12).log().double()
            ones_N1 = torch.ones_like(u_ND[:, :1])
            u_ND = torch.cat([u_ND, ones_N1], 1)
            parts = (u_ND.T @ u_ND, u_ND.T @ target_N)
            sums[place] = (
                parts if sums[place] is None else tuple(a + b for a, b in zip(sums[place], parts, strict=True))
            )

        return layer.register_forward_hook(hook, with_kwargs=True)

    handles = [watch(place, layer) for place, layer in enumerate(layers)]
    try:
        with model.routed_by("dense"):
            for tokens_BT in batches:
                model(input_ids=tokens_BT, use_cache=False, logits_to_keep=1)
    finally:
        for handle in handles:
            handle.remove()
    for layer, (gram_DD, right_D) in zip(layers, sums, strict=True):
        number = gram_DD[-1, -1]
        ridge_D = torch.full_like(right_D, float(RIDGE * number))
        ridge_D[-1] = 0
        weight_D = torch.linalg.solve(gram_DD + ridge_D.diag(), right_D)[:-1]
        mean_D = gram_DD[:-1, -1] / number
        variance = weight_D @ (gram_DD[:-1, :-1] / number - mean_D.outer(mean_D)) @ weight_D
        scaled_D = weight_D * (layer.options.router_init / variance.clamp(min=1e-12).sqrt())
        layer.router.score_weight.weight.copy_(scaled_D[None].float())
