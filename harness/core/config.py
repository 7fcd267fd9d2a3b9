"""The configuration of a model: the same names in TOML, in `--set` and as attributes of `config`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from modbench.harness.core.errors import UsageError
from modbench.harness.core.units import plain_share

# Keys that every model reads. All other keys belong to a variant, and a model names those that it reads.
SHAPE_KEYS = (
    *(
        "d_model",
        "n_layers",
        "n_heads",
        "n_kv_heads",
        "head_dim",
        "d_ff",
        "vocab_size",
        "max_seq_len",
        "activation",
        "norm",
    ),
    *(
        "position",
        "tied",
        "mixer",
        "window",
        "kernel_size",
        "bidirectional",
        "n_classes",
        "decode_policy",
        "decode_rows",
    ),
)


# Limits of what a configuration can mean, far above what anybody has built: a loop over 10^20 layers would not end. A model of a
# trillion parameters has about 200 layers of width 20,000.
MOST_LAYERS, MOST_WIDTH, MOST_TOKENS = 10_000, 2**22, 2**30
MOST_EXPERTS, MOST_BRANCHES = 2**16, 64


# Keys that are shares, which text may give in per cent.
SHARE_KEYS = frozenset({"capacity", "capacity_warmup", "decode_rows", "participation", "depth_ratio"})


def with_shares(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a model in which each share is a number, or a list of them."""
    return {
        key: value
        if key not in SHARE_KEYS
        else [*map(plain_share, value)]
        if isinstance(value, list | tuple)
        else plain_share(value)
        for key, value in settings.items()
    }


def check_sizes(sizes: Iterable[int]) -> None:
    """Check sequence lengths or batch sizes, wherever they are given.

    Raises:
        UsageError: if one is below 1, or more than anything that can be run.
    """
    for size in sizes:
        if size < 1:
            raise UsageError(f"{size} is below 1: sequence lengths and batch sizes are at least 1.")
        if size > MOST_TOKENS:
            raise UsageError(f"a number over {MOST_TOKENS:,} is more than anything that can be run.")


