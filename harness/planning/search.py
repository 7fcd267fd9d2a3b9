"""The table `[search]` of a suite: its metrics, its comparisons with their twins and launches, and checks of the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from modbench.harness.core import catalogue
from modbench.harness.core.case import Comparison, Place
from modbench.harness.core.errors import UsageError, unknown

if TYPE_CHECKING:
    from modbench.harness.planning.suite import Suite

# Fewest launches that have an interval.
FEWEST_LAUNCHES = 3


def searched_keys(suite: Suite, keys: Sequence[str]) -> tuple[str, ...]:
    """Return those of some metrics that the suite searches; a rate goes with the time that it is derived from."""
    if suite.search is None:
        return ()
    known, asked = catalogue.metrics(), suite.search.metrics
    return tuple(
        key for key in keys if _is_timed(key) and (asked is None or key in asked or known[key].source in asked)
    )


def _is_timed(key: str) -> bool:
    made_in = catalogue.pass_of(catalogue.metrics()[key])
    return made_in.times and made_in.repeated


def check_search(suite: Suite, source: str) -> None:
    """Check that a suite can search as it says.

    Args:
        suite: the suite.
        source: its file, for messages.

    Raises:
        UsageError: if it cannot.
    """
    search = suite.search
    if search is None:
        return
    where = f"{source}: [search]"
    timed = [key for key in suite.metrics if _is_timed(key) and not catalogue.metrics()[key].source]
    for key in search.metrics or ():
        if key not in timed:
            raise UsageError(
                f"{where}: {unknown('metric', key, timed)} It searches metrics of the suite that are timed."
            )
    if not timed:
        raise UsageError(f"{where} searches metrics that are timed, such as latency/forward: this suite has none.")
    if suite.isoflop is not None:
        raise UsageError(f"{where}: a sweep over sizes ([isoflop]) measures all of them. Leave out one of the two.")
    launches, _ = suite.protocol_size
    if suite.claims and launches < FEWEST_LAUNCHES:
        raise UsageError(
            f"{where}: {launches} launches have no interval, and where to look next depends on it. Set launches to at least "
            f"{FEWEST_LAUNCHES}, or try the suite with --effort smoke."
        )


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
