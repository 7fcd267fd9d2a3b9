"""Compute-equivalent gains: the compute that dense needs for each variant's loss, over the variant's own."""

from __future__ import annotations

from modbench.extend import Section
from modbench.plugins.sweeps.gain import question

SECTION = Section(
    title="What does it cost in loss?",
    order=31,
    span=12,
    render=lambda loaded: filter(None, [question.table(loaded)]),
    told=True,
    reading=(
        "1.20× of FLOPs: a dense model needs 1.2 times as many FLOPs for the same loss, read off the curve of the dense models "
        "that were trained here. Where routing saw later tokens, the loss flatters the variant."
    ),
    tables=[question.TABLE],
)
