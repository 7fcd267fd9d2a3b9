"""The launch in which a user's code is not loaded: the shipped arms of a comparison, with a second anchor in the user's place."""

from __future__ import annotations

from modbench.harness.domain.case import Comparison
from modbench.harness.domain.suite import Suite
from modbench.harness.planning.search import in_search


def without_own(suite: Suite, comparison: Comparison) -> Comparison | None:
    """The comparison without the arms that run a user's code, with a twin of the anchor; None where no such launch is made.

    None is made at smoke effort, whose single launch does not tell how much launches differ, and where the anchor itself runs a
    user's code. A search makes it at the place that each of its rows measures first.
    """
    anchor, *_ = comparison.arms
    shipped = comparison.shipped
    if not suite.claims or anchor not in shipped or len(shipped) == len(comparison.arms):
        return None
    if suite.search is not None and in_search(suite, comparison):
        along = sorted(set(getattr(suite.grid, suite.search.axis)))
        if getattr(comparison.place, suite.search.axis) != along[(len(along) - 1) // 2]:
            return None
    twin = anchor.model_copy(update={"twin": True})
    return comparison.model_copy(update={"arms": (*shipped, twin), "twin": False})
