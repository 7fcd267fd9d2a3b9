"""Our models' closed forms for published shapes. Nothing is built: the models' `cost` and `decode_cost` are called."""

from __future__ import annotations

from typing import Any

from modbench.harness.core import catalogue
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Cost, DecodeCost
from modbench.harness.flops.closed_form import closed_form

GPT2: dict[str, Any] = {"activation": "gelu", "norm": "layer", "position": "learned", "tied": True}


def dense(seq_len: int = 1, **shape: Any) -> Cost:  # noqa: ANN401  # keys of ModelConfig
    """Cost of our dense model at batch size 1."""
    return closed_form("dense", _config("dense", seq_len, shape), seq_len, 1)


def kv_cache(context: int, **shape: Any) -> float:  # noqa: ANN401
    """Elements of keys and values that our dense model keeps after a context, for one sequence."""
    decode: DecodeCost = catalogue.load("models", "dense").decode_cost(_config("dense", context, shape), context, 1)
    return decode.held


def moe(seq_len: int = 1, **shape: Any) -> Cost:  # noqa: ANN401
    """Cost of our MoE at batch size 1; tokens choose their experts, which every block has from `first_routed` on (default 0)."""
    return closed_form("moe", _config("moe", seq_len, shape), seq_len, 1)


def activated(*, router: bool = True, **shape: Any) -> float:  # noqa: ANN401
    """Parameters of our MoE that one token meets: all but the experts that it does not choose; embedding and head included.

    Args:
        router: whether the router is counted.
        shape: keys of the configuration, with `experts_top_k`.
    """
    d, experts, chosen = (shape[key] for key in ("d_model", "n_experts", "experts_top_k"))
    layers = shape["n_layers"] - shape.get("first_routed", 0)
    with_few = moe(**(shape | {"n_experts": chosen})).params
    return float(with_few + layers * d * ((experts - chosen) if router else -chosen))


def _config(model: str, seq_len: int, shape: dict[str, Any]) -> ModelConfig:
    options = dict(catalogue.model_options(model))
    if model == "moe":
        options |= {"every": 1, "first_routed": 0, "choice": "token"}
    return ModelConfig.model_validate({"max_seq_len": seq_len, **options, **shape})
