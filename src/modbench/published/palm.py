"""PaLM: sizes, and the model FLOPs utilization that it introduced."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from modbench.published import _more
from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import dense

T, V, HEAD_DIM = 2048, 256_000, 256
# Layers, width, heads (table 1).
SIZES = {"8B": (32, 4096, 16), "62B": (64, 8192, 32), "540B": (118, 18_432, 48)}
PRINTED = {"8B": "8.63B", "62B": "62.50B", "540B": "540.35B"}
CHIPS, PEAK, TOKENS_PER_S = 6144, 275e12, 238.3e3


def params(layers: int, d: int, heads: int) -> float:
    """Parameters of the matrices: one key-value head, SwiGLU of 4d, head tied."""
    made = dense(d_model=d, n_layers=layers, n_heads=1, d_ff=4 * d, vocab_size=V, tied=True)
    norms = (2 * layers + 1) * d
    return float(made.params - norms + _more.heads_apart(layers, d, heads, 1, HEAD_DIM))


def utilization(*, attention: bool) -> float:
    """Share of the machines' peak that the model's FLOPs make, at the published throughput."""
    layers, d, heads = SIZES["540B"]
    per_token = 6 * params(layers, d, heads) + 12 * layers * heads * HEAD_DIM * T * attention
    return TOKENS_PER_S * per_token / (CHIPS * PEAK)


def _params(name: str) -> Callable[[], float]:
    return lambda: params(*SIZES[name])


_mfu = partial(
    Row,
    where="section 4.1, Training Efficiency",
    config="540B; 238.3K tokens/s on 6,144 TPU v4 with 275 TFLOP/s each, T 2,048",
    unit="",
    form="catalogue and more",
)

SOURCE = Source(
    "PaLM (Chowdhery et al. 2022)",
    "https://arxiv.org/abs/2204.02311",
    (
        *(
            Row(
                f"{name}: parameters",
                "table 1",
                f"L {layers}, d {d}, {heads} heads of 256, one key-value head, d_ff 4d, V 256,000, tied (section 2, table 1)",
                Printed(PRINTED[name]),
                "parameters",
                _params(name),
                "matrices only: norms left out, tied embedding counted once",
                "catalogue and more",
            )
            for name, (layers, d, heads) in SIZES.items()
        ),
        _mfu(
            "540B: MFU without attention",
            printed=Printed("45.7%"),
            ours=lambda: utilization(attention=False),
            convention="6N per token over the peak (appendix B)",
        ),
        _mfu(
            "540B: MFU with attention",
            printed=Printed("46.2%"),
            ours=lambda: utilization(attention=True),
            convention="6N + 12 L H Q T per token over the peak: full-square attention (appendix B)",
        ),
    ),
)
