"""Closed-form cost of the layers: FLOPs, parameters, and elements saved for the backward pass.

`n` is the number of tokens of one sequence that pass through a layer. Attention is n x n: a routed block's tokens attend
to one another only, so capacity c costs c squared of the scores (paper, section 3.2).
"""

from __future__ import annotations

from collections import defaultdict

from modbench.harness.config import ModelConfig
from modbench.harness.contracts import Cost


class CostSheet:
    """Adds up layers. Every method takes tokens per sequence; the batch multiplies all but parameters."""

    def __init__(self, config: ModelConfig, seq_len: int, batch_size: int) -> None:
        self.config, self.batch_size = config, batch_size
        self.flops: defaultdict[str, float] = defaultdict(float)
        self.scores_causal = 0.0
        self.params = 0
        self.saved = 0.0
        d, v = config.d_model, config.vocab_size
        self.params += d * v * (1 if config.tied else 2) + d
        self._matmul("head", seq_len, d, v)
        self.saved += batch_size * seq_len * (2 * d + 2 * v)

    def _matmul(self, part: str, rows: float, inner: int, columns: int) -> None:
        self.flops[part] += 2 * self.batch_size * rows * inner * columns

    @property
    def _mlp_matrices(self) -> int:
        return 3 if self.config.activation == "swiglu" else 2

    def attention(self, n: int) -> None:
        """Norm, projections, scores and values over n tokens."""
        d, h = self.config.d_model, self.config.n_heads
        width = d + 2 * d // h * self.config.n_kv_heads
        self._matmul("attention projections", n, d, width + d)
        self.flops["scores"] += 4 * self.batch_size * n * n * d
        self.scores_causal += 4 * self.batch_size * n * (n + 1) / 2 * d
        self.params += d * (width + d) + d
        self.saved += self.batch_size * n * (4 * d + width + 2 * d + h)

    def mlp(self, n: int) -> None:
        """Norm and MLP over n tokens."""
        d, f = self.config.d_model, self.config.d_ff
        self._matmul("mlp", n, d, self._mlp_matrices * f)
        self.params += self._mlp_matrices * d * f + d
        self.saved += self.batch_size * n * (2 * d + (4 if self._mlp_matrices == 3 else 2) * f)

    def experts(self, n: int, k: int, *, no_op: bool = False) -> None:
        """Norm, router over n tokens, and E experts of k tokens each."""
        d, f, e = self.config.d_model, self.config.d_ff, self.config.n_experts
        self._matmul("router", n, d, e + no_op)
        self._matmul("experts", e * k, d, self._mlp_matrices * f)
        self.params += e * self._mlp_matrices * d * f + d * (e + no_op) + d
        self.saved += self.batch_size * (2 * n * d + e * k * (2 * d + (4 if self._mlp_matrices == 3 else 2) * f))

    def token_router(self, seq_len: int, k: int) -> None:
        """MoD's router over all tokens of a sequence, gather and scatter of k."""
        d = self.config.d_model
        self._matmul("router", seq_len, d, 1)
        self.params += d
        self.saved += self.batch_size * 2 * k * d

    def total(self) -> Cost:
        """The sum as a `Cost`."""
        return Cost(dict(self.flops), self.scores_causal, self.params, self.saved)
