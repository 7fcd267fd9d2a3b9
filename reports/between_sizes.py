"""Where a confirmed arm might be better between the sizes that were trained: the fit's optimum, and by how much it lies lower."""

from __future__ import annotations

import math
from collections.abc import Iterator

from modbench.harness.planning.confirming import explores
from modbench.harness.results.choosing import fit_of, place_of
from modbench.harness.results.confirmed import found_in
from modbench.harness.stats.joint_fit import Optimum
from modbench.reports.confirm import Answer, answers
from modbench.reports.confirm_words import short_name
from modbench.reports.load import Loaded

# An optimum that lies lower by less than this share of the margin decides nothing.
LEAST = 0.25


def in_words(loaded: Loaded) -> list[str]:
    """Say of which confirmed arms the fit expects a lower loss between two sizes; none of which it does not."""
    return [sentence for answer in answers(loaded) for sentence in _of(loaded, answer)]


def _of(loaded: Loaded, answer: Answer) -> Iterator[str]:
    place = next((side.case.place for side in answer.sides.values()), None)
    left = []
    for record in loaded.run.records:
        (case, *_), loss = record.unit.comparison.arms, found_in(record).loss
        if case.budget == answer.budget and case.place == place and explores(record.unit) and loss is not None:
            left.append((record.unit, loss))
    if not left or answer.confirmed.margin is None:
        return
    fitted = fit_of(left)
    for role, side in answer.sides.items():
        optimum = fitted.optimum(side.case.variant)
        if not isinstance(optimum, Optimum):
            continue
        gain = fitted.predicted(side.case.variant)[place_of(side.case)].value - optimum.loss.value
        if gain > LEAST * answer.confirmed.margin:
            at = f"{math.exp(optimum.place.value) / 1e6:.2f} M parameters"
            yield (
                f"The sweep's fit expects {short_name(answer, role)} to be {gain:.3f} nats per token better at {at}, between the "
                "sizes trained: a size there may change the answer."
            )
