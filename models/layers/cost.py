"""Closed-form cost of the layers: FLOPs and parameters here, memory in `memory.py`.

`n` is the number of tokens of one sequence that a layer processes. Attention is n x n: a routed block's tokens attend to
one another only, so with capacity c the scores cost a factor c squared (paper, section 3.2).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Cost, DecodeCost
from modbench.harness.core.memory_ledger import INT64, Amount, Layer, Ledger
from modbench.models.layers import expert_memory, memory
from modbench.models.layers.null_choices import NullChoices


class CostSheet:
    """Adds up layers. Methods take tokens per sequence; everything but parameters is multiplied by the batch size."""

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
            self._matmul("head", 1, d, config.n_classes, at="head")
        else:
            self.params += d * v * (1 if config.tied else 2)
            self._matmul("head", seq_len, d, v, at="" if config.tied else "head")
        self.params += config.norm_params + d * config.max_seq_len * (config.position == "learned")

    def at(self, path: str) -> CostSheet:
        """Set the module path of the block that the next layers belong to."""
        self.here = f"{path}."
        return self

    def _matmul(self, part: str, rows: float, inner: int, columns: int, *, at: str = "") -> None:
        self._add(part, 2 * self.batch_size * rows * inner * columns, at)

    def _add(self, part: str, flops: float, at: str) -> None:
        """Count a component's FLOPs, also under the path `at` of the module in which a counter sees them, if not ""."""
        self.flops[part] += flops
        if at and flops:
            self.modules[at] += flops

    @property
    def _mlp_matrices(self) -> int:
        return 3 if self.config.activation == "swiglu" else 2

    def mixer(self, n: int) -> None:
        """Norm and mixer over n tokens."""
        d, kind = self.config.d_model, self.config.mixer
        self.params += self.config.norm_params
        if kind == "convolution":
            h, w = self.config.n_heads, self.config.kernel_size
            self._matmul("mixer projections", n, d, 3 * d + h * w, at=f"{self.here}attention")
            self._matmul("convolution", n, w, d, at=f"{self.here}attention")
            self.params += d * (3 * d + h * w)
            self.keep(memory.convolution(self.config, n * self.batch_size))
            return
        a, kv = self.config.attention_width, self.config.kv_width
        self._matmul("attention projections", n, d, 2 * a + 2 * kv, at=f"{self.here}attention")
        full, least = _pairs(self.config, n)
        for part in ("scores", "values"):
            self._add(part, 2 * self.batch_size * full * a, f"{self.here}attention")
        self.attention_causal += 4 * self.batch_size * least * a
        self.params += d * (2 * a + 2 * kv)
        self.keep(memory.attention(self.config, n, n * self.batch_size))

    def late_attention(self, n: int, seq_len: int) -> None:
        """Attention of n tokens to all `seq_len` tokens."""
        d, a, kv = self.config.d_model, self.config.attention_width, self.config.kv_width
        self._matmul("attention projections", n, d, 2 * a)
        self._matmul("attention projections", seq_len, d, 2 * kv)
        for part in ("scores", "values"):
            self._add(part, 2 * self.batch_size * n * seq_len * a, "")
        # The positions of the n tokens are not known; if n is all tokens, this is the lower triangle.
        self.attention_causal += 4 * self.batch_size * n * (seq_len + 1) / 2 * a
        self.params += d * (2 * a + 2 * kv) + self.config.norm_params

    def mlp(self, n: int, *, residual: bool = True) -> None:
        """Norm and MLP over n tokens; without `residual` its output is not added to a stream of its own (routed blocks)."""
        d, f = self.config.d_model, self.config.d_ff
        self._matmul("mlp", n, d, self._mlp_matrices * f, at=f"{self.here}mlp")
        self.params += self._mlp_matrices * d * f + self.config.norm_params
        self.keep(memory.mlp(self.config, n * self.batch_size, residual=residual))

    def experts(self, n: int, k: int, *, no_ops: int = 0, residual: bool = True) -> None:
        """Norm, router over n tokens, E experts of k tokens each, and the shared experts over n tokens."""
        d, f, e = self.config.d_model, self.config.expert_width, self.config.n_experts
        shared = self.config.shared_experts
        self._matmul("router", n, d, e + no_ops, at=f"{self.here}mlp")
        self._matmul("experts", e * k, d, self._mlp_matrices * f, at=f"{self.here}mlp")
        self._matmul("shared experts", n, d, self._mlp_matrices * shared * f, at=f"{self.here}mlp")
        self.params += (e + shared) * self._mlp_matrices * d * f + d * (e + no_ops) + self.config.norm_params
        tokens, assigned = n * self.batch_size, e * k * self.batch_size
        self.keep(expert_memory.experts(self.config, tokens, assigned, choices=e + no_ops, residual=residual))

    def token_choice(self, n: int, pairs: int, nulls: NullChoices) -> None:
        """Norm, router over n tokens, experts over all their `pairs` (of the whole batch), and constant no-ops over n tokens."""
        d, f, e = self.config.d_model, self.config.expert_width, self.config.n_experts
        shared = self.config.shared_experts
        choices, c = e + nulls.logits, nulls.constants
        self._matmul("router", n, d, choices, at=f"{self.here}mlp")
        self._add("experts", 2 * pairs * d * self._mlp_matrices * f, f"{self.here}mlp")
        self._matmul("shared experts", n, d, self._mlp_matrices * shared * f, at=f"{self.here}mlp")
        self._matmul("no-ops", n, d, 3 * c, at=f"{self.here}mlp")
        self.params += (e + shared) * self._mlp_matrices * d * f + d * (choices + 3 * c) + self.config.norm_params
        self.keep(expert_memory.token_choice(self.config, n * self.batch_size, pairs, nulls))

    def token_router(self, seq_len: int, k: int) -> None:
        """MoD's router over all tokens, and the gather of k; while training, its predictor too. `scatter` ends the block.

        The predictor's input is detached: for its first layer, backward computes only the gradient of the weight.
        """
        d = self.config.d_model
        self.keep(memory.select(self.config, seq_len * self.batch_size, k * self.batch_size))
        self.outer = memory.outside(self.config, seq_len * self.batch_size, k * self.batch_size)
        if self.config.router != "learned":
            return
        self._matmul("router", seq_len, d, 1, at=f"{self.here}router.weight")
        self.params += d
        if self.config.causal == "predictor":
            w = self.config.predictor_width
            self.params += d * w + w + w + 1
            self.only_training += 2 * self.batch_size * seq_len * (2 * d * w + 3 * w)
            self.predictor += 2 * self.batch_size * seq_len * (d * w + w)

    def scatter(self, seq_len: int, k: int) -> None:
        """The selected tokens are added back to the stream."""
        self.keep(memory.scatter(self.config, seq_len * self.batch_size, k * self.batch_size))
        self.outer = Amount()

    def keep(self, layer: Layer) -> None:
        """Enter a layer into the ledger; without gradients, the streams of `outer` stay in memory beside it."""
        self.layers.append(replace(layer, outer=self.outer))

    def gate(self, rows: int, inner: int, columns: int, *, at: str, times: float = 1.0) -> None:
        """A small matrix product of a depth gate in the module `at`, `times` per sequence."""
        self._matmul("gate", rows * times, inner, columns, at=at)

    @property
    def ledger(self) -> Ledger:
        """Embedding, layers, head; token ids and position indices."""
        config, tokens = self.config, self.seq_len * self.batch_size
        read = self.batch_size if config.bidirectional else tokens
        layers = (memory.embedding(config, self.seq_len, tokens), *self.layers, memory.head(config, read))
        inputs = Amount(0, exact=INT64 * (tokens + self.seq_len))
        return Ledger(layers, self.params, memory.buffers(config), inputs)

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


