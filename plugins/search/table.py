"""`[search]` of a suite: where variants break even is searched for, cell by cell, instead of measuring the whole grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from modbench.extend import (
    EFFORTS,
    TWO_STAGE,
    Comparison,
    GridPoint,
    SuiteTable,
    TablePlan,
    UsageError,
    catalogue,
    is_timed,
    name_of_variant,
    short_name,
    sizes_of,
    slug,
    unknown,
)

if TYPE_CHECKING:
    from modbench.extend import MakesComparisons, ResolvedVariant, Suite

# Fewest processes that have an interval.
FEWEST_PROCESSES = 3


class SearchPlan(TablePlan):
    """How a suite finds where a variant breaks even: by halving an axis of its grid instead of measuring it all.

    Attributes:
        axis: the axis that is searched, for every variant and workload, and at each point of the other axes.
        against: what a variant must beat to pay: the baseline, the matched baselines that were solved for it, or each in turn.
        metrics: the timed metrics that are searched; None: all of the suite. Others are measured on the whole grid.
    """

    table = "search"

    axis: Literal["seq_len", "batch_size"] = "seq_len"
    against: Annotated[tuple[Literal["same shape", "matched"], ...], Field(min_length=1)] = (
        "same shape",
        "matched",
    )
    metrics: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    def searched(self, keys: Sequence[str]) -> tuple[str, ...]:
        """Return those of some metrics that are searched; a rate goes with the time that it is derived from."""
        known, asked = catalogue.metrics(), self.metrics
        return tuple(
            key for key in keys if is_timed(key) and (asked is None or key in asked or known[key].source in asked)
        )


class SearchTable(SuiteTable[SearchPlan]):
    """Each searched variant has comparisons of its own, one at each grid point."""

    without = "measures its whole grid"

    def check(self, suite: Suite, source: str) -> None:
        """Check that the suite times what it searches, and has intervals to go by."""
        search, where = SearchPlan.settled(suite), f"{source}: [search]"
        timed = [key for key in suite.metrics if is_timed(key) and not catalogue.metrics()[key].source]
        for key in search.metrics or ():
            if key not in timed:
                raise UsageError(
                    f"{where}: {unknown('metric', key, timed)} It searches metrics of the suite that are timed."
                )
        if not timed:
            raise UsageError(f"{where} searches metrics that are timed, such as latency/forward: this suite has none.")
        if sizes_of(suite) is not None:
            raise UsageError(f"{where}: a sweep over sizes ([isoflop]) measures all of them. Leave out one of the two.")
        for key in ("pilot_processes", "most_processes", "detectable"):
            if getattr(suite, key) is not None:
                raise UsageError(
                    f"{where}: a search has a fixed number of processes, so no pilot decides it: set processes, not {key}."
                )
        processes = suite.processes or EFFORTS[suite.effort][0]
        if suite.claims and processes < FEWEST_PROCESSES:
            raise UsageError(
                f"{where}: {processes} processes have no interval, and where to look next depends on it. Set "
                f"processes to at least {FEWEST_PROCESSES}, or try the suite with --effort smoke."
            )

    def settled(self, suite: Suite) -> Suite:
        """Return the suite without a pilot: a search needs the same number of processes everywhere."""
        fixed = suite.processes or (EFFORTS[suite.effort][0] if suite.effort in TWO_STAGE else None)
        return suite.model_copy(update={"processes": fixed})

    def on_grid(
        self, maker: MakesComparisons, variants: Sequence[ResolvedVariant], grid_point: GridPoint, keys: tuple[str, ...]
    ) -> tuple[tuple[str, ...], list[Comparison]]:
        """Return the metrics that are not searched, and a comparison for each variant that is, of the others."""
        searched = SearchPlan.settled(maker.suite).searched(keys)
        rest = tuple(key for key in keys if key not in searched)
        return rest, [*_of_variants(maker, variants, grid_point, searched)] if searched else []

    def selected(self, suite: Suite, comparisons: Sequence[Comparison], select: str | None) -> list[Comparison]:
        """Leave out comparisons without the variant that is searched; the first at each grid point gets an A/A control.

        An A/A control tests the machine, so one at each grid point is enough.
        """
        made, seen = list[Comparison](), set[GridPoint]()
        for each in comparisons:
            if not each.partial:
                made.append(each)
            elif not all(case.matched for case in each.variants[1:]):
                aa_control = suite.aa_control and suite.claims and each.grid_point not in seen
                made.append(each.model_copy(update={"aa_control": True}) if aa_control else each)
                seen.add(each.grid_point)
        if not seen:
            raise UsageError(
                f"-k {select!r} selects no variant that this suite searches: only its baseline and matched baselines."
            )
        return made

    def times_first(self, suite: Suite, comparison: Comparison) -> bool:
        """Whether it is at the grid point that each row measures first."""
        axis = SearchPlan.settled(suite).axis
        along = sorted(set(getattr(suite.grid, axis)))
        return bool(getattr(comparison.grid_point, axis) == along[(len(along) - 1) // 2])


def _of_variants(
    maker: MakesComparisons, variants: Sequence[ResolvedVariant], grid_point: GridPoint, keys: tuple[str, ...]
) -> Iterator[Comparison]:
    """A comparison for each variant that is searched: the baseline, its matched baselines, and the variant."""
    search, matches = SearchPlan.settled(maker.suite), [variant for variant in variants[1:] if not variant.matched]
    if not matches:
        raise UsageError(
            "[search] looks for where a variant beats the baseline: add a variant besides it and its matched baselines."
        )
    for variant in matches:
        matched_baselines = [matched for matched in variants if variant in matched.targets and matched.factor == 1]
        if not matched_baselines and "same shape" not in search.against:
            raise UsageError(
                f"[search]: no matched baseline was solved for {name_of_variant(variant)}, so nothing has its cost. Add a "
                'variant with `match`, or write against = ["same shape"].'
            )
        name = slug("-".join((short_name(variant.model), *variant.parts)))
        others = [matched for matched in matched_baselines if matched is not variants[0]]
        yield maker.comparison([variants[0], *others, variant], grid_point, keys, name, partial=True)


TABLE = SearchTable(SearchPlan)
