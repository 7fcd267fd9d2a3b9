"""Closed-form cost of the layers: FLOPs and parameters here, memory through `memory.py`.

`n` is the number of tokens of one sequence that pass through a layer. Attention is n x n: a routed block's tokens attend
to one another only, so capacity c costs c squared of the scores (paper, section 3.2).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.contracts import Cost, DecodeCost
from modbench.harness.core.memory_ledger import INT64, Amount, Layer, Ledger
from modbench.models.layers import memory


class CostSheet:
    """Adds up layers. Every method takes tokens per sequence; the batch multiplies all but parameters."""

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
            self.params += d * v + d * config.n_classes + d
            self._matmul("head", 1, d, config.n_classes, at="head")
        else:
            self.params += d * v * (1 if config.tied else 2) + d
            self._matmul("head", seq_len, d, v, at="" if config.tied else "head")

    def at(self, path: str) -> CostSheet:
        """Say which block the next layers belong to, by its path in the model."""
        self.here = f"{path}."
        return self

    def _matmul(self, part: str, rows: float, inner: int, columns: int, *, at: str = "") -> None:
        self._add(part, 2 * self.batch_size * rows * inner * columns, at)

    def _add(self, part: str, flops: float, at: str) -> None:
        """Count a component's FLOPs, and those of the module that a counter sees them in; `at` is a path, "" is none."""
        self.flops[part] += flops
        if at and flops:
            self.modules[at] += flops

    @property
    def _mlp_matrices(self) -> int:
        return 3 if self.config.activation == "swiglu" else 2

    def mixer(self, n: int) -> None:
        """Norm and mixer over n tokens."""
        d, kind = self.config.d_model, self.config.mixer
        self.params += d
        if kind == "convolution":
            h, w = self.config.n_heads, self.config.kernel_size
            self._matmul("mixer projections", n, d, 3 * d + h * w, at=f"{self.here}attention")
            self._matmul("convolution", n, w, d, at=f"{self.here}attention")
            self.params += d * (3 * d + h * w)
            self.keep(memory.convolution(self.config, n * self.batch_size))
            return
        width = d + 2 * d // self.config.n_heads * self.config.n_kv_heads
        self._matmul("attention projections", n, d, width + d, at=f"{self.here}attention")
        full, least = _pairs(self.config, n)
        for part in ("scores", "values"):
            self._add(part, 2 * self.batch_size * full * d, f"{self.here}attention")
        self.attention_causal += 4 * self.batch_size * least * d
        self.params += d * (width + d)
        self.keep(memory.attention(self.config, n, n * self.batch_size))

    def late_attention(self, n: int, seq_len: int) -> None:
        """Queries of n tokens over the keys of all."""
        d = self.config.d_model
        kv = 2 * d // self.config.n_heads * self.config.n_kv_heads
        self._matmul("attention projections", n, d, 2 * d)
        self._matmul("attention projections", seq_len, d, kv)
        for part in ("scores", "values"):
            self._add(part, 2 * self.batch_size * n * seq_len * d, "")
        # Where the survivors stand is not known: with everyone alive this is the lower triangle.
        self.attention_causal += 4 * self.batch_size * n * (seq_len + 1) / 2 * d
        self.params += d * (2 * d + kv) + d

    def mlp(self, n: int, *, residual: bool = True) -> None:
        """Norm and MLP over n tokens; without `residual` its output is a routed block's, and no stream of its own."""
        d, f = self.config.d_model, self.config.d_ff
        self._matmul("mlp", n, d, self._mlp_matrices * f, at=f"{self.here}mlp")
        self.params += self._mlp_matrices * d * f + d
        self.keep(memory.mlp(self.config, n * self.batch_size, residual=residual))

    def experts(self, n: int, k: int, *, no_ops: int = 0, residual: bool = True) -> None:
        """Norm, router over n tokens, and E experts of k tokens each."""
        d, f, e = self.config.d_model, self.config.d_ff, self.config.n_experts
        self._matmul("router", n, d, e + no_ops, at=f"{self.here}mlp")
        self._matmul("experts", e * k, d, self._mlp_matrices * f, at=f"{self.here}mlp")
        self.params += e * self._mlp_matrices * d * f + d * (e + no_ops) + d
        tokens, dealt = n * self.batch_size, e * k * self.batch_size
        self.keep(memory.experts(self.config, tokens, dealt, choices=e + no_ops, residual=residual))

    def token_router(self, seq_len: int, k: int) -> None:
        """MoD's router over all tokens of a sequence, gather of k; while training, its predictor too. `scatter` ends it.

        The predictor's input is detached: of its first layer, backward computes the weight's gradient alone.
        """
        d = self.config.d_model
        self.keep(memory.choose(self.config, seq_len * self.batch_size, k * self.batch_size))
        self.outer = memory.waiting(self.config, seq_len * self.batch_size, k * self.batch_size)
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
        """The chosen tokens are added back to the stream."""
        self.keep(memory.merge(self.config, seq_len * self.batch_size, k * self.batch_size))
        self.outer = Amount()

    def keep(self, layer: Layer) -> None:
        """Enter a layer into the ledger; without gradients the streams of `outer` wait beside it."""
        self.layers.append(replace(layer, outer=self.outer))

    def gate(self, rows: int, inner: int, columns: int, *, at: str, times: float = 1.0) -> None:
        """A small matrix product of a depth gate in the module `at`: `times` for each sequence."""
        self._matmul("gate", rows * times, inner, columns, at=at)

    @property
    def ledger(self) -> Ledger:
        """Embedding, layers, head; tokens and, of the positions, their numbers."""
        config, tokens = self.config, self.seq_len * self.batch_size
        read = self.batch_size if config.bidirectional else tokens
        layers = (memory.embedding(config, tokens), *self.layers, memory.head(config, read))
        inputs = Amount(0, exact=INT64 * (tokens + self.seq_len))
        return Ledger(layers, self.params, memory.buffers(config), inputs)

    def total(self, *, training: CostSheet | None = None) -> Cost:
        """The sum as a `Cost`; `training` has the layers of a forward pass while training, where they are others."""
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
    """Pairs of query and key that a kernel computes, and that the mask asks for."""
    if config.bidirectional:
        return n * n, n * n
    w = config.window
    if config.mixer != "window" or w >= n:
        return n * n, n * (n + 1) / 2
    return -(-n // w) * w * 2 * w, w * (w + 1) / 2 + (n - w) * w


class DecodeSheet:
    """Adds up the elements that one decode step must read, for a whole batch. No token's decision helps another's.

    A weight is read once if any row needs it: independent rows of share s all skip with probability (1 - s)^B. Policies
    with fixed shapes read every weight always. Keys and values: each row that passes reads what the block has kept of it.
    This is what must be read: kernels under a mask read whole caches, and a gather of rows copies them first.
    """

    def __init__(self, config: ModelConfig, context: int, batch_size: int) -> None:
        self.config, self.context, self.batch_size = config, context, batch_size
        self.elements = float(config.d_model * config.vocab_size)
        self.held = 0.0

    def _weights(self, elements: float, share: float) -> None:
        read = 1.0 if self.config.decode_policy != "host" else 1 - (1 - share) ** self.batch_size
        self.elements += read * elements

    def mixer(self, share: float) -> None:
        """Projections, and keys and values of a block that a share of the tokens passes."""
        d = self.config.d_model
        kv = d // self.config.n_heads * self.config.n_kv_heads
        self._weights(d * (2 * d + 2 * kv), share)
        held = share * self.context
        if self.config.mixer == "window":
            held = min(held, self.config.window)
        self.held += 2 * kv * held * self.batch_size
        rows = {"host": share, "budget": max(share, min(self.config.row_share, 1)), "masked": 1.0}
        self.elements += 2 * kv * held * self.batch_size * (rows[self.config.decode_policy] if share < 1 else 1.0)

    def token_router(self) -> None:
        """A learned router and its predictor, read whoever passes."""
        if self.config.router == "learned":
            predicts = self.config.causal == "predictor"
            self.elements += self.config.d_model * (1 + self.config.predictor_width * predicts)

    def mlp(self, share: float, *, experts: int = 1) -> None:
        """The MLP's weights; of E experts each is entered by a share of the tokens."""
        matrices = 3 if self.config.activation == "swiglu" else 2
        self._weights(experts * matrices * self.config.d_model * self.config.d_ff, share)

    def total(self) -> DecodeCost:
        """Elements read in one step, and held after the context."""
        return DecodeCost(self.elements, self.held)
