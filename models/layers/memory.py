"""Closed-form memory of each layer when its code runs eagerly on a CPU: the entries of a `Ledger`.

Every term is a tensor in the layer's own file. On CUDA fused norms keep less, so this is an upper bound by the norms' share.
A layer processes n tokens of a sequence; `tokens` is n times the batch size.
"""

from __future__ import annotations

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.memory_ledger import FLOAT32, INT64, Amount, Layer
from modbench.models.layers.attention import PIECE, WHOLE_BLOCK


def norm(config: ModelConfig) -> Amount:
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


def embedding(config: ModelConfig, seq_len: int, tokens: float) -> Layer:
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


def head(config: ModelConfig, tokens: float, *, trained: bool = True) -> Layer:
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
    saved = (norm(config) + logits + Amount(0, INT64) + Amount(upcast=0 if trained else 2 * d)) * tokens
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


def attention(config: ModelConfig, n: float, tokens: float) -> Layer:
    """Norm, projections, rotation, fused attention, output, residual."""
    d, h = config.d_model, config.n_heads
    a, kv = config.attention_width, config.kv_width
    qk, width = a + kv, a + 2 * kv
    if config.mixer == "window" and config.window < n:
        return _windows(config, n, tokens)
    rotated = qk * (config.position == "rotary")  # else queries and keys are views of the projection
    kept = norm(config) + Amount(width + rotated + a, exact=FLOAT32 * h) + Amount(d)
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


def _windows(config: ModelConfig, n: float, tokens: float) -> Layer:
    """The same in pieces of W queries and 2 W keys, which are copies; the mask is in the model's format."""
    d, h, w = config.d_model, config.n_heads, config.window
    a, kv = config.attention_width, config.kv_width
    whole = -(-n // w) * w / n  # the last piece is padded
    pieces = Amount(a + 4 * kv + 2 * w, exact=FLOAT32 * h) * whole
    kept = norm(config) + pieces + Amount(a) + Amount(d)
    return Layer(
        kept * tokens,
        d * (2 * a + 2 * kv) + config.norm_params,
        back=Amount(2 * a + 4 * kv) * tokens * whole + Amount(a * d),
        forward=(Amount(d + 3 * a + 3 * kv) + pieces + Amount(0, exact=2 * w)) * tokens,
        output=Amount(2 * d) * tokens,
    )


def convolution(config: ModelConfig, tokens: float) -> Layer:
    """Norm, gated values, a kernel for each token and head, the window of values, output, residual."""
    d, h, w = config.d_model, config.n_heads, config.kernel_size
    kept = norm(config) + Amount(2 * d + h * w + w * d + d) + Amount(d)
    return Layer(
        kept * tokens,
        d * (3 * d + h * w) + config.norm_params,
        back=Amount(w * d + h * w) * tokens,
        forward=Amount(d + d + h * w + d + w * d + d) * tokens,
        output=Amount(2 * d) * tokens,
    )


def mlp(config: ModelConfig, tokens: float, *, residual: bool = True) -> Layer:
    """Norm, MLP, residual; with `residual` the new stream is kept too."""
    d, f = config.d_model, config.d_ff
    gated = config.activation == "swiglu"
    hidden, weights = Amount((4 if gated else 2) * f), Amount((3 if gated else 2) * d * f)
    kept = norm(config) + hidden + Amount(d * residual)
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


def select(config: ModelConfig, tokens: float, selected: float) -> Layer:
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


def outside(config: ModelConfig, tokens: float, selected: float) -> Amount:
    """What stays in memory while a block processes the selected tokens: the whole stream, their angles and indices."""
    angle = config.head_dim * (config.position == "rotary")
    angles_and_indices = Amount(0, exact=FLOAT32 * angle + 3 * INT64)
    return Amount(config.d_model) * tokens + angles_and_indices * selected


def scatter(config: ModelConfig, tokens: float, selected: float) -> Layer:
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


def switched(config: ModelConfig, tokens: float) -> Layer:
    """A block whose output is multiplied by a gate: the gate's gradient needs that output."""
    return Layer(Amount(config.d_model) * tokens, back=Amount(2 * config.d_model) * tokens)


def buffers(config: ModelConfig) -> Amount:
    """Rotary angles of all positions in float32, and the bias that hides later keys from a piece of queries."""
    half = config.head_dim // 2 * (config.position == "rotary")
    return Amount(PIECE * (WHOLE_BLOCK + PIECE), exact=FLOAT32 * 2 * config.max_seq_len * half)


def highest(*amounts: Amount) -> Amount:
    """The largest, compared in float32."""
    return max(amounts, key=lambda amount: amount.of(FLOAT32))
