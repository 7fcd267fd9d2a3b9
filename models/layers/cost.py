"""Adds up closed-form cost: FLOPs and parameters, which the layers' own files count, and the memory of layers.

Memory is that of code which runs eagerly on a CPU: the entries of a `Ledger`. Every term is a tensor in the layer's own file. On
CUDA fused norms keep less, so this is an upper bound by the norms' share. A layer processes n tokens of a sequence; `tokens` is n
times the batch size.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import FLOAT32, INT64, Amount, Cost, DecodeCost, Layer, Ledger
from modbench.models.layers.kernels import PIECE, WHOLE_BLOCK


class CostSheet:
    """Adds up layers; their costs stand in the layers' files. Everything but parameters is multiplied by the batch size."""

    def __init__(self, config: ModelConfig, seq_len: int, batch_size: int) -> None:
        self.config, self.batch_size = config, batch_size
        self.flops: defaultdict[str, float] = defaultdict(float)
        self.modules: defaultdict[str, float] = defaultdict(float)
        self.here = ""
        self.attention_causal = 0.0
        self.params = 0
        self.only_training = self.predictor = 0.0
        self.seq_len, self.layers, self.outer = seq_len, list[Layer](), Amount()
        d, v = config.d_model, config.vocab_size
        if config.bidirectional:
            self.params += d * v + d * config.n_classes
            self.matmul("head", 1, d, config.n_classes, at="head")
        else:
            self.params += d * v * (1 if config.tied else 2)
            self.matmul("head", seq_len, d, v, at="" if config.tied else "head")
        self.params += config.norm_params + d * config.max_seq_len * (config.position == "learned")

    def at(self, path: str) -> CostSheet:
        """Set the module path of the block that the next layers belong to."""
        self.here = f"{path}."
        return self

    def matmul(self, part: str, rows: float, inner: int, columns: int, *, at: str = "") -> None:
        """Count a product of [rows, inner] and [inner, columns] for each sequence, as `add` does."""
        self.add(part, 2 * self.batch_size * rows * inner * columns, at)

    def add(self, part: str, flops: float, at: str) -> None:
        """Count a component's FLOPs, also under the path `at` of the module in which a counter sees them, if not ""."""
        self.flops[part] += flops
        if at and flops:
            self.modules[at] += flops

    def keep(self, layer: Layer) -> None:
        """Enter a layer into the ledger; without gradients, the streams of `outer` stay in memory beside it."""
        self.layers.append(replace(layer, outer=self.outer))

    @property
    def ledger(self) -> Ledger:
        """Embedding, layers, head; token ids and position indices."""
        config, tokens = self.config, self.seq_len * self.batch_size
        read = self.batch_size if config.bidirectional else tokens
        layers = (embedding_memory(config, self.seq_len, tokens), *self.layers, head_memory(config, read))
        inputs = Amount(0, exact=INT64 * (tokens + self.seq_len))
        return Ledger(layers, self.params, _buffers(config), inputs)

    def total(self, *, training: CostSheet | None = None) -> Cost:
        """The sum as a `Cost`; `training` has the layers of a training forward pass, where they differ."""
        return Cost(
            dict(self.flops),
            self.attention_causal,
            self.params,
            (training or self).ledger,
            inference=self.ledger if training else None,
            train_only=self.only_training,
            predictor=self.predictor,
            training=training.total() if training else None,
            modules=dict(self.modules),
        )


class DecodeSheet:
    """Adds up the elements that one decode step must read, for a whole batch.

    A weight is read once if any row needs it: if each row needs it with probability s, independently, none does with
    probability (1 - s)^B. Policies with fixed shapes always read every weight. Keys and values: each row that the block
    processes reads what is cached for it. This is the minimum: kernels with a mask read whole caches, and gathering rows
    copies them first.
    """

    def __init__(self, config: ModelConfig, context: int, batch_size: int) -> None:
        self.config, self.context, self.batch_size = config, context, batch_size
        self.elements = float(config.d_model * config.vocab_size)
        self.held = 0.0

    def weights(self, elements: float, share: float) -> None:
        """Add the weights of a layer that each row needs with this probability."""
        read = 1.0 if self.config.decode_policy != "host" else 1 - (1 - share) ** self.batch_size
        self.elements += read * elements

    def total(self) -> DecodeCost:
        """Elements read in one step, and elements of keys and values after the context."""
        return DecodeCost(self.elements, self.held)


def norm_memory(config: ModelConfig) -> Amount:
    """RMSNorm keeps 1/rms and the normalised input in float32, and its output; LayerNorm mean, 1/deviation and its output.

    In a two-byte format RMSNorm keeps the input's float32 copy instead of the stream itself, which nothing else keeps.
    """
    d = config.d_model
    if config.norm == "layer":
        return Amount(d + 2)
    return Amount(d, exact=FLOAT32 * (1 + d), upcast=(FLOAT32 - 2) * d)


def norm_back(config: ModelConfig) -> Amount:
    """At the end of RMSNorm's backward pass five float32 streams are alive, two of them in place of saved tensors.

    At the end of LayerNorm's there are three streams, one of them in place of its output.
    """
    d = config.d_model
    return Amount(2 * d) if config.norm == "layer" else Amount(0, exact=FLOAT32 * 3 * d)


def embedding_memory(config: ModelConfig, seq_len: int, tokens: float) -> Layer:
    """The look-up, scaled if tied, and the learned positions. The gradients are dense."""
    stream, rows = Amount(config.d_model) * tokens, Amount(config.d_model * config.vocab_size)
    learned = config.position == "learned"
    positions = config.d_model * config.max_seq_len * learned
    added = Amount(config.d_model * seq_len * learned)
    shared = config.tied and not config.bidirectional  # its gradient and the head's are added
    return Layer(
        stream,
        config.d_model * config.vocab_size + positions,
        back=rows * (1 + shared) + Amount(positions),
        forward=highest(stream * (1 + config.tied), (stream * 2 + added) * learned),
        output=stream,
    )


