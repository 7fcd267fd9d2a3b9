"""MoE++: sizes, and how much of what its no-op experts promise its clock realised."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from modbench.published._rows import Printed, Row, Source
from modbench.published._shapes import activated, moe

V = 65_536
SMALL: dict[str, Any] = {"d_model": 768, "n_layers": 12, "n_heads": 12, "d_ff": 2048}
LARGE: dict[str, Any] = {"d_model": 1536, "n_layers": 24, "n_heads": 16, "d_ff": 4096}
# Name, shape, experts, no-ops, time of the plain MoE in ms, and (tau, time in ms, printed increase of throughput).
TIMED = (
    (
        "0.6B/(8+4)",
        SMALL,
        8,
        4,
        535.3,
        (
            (0.10, 202.4, "164.5%"),
            (0.25, 277.8, "92.7%"),
            (0.50, 387.3, "38.2%"),
            (0.75, 427.6, "25.2%"),
            (1.00, 449.6, "19.1%"),
        ),
    ),
    ("7B/(16+4)", LARGE, 16, 4, 1859.0, ((0.75, 1455.0, "27.8%"),)),
)


def ideal(shape: dict[str, Any], experts: int, no_ops: int, tau: float) -> float:
    """How many times fewer FLOPs the experts do: our MoE's, over those with the share of choices that are real as capacity."""
    real = tau * experts / (tau * experts + no_ops)
    full = _experts(shape, experts, 1.0)
    return full / _experts(shape, experts, real)


def _experts(shape: dict[str, Any], experts: int, real: float) -> float:
    # Long enough that the whole number of tokens that an expert takes is the exact share, to eight digits.
    made = moe(2**30, **shape, vocab_size=V, n_experts=experts, experts_top_k=2, capacity_factor=real)
    return made.parts["experts"]


def realised(measured: float, promised: float) -> float:
    """Share of the promised gain that was measured."""
    return (measured - 1) / (promised - 1)


def _increase(shape: dict[str, Any], experts: int, no_ops: int, tau: float) -> Callable[[], float]:
    return lambda: ideal(shape, experts, no_ops, tau) - 1


def _promise(name: str, experts: int, no_ops: int, tau: float, ratio: float, printed: str) -> Row:
    shape = SMALL if experts == 8 else LARGE
    share = realised(ratio, (tau * experts + no_ops) / (tau * experts))
    return Row(
        f"{name} tau {tau:.2f}: throughput",
        "table 3, columns Time and Throughput Increase; the ideal is section 3.4",
        f"{experts} experts, {no_ops} no-ops, top-2, d {shape['d_model']}, d_ff {shape['d_ff']} (table 2)",
        Printed(printed),
        "",
        _increase(shape, experts, no_ops, tau),
        "experts' FLOPs of a plain MoE over those of the tau N / (tau N + Z) choices that are real, less 1; realised is "
        "(ratio - 1) / (ideal - 1), with the ratio of the printed times",
        why_not=f"ours is the ideal, of which the clock realised {share:.0%}",
        realised=share,
    )


def _size(name: str, shape: dict[str, Any], experts: int, printed: str, why_not: str = "") -> Row:
    return Row(
        f"{name}: parameters",
        "table 2",
        f"L {shape['n_layers']}, d {shape['d_model']}, {experts} experts of {shape['d_ff']}; V 65,536 (section 4.1)",
        Printed(printed),
        "parameters",
        lambda: moe(**shape, vocab_size=V, n_experts=experts, experts_top_k=2).params,
        "SwiGLU experts, embedding and head counted",
        why_not=why_not,
    )


_activated = partial(activated, **SMALL, vocab_size=V, n_experts=8, experts_top_k=2)

SOURCE = Source(
    "MoE++ (Jin et al. 2024)",
    "https://arxiv.org/abs/2410.07348",
    (
        _size("0.6B/8E", SMALL, 8, "0.6B"),
        _size("1B/16E", SMALL, 16, "1B"),
        _size("2B/32E", SMALL, 32, "2B"),
        _size("7B/16E", LARGE, 16, "7B", "embedding and head take it to 7.7B; without both it is 7.5B"),
        Row(
            "0.6B/8E: activated",
            "table 2",
            "L 12, d 768, 2 of 8 experts of 2048; V 65,536 (section 4.1)",
            Printed("0.2B"),
            "parameters",
            _activated,
            "SwiGLU experts, embedding and head counted",
        ),
        *(
            _promise(name, experts, no_ops, tau, plain / took, printed)
            for name, _, experts, no_ops, plain, table in TIMED
            for tau, took, printed in table
        ),
    ),
)
