"""Chinchilla's table of FLOPs over 6NT, whose text and numbers disagree about the embedding."""

from __future__ import annotations

from collections.abc import Callable

from modbench.published import _more
from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import dense

# Neither the sequence length nor the vocabulary is printed; these two reproduce both columns of the table.
T, V = 2048, 32_000
# Parameters, layers, width, heads, FLOPs over 6NT.
TABLE = (
    ("73M", 10, 640, 10, "1.03"),
    ("305M", 20, 1024, 16, "1.10"),
    ("552M", 24, 1280, 10, "1.08"),
    ("1.1B", 26, 1792, 14, "1.04"),
    ("1.6B", 28, 2048, 16, "1.03"),
    ("6.8B", 40, 3584, 28, "0.99"),
)
SOFTMAX = 3  # FLOPs per score in appendix F; ours counts 0
# What no convention of ours reproduces.
WHY_NOT = {"73M": "73.7M rounds to 74M: the name is cut, not rounded; its ratio below takes 73.7M"}


def params(layers: int, d: int, heads: int) -> float:
    """Parameters with a tied embedding and relative positions."""
    made = dense(T, **_shape(layers, d, heads))
    return float(made.params + _more.relative_positions(layers, d))


def ratio(layers: int, d: int, heads: int) -> float:
    """Training FLOPs without embedding and logits over 6NT."""
    forward = dense(T, **_shape(layers, d, heads)).forward_headless + SOFTMAX * heads * T * T * layers
    return 3 * forward / (6 * params(layers, d, heads) * T)


def _shape(layers: int, d: int, heads: int) -> dict[str, object]:
    return {
        "d_model": d,
        "n_layers": layers,
        "n_heads": heads,
        "d_ff": 4 * d,
        "vocab_size": V,
        "activation": "gelu",
        "tied": True,
    }


def _ours(of: Callable[[int, int, int], float], layers: int, d: int, heads: int) -> Callable[[], float]:
    return lambda: of(layers, d, heads)


def _gopher() -> float:
    """6ND of Gopher from its shape."""
    return 6 * params(80, 16_384, 128) * 300e9


SOURCE = Source(
    "Chinchilla (Hoffmann et al. 2022)",
    "https://arxiv.org/abs/2203.15556",
    (
        *(
            Row(
                f"{name}: parameters",
                "table A4, column Parameters",
                f"L {layers}, d {d}, h {heads}, d_ff {4 * d}; V 32,000 assumed",
                Printed(name),
                "parameters",
                _ours(params, layers, d, heads),
                "tied embedding counted (V 32,000, not printed), and one more d x d matrix per layer, as relative positions "
                "need it",
                "catalogue and more",
                why_not=WHY_NOT.get(name, ""),
            )
            for name, layers, d, heads, _ in TABLE
        ),
        *(
            Row(
                f"{name}: FLOPs over 6NT",
                "table A4, column FLOP Ratio (Ours/6ND)",
                f"L {layers}, d {d}, h {heads}, d_ff {4 * d}; T 2,048, V 32,000 assumed",
                Printed(printed),
                "",
                _ours(ratio, layers, d, heads),
                "three times headless forward, with 3 h T^2 per layer for softmax, over 6NT; embedding and logits are left out, "
                "which appendix F lists as counted; N as above (T 2,048, not printed)",
                "catalogue and more",
            )
            for name, layers, d, heads, printed in TABLE
        ),
        Row(
            "Gopher: training FLOPs",
            "appendix F, last sentence (taken from Rae et al. 2021)",
            "L 80, d 16,384, h 128, 300B tokens (tables 1 and 4)",
            Printed("5.76E+23"),
            "FLOP",
            _gopher,
            "6ND",
            "catalogue and more",
            why_not="6ND of the shape is an eighth less; appendix F's own 6.3E+23 is a fifth above 6ND, though its table gives "
            "at most a tenth",
        ),
    ),
)
