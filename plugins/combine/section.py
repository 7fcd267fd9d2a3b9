"""Do savings multiply? What a model that skips tokens and a cheaper mixer save together, over the product of both alone."""

from __future__ import annotations

from modbench.extend import Lead, Section
from modbench.plugins.combine import question as combine

SECTION = Section(
    title="Do the savings multiply?",
    order=9,
    span=12,
    render=combine.tables,
    told=True,
    reading=(
        "What skipping tokens and another mixer save alone and together, over the baseline. The last column divides both by the "
        "product of the two: at 1× the savings multiply, below it they overlap."
    ),
    tables=[combine.TABLE],
    lead=Lead(answer=combine.answer, in_place=combine.in_place),
)
