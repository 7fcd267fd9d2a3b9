"""The shape of a model: TOML keys, `--set` names and the attributes of `config` alike."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

ROUTING_KEYS = ("capacity", "every", "first_routed", "router", "n_experts", "experts_top_k", "capacity_factor")


class ModelConfig(BaseModel):
    """What `build(config)` is given. Frozen; every derived field is filled in when it is made.

    Attributes:
        d_model: width of the residual stream.
        n_layers: number of blocks.
        n_heads: attention heads; default one per 64 of width.
        n_kv_heads: key/value heads (grouped-query attention); default `n_heads`.
        d_ff: hidden width of the MLP; default 8/3 of the width rounded up to 64 (SwiGLU), 4 times the width (GELU).
        vocab_size: number of tokens; 256 is bytes.
        max_seq_len: longest sequence that the rotary table serves.
        activation: `swiglu` or `gelu`.
        tied: whether the head shares the embedding's weights.
        capacity: share of tokens that a routed block takes (MoD), or of token-expert assignments that reach a real
            expert (`mode_integrated`); None where nothing is routed by capacity.
        every: every n-th block is routed.
        first_routed: index of the first routed block, counted from 0.
        router: name of the router.
        n_experts: experts in a routed MLP.
        experts_top_k: experts that a token gets on average.
        capacity_factor: an expert's headroom.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    d_model: int = Field(256, ge=2)
    n_layers: int = Field(4, ge=1)
    n_heads: int = Field(None, ge=1)  # type: ignore[assignment]  # filled in by _derive
    n_kv_heads: int = Field(None, ge=1)  # type: ignore[assignment]  # filled in by _derive
    d_ff: int = Field(None, ge=1)  # type: ignore[assignment]  # filled in by _derive
    vocab_size: int = Field(256, ge=2)
    max_seq_len: int = Field(2048, ge=1)
    activation: Literal["swiglu", "gelu"] = "swiglu"
    tied: bool = False
    capacity: float | None = Field(None, gt=0, le=1)
    every: int = Field(2, ge=1)
    first_routed: int = Field(1, ge=0)
    router: str = "learned"
    n_experts: int = Field(4, ge=1)
    experts_top_k: int = Field(1, ge=1)
    capacity_factor: float = Field(1.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, data: dict[str, Any]) -> dict[str, Any]:
        data = {key: value for key, value in data.items() if value is not None}
        d_model = data.get("d_model", 256)
        if isinstance(d_model, int) and not isinstance(d_model, bool):
            heads = data.setdefault("n_heads", max(1, d_model // 64))
            data.setdefault("n_kv_heads", heads)
            gelu = data.get("activation") == "gelu"
            data.setdefault("d_ff", 4 * d_model if gelu else -(-8 * d_model // (3 * 64)) * 64)
        return data

    @model_validator(mode="after")
    def _fits(self) -> ModelConfig:
        if self.d_model % (2 * self.n_heads):
            raise ValueError(
                f"d_model {self.d_model} over n_heads {self.n_heads} must be an even whole number (rotary pairs)"
            )
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads {self.n_heads} must be a multiple of n_kv_heads {self.n_kv_heads}")
        if self.experts_top_k * self.capacity_factor > self.n_experts:
            raise ValueError(
                f"experts_top_k {self.experts_top_k} x capacity_factor {self.capacity_factor:g} asks each expert for "
                f"more tokens than there are; at most n_experts {self.n_experts} fits"
            )
        return self

    def routed(self, layer: int) -> bool:
        """Whether block `layer` (from 0) is routed."""
        return layer >= self.first_routed and (layer - self.first_routed) % self.every == 0