class ModelConfig(BaseModel):
    """The configuration that `build(config)` is given. Immutable; derived fields are filled in on creation.

    Attributes:
        d_model: width of the residual stream.
        n_layers: number of blocks.
        n_heads: attention heads; default one per 64 of width.
        n_kv_heads: key/value heads (grouped-query attention); default `n_heads`.
        head_dim: width of a head, even; default d_model / n_heads. Set apart, queries are n_heads x head_dim wide.
        d_ff: hidden width of the MLP; default 8/3 of the width rounded up to 64 (SwiGLU), 4 times the width (GELU).
        vocab_size: number of tokens; 256 is bytes.
        max_seq_len: longest sequence that the table of positions serves.
        activation: `swiglu` or `gelu`.
        norm: `rms` (RMSNorm), or `layer` (LayerNorm with scale and shift).
        position: `rotary` (queries and keys are rotated), or `learned` (a vector for each position is added to the embedding).
        tied: whether the head shares the embedding's weights.
        mixer: what mixes tokens: `attention`, `window` (each token attends to the last `window` tokens that its block
            saw), `convolution` (dynamic, causal).
        window: tokens that a window reaches back, the token itself included.
        kernel_size: tokens that a dynamic convolution reaches back, the token itself included.
        bidirectional: an encoder with a classifier head over the mean of the tokens, instead of a language model.
        n_classes: classes of that head.
        decode_policy: what a routed block does with a batch at decode: `host` (asks the host which rows pass and
            computes those), `budget` (a fixed number of rows, no host decision), `masked` (computes all rows).
        decode_rows: share of the batch's rows that `budget` computes; None is twice the expected share, at most 1.
        capacity: share of tokens that a routed block takes (MoD), or of token-expert assignments that reach a real
            expert (`mode_integrated`); None where nothing is routed by capacity.
        capacity_warmup: share of a training run over which capacity falls from 1 to `capacity`, linearly in steps.
        round_k: k of the top-k is rounded up to a multiple of this (tensor cores like 8, 16, 64); 1 is the paper's floor.
            Causal rules aim at `capacity` itself.
        every: every n-th block is routed.
        first_routed: index of the first routed block, counted from 0.
        granularity: what a routed block skips: the whole `block`, only its `attention`, or only its `mlp`.
        router: name of the router.
        multiplier: what a learned router multiplies the block's output by: its `raw` score, or the score's `sigmoid`.
        router_init: standard deviation of a learned router's scores at the start, where the stream has 1; 0 starts at 0.
        causal: how a learned router decides without the future: `predictor` (a small MLP trained to predict the
            top-k), `aux_loss` (the score itself is trained to be above 0 exactly there), `threshold` (the quantile of
            scores that `calibrate` found), `none` (it does not).
        prefill: how prompts are routed when generating: `causal` as at decode, or `top_k` over each prompt.
        predictor_width: hidden width of the predictor.
        aux_weight: weight of every auxiliary loss.
        participation: share of tokens that the `synthetic` router passes where it decides causally; None is `capacity`.
        row_correlation: correlation, between rows of a batch, of the normal noise that synthetic decisions threshold
            (decisions themselves correlate less: at 12.5 % and 0.5 about 0.26).
        layer_correlation: the same between routed layers.
        n_experts: experts in a routed MLP.
        expert_d_ff: hidden width of each expert; default `d_ff`.
        shared_experts: experts that every token of the layer passes, each of width `expert_d_ff`, beside the routed ones.
        n_no_ops: no-op experts of `mode_integrated`; None: one where experts choose, and where tokens choose as many as make
            `capacity` the share of real experts among all, N (1 - capacity) / capacity.
        no_op: what a no-op gives a token that chose it: nothing (`zero`), the token itself weighed by its probability
            (`identity`), or a learned mix of it and a learned vector (`constant`).
        no_op_logits: whether no-ops have logits of their `own`, or are copies of one, `shared`.
        balance: how a share `capacity` of the choices is held real where tokens choose: by a `loss` over all choices, by a
            `bias` on the selection, or by a `threshold` below which a token takes a no-op instead.
        experts_top_k: experts that a token gets (`choice = "token"`), or gets on average (`"expert"`).
        capacity_factor: an expert's headroom; below 1, experts cannot take all tokens and some are dropped.
        choice: whether each `expert` chooses its tokens or each `token` its experts.
        n_branches: branches of `depth_branches`.
        gate: how a depth gate is trained: `straight_through`, or `gumbel` noise on its logits as well.
        gate_tokens: tokens at the start of a sequence that a depth gate may read where no prompt is named.
        depth_ratio: mean share of blocks that a depth gate is trained towards.
        depth_weight: weight of the loss that trains towards `depth_ratio`.
        forced_depth: blocks that every input gets, whatever the gate says; None: the gate decides.
        skip_below: `depth_scale` leaves out layers whose scale is smaller than this.
        exit_by: whether `early_exit` stops single `token`s or whole `sequence`s.
        exit_threshold: probability of the likeliest next token at which `early_exit` stops.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    d_model: int = Field(256, ge=2, le=MOST_WIDTH)
    n_layers: int = Field(4, ge=1, le=MOST_LAYERS)
    n_heads: int = Field(None, ge=1, le=MOST_WIDTH)  # type: ignore[assignment]  # filled in by _derive
    n_kv_heads: int = Field(None, ge=1, le=MOST_WIDTH)  # type: ignore[assignment]  # filled in by _derive
    head_dim: int = Field(None, ge=2, le=MOST_WIDTH)  # type: ignore[assignment]  # filled in by _derive
    d_ff: int = Field(None, ge=1, le=16 * MOST_WIDTH)  # type: ignore[assignment]  # filled in by _derive
    vocab_size: int = Field(256, ge=2, le=MOST_TOKENS)
    max_seq_len: int = Field(2048, ge=1, le=MOST_TOKENS)
    activation: Literal["swiglu", "gelu"] = "swiglu"
    norm: Literal["rms", "layer"] = "rms"
    position: Literal["rotary", "learned"] = "rotary"
    tied: bool = False
    mixer: Literal["attention", "window", "convolution"] = "attention"
    window: int = Field(256, ge=1, le=MOST_TOKENS)
    kernel_size: int = Field(7, ge=1, le=MOST_TOKENS)
    bidirectional: bool = False
    n_classes: int = Field(2, ge=2, le=MOST_TOKENS)
    decode_policy: Literal["host", "budget", "masked"] = "host"
    decode_rows: float | None = Field(None, gt=0, le=1)
    capacity: float | None = Field(None, gt=0, le=1)
    capacity_warmup: float = Field(0.0, ge=0, le=1)
    round_k: int = Field(1, ge=1, le=MOST_TOKENS)
    every: int = Field(2, ge=1, le=MOST_LAYERS)
    first_routed: int = Field(1, ge=0, le=MOST_LAYERS)
    granularity: Literal["block", "attention", "mlp"] = "block"
    router: str = "learned"
    multiplier: Literal["raw", "sigmoid"] = "raw"
    router_init: float = Field(1.0, ge=0, le=1e6)
    causal: Literal["predictor", "aux_loss", "threshold", "none"] = "predictor"
    prefill: Literal["causal", "top_k"] = "causal"
    predictor_width: int = Field(64, ge=1, le=MOST_WIDTH)
    aux_weight: float = Field(0.01, ge=0, le=1e6)
    participation: float | None = Field(None, ge=0, le=1)
    row_correlation: float = Field(0.0, ge=0, le=1)
    layer_correlation: float = Field(0.0, ge=0, le=1)
    n_experts: int = Field(4, ge=1, le=MOST_EXPERTS)
    expert_d_ff: int | None = Field(None, ge=1, le=16 * MOST_WIDTH)
    shared_experts: int = Field(0, ge=0, le=MOST_EXPERTS)
    n_no_ops: int | None = Field(None, ge=1, le=MOST_EXPERTS)
    no_op: Literal["zero", "identity", "constant"] = "zero"
    no_op_logits: Literal["own", "shared"] = "own"
    balance: Literal["loss", "bias", "threshold"] = "loss"
    experts_top_k: int = Field(1, ge=1, le=MOST_EXPERTS)
    capacity_factor: float = Field(1.0, gt=0, le=1e6)
    choice: Literal["expert", "token"] = "expert"
    n_branches: int = Field(3, ge=1, le=MOST_BRANCHES)
    gate: Literal["straight_through", "gumbel"] = "straight_through"
    gate_tokens: int = Field(16, ge=1, le=MOST_TOKENS)
    depth_ratio: float = Field(0.5, gt=0, le=1)
    depth_weight: float = Field(0.1, ge=0, le=1e6)
    forced_depth: int | None = Field(None, ge=1, le=MOST_LAYERS)
    skip_below: float = Field(0.05, ge=0, le=1e6)
    exit_by: Literal["token", "sequence"] = "sequence"
    exit_threshold: float = Field(0.9, gt=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, data: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(data, dict):  # a damaged file, as pydantic will say
            return data
        data = {key: value for key, value in data.items() if value is not None}
        d_model = data.get("d_model", 256)
        if isinstance(d_model, int) and not isinstance(d_model, bool):
            heads = data.setdefault("n_heads", max(1, d_model // 64))
            data.setdefault("n_kv_heads", heads)
            if isinstance(heads, int) and heads > 0 and d_model % (2 * heads) == 0:
                data.setdefault("head_dim", d_model // heads)
            gelu = data.get("activation") == "gelu"
            data.setdefault("d_ff", 4 * d_model if gelu else -(-8 * d_model // (3 * 64)) * 64)
        return data

    @model_validator(mode="after")
    def _fits(self) -> ModelConfig:
        if self.head_dim is None:
            raise ValueError(
                f"d_model {self.d_model} over n_heads {self.n_heads} must be an even whole number (rotary pairs); or set head_dim"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} must be even (rotary pairs)")
        if self.mixer == "convolution" and self.attention_width != self.d_model:
            raise ValueError(
                f"mixer 'convolution' divides d_model {self.d_model} among n_heads {self.n_heads}: leave out head_dim "
                f"{self.head_dim}"
            )
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads {self.n_heads} must be a multiple of n_kv_heads {self.n_kv_heads}")
        if self.experts_top_k > self.n_experts:
            raise ValueError(f"experts_top_k {self.experts_top_k} is more than n_experts {self.n_experts}")
        if self.choice == "expert" and self.experts_top_k * self.capacity_factor > self.n_experts:
            raise ValueError(
                f"experts_top_k {self.experts_top_k} x capacity_factor {self.capacity_factor:g} asks each expert for "
                f"more tokens than there are; at most n_experts {self.n_experts} fits"
            )
        if self.forced_depth is not None and self.forced_depth > self.n_layers:
            raise ValueError(f"forced_depth {self.forced_depth} is more than n_layers {self.n_layers}")
        if self.position == "learned" and self.mixer == "window":
            raise ValueError(
                "mixer 'window' takes position 'rotary': its memory with learned positions has no closed form"
            )
        if self.bidirectional and self.mixer == "window":
            raise ValueError("mixer 'window' looks back only: bidirectional models take 'attention' or 'convolution'")
        return self

    @property
    def attention_width(self) -> int:
        """Width of all heads' queries together, and of what attention hands to its output projection."""
        return self.n_heads * self.head_dim

    @property
    def reach(self) -> int | None:
        """Tokens that the mixer reaches back, the token itself included; None: all."""
        return {"window": self.window, "convolution": self.kernel_size}.get(self.mixer)

    @property
    def kv_width(self) -> int:
        """Width of all heads' keys together; values are as wide."""
        return self.n_kv_heads * self.head_dim

    @property
    def expert_width(self) -> int:
        """Hidden width of one expert."""
        return self.d_ff if self.expert_d_ff is None else self.expert_d_ff

    def mlp_elements(self, width: int) -> int:
        """Weights of an MLP of this hidden width: three matrices where it is gated, else two."""
        return (3 if self.activation == "swiglu" else 2) * self.d_model * width

    @property
    def norm_params(self) -> int:
        """Parameters of one norm over the width."""
        return self.d_model * (2 if self.norm == "layer" else 1)

    def routed(self, layer: int) -> bool:
        """Whether block `layer` (from 0) is routed."""
        return layer >= self.first_routed and (layer - self.first_routed) % self.every == 0

    def skips(self, layer: int, part: str) -> bool:
        """Whether tokens may skip the `attention` or the `mlp` of block `layer`."""
        return self.routed(layer) and self.granularity in {"block", part}

    def kept(self, seq_len: int, capacity: float | None = None) -> int:
        """K, the tokens of `seq_len` that a routed block takes: max(1, floor(c·T)), rounded up to `round_k`."""
        share = self.capacity if capacity is None else capacity
        assert share is not None
        k = kept(share, seq_len)
        return min(seq_len, -(-k // self.round_k) * self.round_k)

    @property
    def expected_share(self) -> float:
        """Share of tokens that a routed block is expected to process in decoding; 1 where nothing is routed by capacity."""
        if self.router == "synthetic" and self.participation is not None:
            return max(self.participation, 1e-6)
        return 1.0 if self.capacity is None else self.capacity

    @property
    def row_share(self) -> float:
        """Share of a batch's rows that the `budget` policy computes."""
        return self.decode_rows or min(1.0, 2 * max(self.expected_share, 1e-6))


def kept(share: float, seq_len: int) -> int:
    """How many tokens of `seq_len` a share keeps: max(1, floor(share * seq_len))."""
    # 1e-9 forgives products such as 0.29 * 100 = 28.999999999999996.
    return max(1, int(share * seq_len + 1e-9))


ROUTING_KEYS = tuple(key for key in ModelConfig.model_fields if key not in SHAPE_KEYS)
# Keys that change nothing before a model generates: neither its FLOPs, nor its parameters, nor its loss.
GENERATION_KEYS = ("decode_policy", "decode_rows", "prefill")


def _known(key: str) -> str:
    if key not in ModelConfig.model_fields:
        raise ValueError(f"{key!r} is no key of a model")
    return key


# The name of a field of `ModelConfig`.
Key = Annotated[str, AfterValidator(_known)]
