"""Megatron-LM's models of 2021: their parameters, its FLOPs of an iteration, and its days of training."""

from __future__ import annotations

from collections.abc import Callable

from modbench.harness.core.contracts import Cost
from modbench.published import _more
from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import GPT2, dense

T, V, DAY = 2048, 51_200, 86_400.0
# Billions of parameters, heads, width, layers.
TABLE = (
    ("1.7B", 24, 2304, 24),
    ("3.6B", 32, 3072, 30),
    ("7.5B", 32, 4096, 36),
    ("18.4B", 48, 6144, 40),
    ("39.1B", 64, 8192, 48),
    ("76.1B", 80, 10_240, 60),
    ("145.6B", 96, 12_288, 80),
    ("310.1B", 128, 16_384, 96),
    ("529.6B", 128, 20_480, 105),
    ("1008.0B", 160, 25_600, 128),
)


def params(layers: int, d: int, heads: int) -> float:
    """Parameters of GPT-2's architecture."""
    return float(_cost(layers, d, heads).params + _more.gpt2_biases(layers, d))


def days(layers: int, d: int, heads: int, tokens: float, gpus: int, flops_per_s: float) -> float:
    """8 T P / (n X), in days."""
    return 8 * tokens * params(layers, d, heads) / (gpus * flops_per_s) / DAY


def recomputed(layers: int, d: int, heads: int) -> float:
    """FLOPs of an iteration per sequence if the blocks' forward pass runs twice, and the head's once."""
    made = _cost(layers, d, heads)
    return 4 * made.forward_headless + 3 * made.parts["head"]


def formula(layers: int, d: int) -> float:
    """Equation 3 for a batch of one: 96 s l h^2 (1 + s / 6h + V / 16 l h)."""
    return 96 * T * layers * d**2 * (1 + T / (6 * d) + V / (16 * layers * d))


def _cost(layers: int, d: int, heads: int) -> Cost:
    return dense(T, **GPT2, d_model=d, n_layers=layers, n_heads=heads, vocab_size=V)


def _params(layers: int, d: int, heads: int) -> Callable[[], float]:
    return lambda: params(layers, d, heads)


SOURCE = Source(
    "Megatron-LM (Narayanan et al. 2021)",
    "https://arxiv.org/abs/2104.04473",
    (
        *(
            Row(
                f"{name}: parameters",
                "table 1, number of parameters",
                f"L {layers}, d {d}, h {heads}, T 2,048, V 51,200 (section 5.1)",
                Printed(name),
                "parameters",
                _params(layers, d, heads),
                "tied embedding, positions, norms and biases counted, as equation 2 does",
                "catalogue and more",
            )
            for name, heads, d, layers in TABLE
        ),
        Row(
            "1008B: FLOPs, ours over eq. 3",
            "section 5.1, equation 3",
            "L 128, d 25,600, h 160, T 2,048, V 51,200",
            Printed("1.0000"),
            "",
            lambda: recomputed(128, 25_600, 160) / formula(128, 25_600),
            "blocks' forward counted twice (activations are computed again) and 2x for backward, the head 3x; full-square "
            "attention",
        ),
        Row(
            "GPT-3 175B: days",
            "section 5.1, Training Time Estimates",
            "L 96, d 12,288, h 96; 300B tokens, 1,024 A100 at 140 teraFLOP/s",
            Printed("34"),
            "days",
            lambda: days(96, 12_288, 96, 300e9, 1024, 140e12),
            "8 T P / (n X): equation 4",
            "catalogue and more",
        ),
        Row(
            "1008B: days",
            "section 5.1, Training Time Estimates",
            "L 128, d 25,600, h 160; 450B tokens, 3,072 A100 at 163 teraFLOP/s",
            Printed("84"),
            "days",
            lambda: days(128, 25_600, 160, 450e9, 3072, 163e12),
            "8 T P / (n X) with P of table 1; with a round trillion it would be 83",
            "catalogue and more",
        ),
    ),
)
