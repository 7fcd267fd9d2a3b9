"""PaLM: sizes, and the model FLOPs utilization (MFU) that it introduced."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from modbench.harness.core.contracts import Cost
from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import dense

T, V, HEAD_DIM = 2048, 256_000, 256
# Layers, width, heads (table 1).
SIZES = {"8B": (32, 4096, 16), "62B": (64, 8192, 32), "540B": (118, 18_432, 48)}
PRINTED = {"8B": "8.63B", "62B": "62.50B", "540B": "540.35B"}
CHIPS, PEAK, TOKENS_PER_S = 6144, 275e12, 238.3e3


def cost(name: str) -> Cost:
    """Our dense model in this shape: one key-value head, SwiGLU of 4d, head tied."""
    layers, d, heads = SIZES[name]
    shape = {"d_model": d, "n_layers": layers, "n_heads": heads, "n_kv_heads": 1, "head_dim": HEAD_DIM, "d_ff": 4 * d}
    return dense(T, **shape, vocab_size=V, tied=True)


def params(name: str) -> float:
    """Parameters of the matrices."""
    layers, d, _ = SIZES[name]
    return float(cost(name).params - (2 * layers + 1) * d)


def utilization(*, attention: bool) -> float:
    """Share of the machines' peak that the model's FLOPs make, at the published throughput."""
    made = cost("540B")
    scores = 3 * (made.parts["scores"] + made.parts["values"])
    return TOKENS_PER_S * (made.train_step - (0 if attention else scores)) / T / (CHIPS * PEAK)


def _params(name: str) -> Callable[[], float]:
    return lambda: params(name)


_mfu = partial(
    Row,
    where="section 4.1, Training Efficiency",
    config="540B; 238.3K tokens/s on 6,144 TPU v4 with 275 TFLOP/s each, T 2,048",
    unit="",
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
            )
            for name, (layers, d, heads) in SIZES.items()
        ),
        _mfu(
            "540B: MFU without attention",
            printed=Printed("45.7%"),
            ours=lambda: utilization(attention=False),
            convention="flops/train_step less scores and values, which is 6N per token (appendix B), over the peak",
        ),
        _mfu(
            "540B: MFU with attention",
            printed=Printed("46.2%"),
            ours=lambda: utilization(attention=True),
            convention="flops/train_step, which is 6N + 12 L H Q T per token (appendix B: full-square attention), over the peak",
        ),
    ),
)
