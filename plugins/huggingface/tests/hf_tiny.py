"""Tiny random models of every family that `convert` knows, and a slow MoD to hold the converted ones against."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor

from modbench.plugins.huggingface.mod import MoDModel, MoDOptions, convert

VOCABULARY, LAYERS = 64, 3
FAMILIES = ("llama", "qwen2", "qwen3", "gpt2")


def dense(family: str, seed: int = 0, **changes: Any) -> Any:
    """A model in evaluation mode: hidden 32, 3 layers, 4 heads, grouped keys; norms and biases are drawn."""
    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "bos_token_id": 1,
        "eos_token_id": None,
        "pad_token_id": 0,
    }
    if family != "gpt2":
        shape |= {"intermediate_size": 48, "num_key_value_heads": 2}
    if family == "qwen3":
        shape |= {"head_dim": 8}
    names = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "gpt2": "GPT2"}
    made = "LMHeadModel" if family == "gpt2" else "ForCausalLM"
    config = getattr(transformers, f"{names[family]}Config")(**{**shape, **changes})
    torch.manual_seed(seed)
    model = getattr(transformers, names[family] + made)(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.uniform_(0.5, 1.5) if weight.ndim == 1 else weight.mul_(8)
    return model.eval()


def routed(family: str, tokens_BT: Tensor | None = None, **options: Any) -> MoDModel:
    """The same model, converted: capacity 0.5, layers 0 and 2, scores of standard deviation 1; calibrated on the tokens."""
    chosen = {"capacity": 0.5, "first_routed": 0, "router_init": 1.0, **options}
    model = convert(dense(family), MoDOptions(**chosen), seed=1)
    if tokens_BT is not None:
        model.calibrate(tokens_BT)
    return model


def tokens(rows: int, length: int, seed: int = 0) -> Tensor:
    """Random tokens [rows, length], none of them padding and none twice in a row: equal tokens tie, and any of them may win."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(VOCABULARY - 2, generator=generator)[:length] + 2 for _ in range(rows)])


def padded(parts: list[Tensor], length: int, side: str) -> tuple[Tensor, Tensor]:
    """Rows of different lengths in one batch, and the mask that says where they are."""
    ids = torch.zeros(len(parts), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, part in enumerate(parts):
        here = slice(length - len(part), length) if side == "left" else slice(0, len(part))
        ids[row, here], mask[row, here] = part, 1
    return ids, mask


@torch.no_grad()
def slow(original: Any, model: MoDModel, row_T: Tensor, rule: str) -> Tensor:
    """Logits [T, V] of one sequence, token by token, from the dense model's own layers and the router's weights.

    A chosen token sees the chosen tokens up to itself, at their own positions; it moves by w·(layer(x) - x).
    """
    stream_TD = original(row_T[None], output_hidden_states=True).hidden_states[0][0]
    base = original.base_model
    blocks = base.h if hasattr(base, "h") else base.layers
    routers = {layer.index: layer.router for layer in model.routed_layers}
    for index, block in enumerate(blocks):
        chosen, weights_T = list(range(len(row_T))), torch.ones(len(row_T))
        if index in routers:
            weight_D = routers[index].score_weight.weight[0]
            scores = [float(x_D @ weight_D / x_D.square().mean().sqrt()) for x_D in stream_TD]
            kept = max(1, int(model.options.capacity * len(scores)))
            ordered = sorted(range(len(scores)), key=lambda t: -scores[t])
            above = [t for t, score in enumerate(scores) if score > float(routers[index].threshold.value)]
            chosen = sorted(ordered[:kept]) if rule == "top_k" else above
            weights_T = 2 * torch.tensor(scores).sigmoid()
        moved_TD = stream_TD.clone()
        for t in chosen:
            grid_points = torch.tensor([grid_point for grid_point in chosen if grid_point <= t])
            seen_1nD = stream_TD[grid_points][None]
            told = {}
            if hasattr(base, "rotary_emb"):
                told["position_embeddings"] = base.rotary_emb(seen_1nD, position_ids=grid_points[None])
            given = block(seen_1nD, **told)
            out_D = (given[0] if isinstance(given, tuple) else given)[0, -1]
            moved_TD[t] = stream_TD[t] + weights_T[t] * (out_D - stream_TD[t])
        stream_TD = moved_TD
    norm = base.ln_f if hasattr(base, "ln_f") else base.norm
    logits_TV: Tensor = original.lm_head(norm(stream_TD))
    return logits_TV
