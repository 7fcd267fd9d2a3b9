"""nanoGPT's notebook on the size of GPT-2."""

from __future__ import annotations

from functools import partial

from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import GPT2, dense

T = 1024
# The notebook assumes norms without shift and linear layers without bias: our RMSNorm has as many parameters.
SHAPE = {**GPT2, "norm": "rms", "d_model": 768, "n_layers": 12, "n_heads": 12, "vocab_size": 50257}
CONFIG = "L 12, d 768, h 12, T 1,024, V 50,257, GELU, head tied, no biases (cell 2)"


def _palm() -> float:
    """6N + 12 L H Q T per token: scores and values are 12 L d T of a training step."""
    made = dense(T, **SHAPE)
    return 6.0 * made.params * T + 3 * (made.parts["scores"] + made.parts["values"])


_row = partial(Row, config=CONFIG)

SOURCE = Source(
    "nanoGPT, transformer_sizing.ipynb",
    "https://github.com/karpathy/nanoGPT/blob/master/transformer_sizing.ipynb",
    (
        _row(
            "parameters",
            "output of cell 3, total",
            printed=Printed("124,337,664"),
            unit="parameters",
            ours=lambda: dense(T, **SHAPE).params,
            convention="embedding and positions counted, head tied, biases left out",
        ),
        _row(
            "forward FLOPs",
            "output of cell 6, forward_total",
            printed=Printed("291,648,307,200"),
            unit="FLOP",
            ours=lambda: dense(T, **SHAPE).forward,
            convention="2 per multiply-add, head included, full-square attention",
        ),
        _row(
            "backward FLOPs",
            "output of cell 6, backward_total",
            printed=Printed("583,296,614,400"),
            unit="FLOP",
            ours=lambda: dense(T, **SHAPE).train_step - dense(T, **SHAPE).forward,
            convention="backward = 2x forward",
        ),
        _row(
            "training step FLOPs",
            "output of cell 6, total",
            printed=Printed("874,944,921,600"),
            unit="FLOP",
            ours=lambda: dense(T, **SHAPE).train_step,
            convention="forward + 2x forward: the same as our flops/train_step",
        ),
        _row(
            "PaLM's estimate of it",
            "output of cell 7, palm_flops",
            printed=Printed("879,894,724,608"),
            unit="FLOP",
            ours=_palm,
            convention="(6N + 12 L H Q T) T, where N counts embedding and positions",
        ),
        _row(
            "checkpoint",
            "output of cell 4, est checkpoint size",
            printed=Printed("1.49B"),
            unit="B",
            ours=lambda: 3.0 * 4 * dense(T, **SHAPE).params,
            convention="weights and both AdamW moments in fp32, GB of 1e9",
        ),
    ),
)