def _pairs(config: ModelConfig, n: int) -> tuple[float, float]:
    """Pairs of query and key that a kernel computes, and pairs that the mask allows."""
    if config.bidirectional:
        return n * n, n * n
    w = config.window
    if config.mixer != "window" or w >= n:
        return n * n, n * (n + 1) / 2
    return -(-n // w) * w * 2 * w, w * (w + 1) / 2 + (n - w) * w


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

    def _weights(self, elements: float, share: float) -> None:
        read = 1.0 if self.config.decode_policy != "host" else 1 - (1 - share) ** self.batch_size
        self.elements += read * elements

    def mixer(self, share: float) -> None:
        """Projections, and keys and values, of a block that processes this share of the tokens."""
        d, a, kv = self.config.d_model, self.config.attention_width, self.config.kv_width
        self._weights(d * (2 * a + 2 * kv), share)
        held = share * self.context
        if self.config.mixer == "window":
            held = min(held, self.config.window)
        self.held += 2 * kv * held * self.batch_size
        rows = {"host": share, "budget": max(share, min(self.config.row_share, 1)), "masked": 1.0}
        self.elements += 2 * kv * held * self.batch_size * (rows[self.config.decode_policy] if share < 1 else 1.0)

    def token_router(self) -> None:
        """A learned router and its predictor, which are always read."""
        if self.config.router == "learned":
            predicts = self.config.causal == "predictor"
            self.elements += self.config.d_model * (1 + self.config.predictor_width * predicts)

    def mlp(self, share: float) -> None:
        """The MLP's weights."""
        self._weights(self._mlp_elements(self.config.d_ff), share)

    def experts(self, taken: float, share: float = 1.0) -> None:
        """Experts' weights: each of E processes the share `taken` of all tokens; the layer, and shared experts, `share`."""
        each = self._mlp_elements(self.config.expert_width)
        self._weights(self.config.n_experts * each, taken)
        self._weights(self.config.shared_experts * each, share)

    def _mlp_elements(self, width: int) -> int:
        return (3 if self.config.activation == "swiglu" else 2) * self.config.d_model * width

    def total(self) -> DecodeCost:
        """Elements read in one step, and elements of keys and values after the context."""
        return DecodeCost(self.elements, self.held)
