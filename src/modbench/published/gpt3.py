"""GPT-3's parameters and training compute."""

from __future__ import annotations

from collections.abc import Callable

from modbench.published import _more
from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import GPT2, dense

T, V, TOKENS = 2048, 50_257, 300e9
# Name, layers, width, heads (table 2.1); millions of parameters with the zeros that rounding made, training FLOPs (table D.1).
TABLE = (
    ("Small", 12, 768, 12, Printed("125M"), "2.25E+20"),
    ("Medium", 24, 1024, 16, Printed("356M"), "6.41E+20"),
    ("Large", 24, 1536, 16, Printed("760M"), "1.37E+21"),
    ("XL", 24, 2048, 16, Printed("1,320M", 1), "2.38E+21"),
    ("2.7B", 32, 2560, 32, Printed("2,650M", 1), "4.77E+21"),
    ("6.7B", 32, 4096, 32, Printed("6,660M", 1), "1.20E+22"),
    ("13B", 40, 5120, 40, Printed("12,850M", 1), "2.31E+22"),
    ("175B", 96, 12_288, 96, Printed("174,600M", 2), "3.14E+23"),
)
NOTES = {
    "XL": "table 2.1 prints 24 heads of 128, which are not 2,048 wide; 16 are",
    "13B": "table 2.1 prints d 5,140; 40 heads of 128 are 5,120",
}
# Training FLOPs that no convention of ours reproduces.
WHY_NOT = {"XL": "the table multiplies its rounded 1,320M; the shape has 1,316M, which makes 2.37E+21"}


def params(layers: int, d: int, heads: int) -> float:
    """Parameters of GPT-2's architecture."""
    made = dense(T, **GPT2, d_model=d, n_layers=layers, n_heads=heads, vocab_size=V)
    return float(made.params + _more.gpt2_biases(layers, d))


def _params(layers: int, d: int, heads: int) -> Callable[[], float]:
    return lambda: params(layers, d, heads)


def _compute(layers: int, d: int, heads: int) -> Callable[[], float]:
    return lambda: 6 * params(layers, d, heads) * TOKENS


def _config(name: str, layers: int, d: int, heads: int) -> str:
    note = f"; {NOTES[name]}" if name in NOTES else ""
    return f"L {layers}, d {d}, h {heads}, T 2,048 (table 2.1), V 50,257 (GPT-2's){note}"


SOURCE = Source(
    "GPT-3 (Brown et al. 2020)",
    "https://arxiv.org/abs/2005.14165",
    (
        *(
            Row(
                f"{name}: parameters",
                "table D.1, column Params (M)",
                _config(name, layers, d, heads),
                printed,
                "parameters",
                _params(layers, d, heads),
                "tied embedding, positions, norms and biases counted; zeros at the end of a number are taken for rounding",
                "catalogue and more",
            )
            for name, layers, d, heads, printed, _ in TABLE
        ),
        *(
            Row(
                f"{name}: training FLOPs",
                "table D.1, column Total train compute (flops)",
                _config(name, layers, d, heads) + "; 300B tokens",
                Printed(flops),
                "FLOP",
                _compute(layers, d, heads),
                "6ND: every parameter counts, embedding and positions too; attention's scores are left out",
                "catalogue and more",
                why_not=WHY_NOT.get(name, ""),
            )
            for name, layers, d, heads, _, flops in TABLE
        ),
    ),
)
