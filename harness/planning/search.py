"""The table `[search]` of a suite: its metrics, and its comparisons with their twins and launches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from modbench.harness.domain.case import Comparison, Place
from modbench.harness.registry import catalogue

if TYPE_CHECKING:
    from modbench.harness.domain.suite import Suite


def searched_keys(suite: Suite, keys: Sequence[str]) -> tuple[str, ...]:
    """Return those of some metrics that the suite searches; a rate goes with the time that it is derived from."""
    if suite.search is None:
        return ()
    known, asked = catalogue.metrics(), suite.search.metrics
    return tuple(key for key in keys if is_timed(key) and (asked is None or key in asked or known[key].source in asked))


def is_timed(key: str) -> bool:
    """Whether a metric is a time of calls, or derived from one, that every launch measures again."""
    made_in = catalogue.pass_of(catalogue.metrics()[key])
    return made_in.times and made_in.repeated


def in_search(suite: Suite, comparison: Comparison) -> bool:
    """Whether a comparison is that of one searched arm at one place."""
    return bool(comparison.name) and len(searched_keys(suite, comparison.metrics)) == len(comparison.metrics)


def with_twins(suite: Suite, comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Give the first comparison of a search at each place a twin of its anchor, where the suite wants one.

    A twin tests the machine, so one at each place is enough.
    """
    made, seen = [], set[Place]()
    for comparison in comparisons:
        searched = in_search(suite, comparison)
        twin = searched and suite.twin and suite.claims and comparison.place not in seen
        seen |= {comparison.place} if searched else set()
        made.append(comparison.model_copy(update={"twin": True}) if twin else comparison)
    return made


def first_launches(suite: Suite, comparisons: Sequence[Comparison]) -> dict[str, int]:
    """A number for the first launch of each comparison of a search, by its label.

    Those at one place share an anchor but not its launches: numbered on, each launch of the anchor has a number of its own.
    """
    found: dict[str, int] = {}
    seen: Counter[Place] = Counter()
    for comparison in comparisons:
        if in_search(suite, comparison):
            found[comparison.label] = seen[comparison.place] * suite.launches_limit
            seen[comparison.place] += 1
    return found