def head_memory(config: ModelConfig, tokens: float, *, trained: bool = True) -> Layer:
    """Final norm, head and cross-entropy; log-probabilities and their gradients are float32.

    Args:
        config: shape.
        tokens: tokens that get logits.
        trained: whether the weights are this layer's own, so that their gradients stay.
    """
    d = config.d_model
    out = config.n_classes if config.bidirectional else config.vocab_size
    weight = d * out  # a tied head's gradient waits for the embedding's
    logits, grown = Amount(0, FLOAT32 * out), Amount(d * out)
    saved = (norm_memory(config) + logits + Amount(0, INT64) + Amount(upcast=0 if trained else 2 * d)) * tokens
    back = highest(
        logits * 2 * tokens,  # gradients of the loss and of the softmax
        (Amount(out + d) - logits) * tokens + grown,  # then of the product
        (norm_back(config) - logits) * tokens + grown,  # then of the norm
    )
    return Layer(
        saved,
        (weight + config.norm_params) * trained,
        back,
        forward=Amount(d + out) * tokens,
        output=Amount(out) * tokens,
    )


def attention_memory(config: ModelConfig, n: float, tokens: float) -> Layer:
    """Norm, projections, rotation, fused attention, output, residual."""
    d, h = config.d_model, config.n_heads
    a, kv = config.attention_width, config.kv_width
    qk, width = a + kv, a + 2 * kv
    rotated = qk * (config.position == "rotary")  # else queries and keys are views of the projection
    kept = norm_memory(config) + Amount(width + rotated + a, exact=FLOAT32 * h) + Amount(d)
    back = Amount(width + a) * tokens + Amount(a * d)
    if PIECE < n <= WHOLE_BLOCK and config.mixer == "attention" and not config.bidirectional:
        kept += Amount(a)  # attention in pieces keeps its output twice: in pieces and concatenated
    return Layer(
        kept * tokens,
        d * (width + a) + config.norm_params,
        back,
        forward=Amount(d + width + max(2 * rotated, a + d)) * tokens,
        output=Amount(2 * d) * tokens,
    )


def mlp_memory(config: ModelConfig, tokens: float, *, residual: bool = True) -> Layer:
    """Norm, MLP, residual; with `residual` the new stream is kept too."""
    d, f = config.d_model, config.d_ff
    gated = config.activation == "swiglu"
    hidden, weights = Amount((4 if gated else 2) * f), Amount((3 if gated else 2) * d * f)
    kept = norm_memory(config) + hidden + Amount(d * residual)
    return Layer(
        kept * tokens,
        weights.elements + config.norm_params,
        back=highest(
            Amount((2 if gated else 1) * f) * tokens + Amount(d * f),  # at the activation
            (norm_back(config) - hidden) * tokens + weights,  # in the norm, when all weights have their gradients
        ),
        forward=Amount(2 * d + (3 if gated else 2) * f) * tokens,
        output=Amount(d) * tokens,
    )


def select_memory(config: ModelConfig, tokens: float, selected: float) -> Layer:
    """A token router over all tokens: scores, top-k, and the selected tokens gathered with their angles."""
    d, c = config.d_model, config.head_dim
    learned = config.router == "learned"
    params = 0.0
    if learned:
        w = config.predictor_width
        params = d + (d * w + w + w + 1) * (config.causal == "predictor")
    scores = Amount(0, FLOAT32 if config.router in {"learned", "norm"} else 0)
    gathered = Amount(d, exact=FLOAT32 * c * (config.position == "rotary") + 3 * INT64)
    return Layer(
        scores * tokens + gathered * selected,
        params,
        back=Amount(3 * d) * tokens,
        forward=Amount(0, FLOAT32 + INT64) * tokens + gathered * selected,
        output=Amount(d) * selected,
    )


def outside_memory(config: ModelConfig, tokens: float, selected: float) -> Amount:
    """What stays in memory while a block processes the selected tokens: the whole stream, their angles and indices."""
    angle = config.head_dim * (config.position == "rotary")
    angles_and_indices = Amount(0, exact=FLOAT32 * angle + 3 * INT64)
    return Amount(config.d_model) * tokens + angles_and_indices * selected


def scatter_memory(config: ModelConfig, tokens: float, selected: float) -> Layer:
    """The selected tokens weighted and added back; while training also a learned router's auxiliary loss."""
    d = config.d_model
    kept = Amount(d) * tokens + Amount(d) * selected
    if config.router == "learned":
        kept += Amount(d, FLOAT32) * selected  # the product with the score keeps both factors
        teacher = Amount(0, exact=FLOAT32 + 1)  # which tokens were in the top-k
        if config.causal == "predictor":
            teacher += Amount(2 * config.predictor_width + 1, exact=FLOAT32)
        if config.causal in {"predictor", "aux_loss"}:
            kept += teacher * tokens
    return Layer(
        kept,
        back=Amount(3 * d) * selected,
        forward=Amount(d) * tokens + Amount(d) * selected,
        output=Amount(d) * tokens,
    )


def _buffers(config: ModelConfig) -> Amount:
    """Rotary angles of all positions in float32, and the bias that hides later keys from a piece of queries."""
    half = config.head_dim // 2 * (config.position == "rotary")
    return Amount(PIECE * (WHOLE_BLOCK + PIECE), exact=FLOAT32 * 2 * config.max_seq_len * half)


def highest(*amounts: Amount) -> Amount:
    """The largest, compared in float32."""
    return max(amounts, key=lambda amount: amount.of(FLOAT32))
