"""Tables that plug-ins add to a suite, such as `[search]`: a file exports one as `TABLE`.

A suite has the table's values; what follows from them when a suite is read and planned is asked of its `SuiteTable`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from pydantic import ValidationError

from modbench.harness.core.errors import UsageError, in_words, unknown
from modbench.harness.core.immutable import Frozen
from modbench.harness.domain.suite import TABLES, Suite, TablePlan
from modbench.harness.registry import catalogue, plugin_manifests

if TYPE_CHECKING:
    from modbench.harness.core.contracts import AnyMetric, Text
    from modbench.harness.domain.case import Case, Comparison, Condition, GridPoint, Job
    from modbench.harness.domain.records import Outcome
    from modbench.harness.planning.variants import ResolvedVariant
    from modbench.harness.stats.over_seeds import OverSeeds

PlanType = TypeVar("PlanType", bound=TablePlan)


class MakesComparisons(Protocol):
    """What makes the comparisons of a suite (`comparisons.py`)."""

    @property
    def suite(self) -> Suite:
        """The suite."""

    def comparison(
        self,
        variants: Sequence[ResolvedVariant],
        grid_point: GridPoint,
        keys: tuple[str, ...],
        name: str = "",
        *,
        conditions: tuple[Condition, ...] = (),
        partial: bool = False,
    ) -> Comparison:
        """One comparison of variants at a grid point; a partial one holds only some of those that are measured there."""

    def apart(
        self,
        keys: tuple[str, ...],
        name: str,
        *,
        shape: Mapping[str, int],
        seq_len: int,
        batch_size: int,
        conditions: tuple[Condition, ...],
    ) -> Comparison:
        """One comparison of all variants away from the grid: in a shape and on an input of its own, under conditions."""


class Sizes(NamedTuple):
    """The shapes in which every variant is measured.

    Attributes:
        shapes: keys of the shape and their values, smallest first.
        middle: which of them the baseline of all comparisons on the grid has.
        runs: training runs of a variant in a shape, at most.
    """

    shapes: Sequence[Mapping[str, int]]
    middle: int
    runs: int = 1


class Budget(NamedTuple):
    """What a training run of a case spends.

    Attributes:
        flops: training FLOPs.
        causal: whether a step is charged with the causal half of attention, not with the whole square.
        rate_from: name of the job that finds a factor for its learning rate; None: there is none.
    """

    flops: float
    causal: bool = False
    rate_from: str | None = None


class SuiteTable(Generic[PlanType]):
    """A table of a suite. Subclasses override the hooks that they need.

    Attributes:
        confirms: whether it trains again what a sweep explores, on new seeds and on held-out sequences that chose nothing.
        without: what a suite without the table does, in words that follow `this suite`; empty: it has the defaults.
        at_smoke: values of its keys at smoke effort.

    Args:
        plan: the model of its values. With a default for each key, a suite need not have the table.
    """

    confirms = False
    without = ""
    at_smoke: ClassVar[Mapping[str, object]] = {}

    def __init__(self, plan: type[PlanType]) -> None:
        self.plan = plan

    def check(self, suite: Suite, source: str) -> None:
        """Check a suite that has the table, or whose metrics it plans comparisons for.

        Args:
            suite: the suite.
            source: its file, for messages.

        Raises:
            UsageError: if the suite cannot be planned as it says.
        """

    def settled(self, suite: Suite) -> Suite:
        """Return the suite with what follows from the table where the suite leaves it out."""
        return suite

    def on_grid(
        self,
        maker: MakesComparisons,  # noqa: ARG002  # for others
        variants: Sequence[ResolvedVariant],  # noqa: ARG002
        grid_point: GridPoint,  # noqa: ARG002
        keys: tuple[str, ...],
    ) -> tuple[tuple[str, ...], Sequence[Comparison]]:
        """Return which metrics all variants are measured on at a grid point, and comparisons for the others.

        Args:
            maker: makes comparisons.
            variants: the variants, the baseline first.
            grid_point: the grid point.
            keys: the metrics that are to be measured there.
        """
        return keys, ()

    def selected(self, suite: Suite, comparisons: Sequence[Comparison], select: str | None) -> Sequence[Comparison]:  # noqa: ARG002
        """Return the comparisons of a plan as they are measured, after cases were selected.

        Args:
            suite: the suite.
            comparisons: the comparisons.
            select: the `-k` expression that chose their cases.

        Raises:
            UsageError: if nothing is left to do.
        """
        return comparisons

    def times_first(self, suite: Suite, comparison: Comparison) -> bool:  # noqa: ARG002  # for others
        """Whether a partial comparison is one that is timed before others of its variant."""
        return True

    def complete(self, data: dict[str, Any], key: str) -> None:
        """Change the data of a suite after `--set` changed a key, such as `train.steps`.

        Raises:
            UsageError: if the key may not be set in a suite with the table.
        """

    def sizes(self, suite: Suite) -> Sizes | None:  # noqa: ARG002  # for others
        """Return the shapes in which every variant is measured; None: that of the suite."""
        return None

    def on_corpus(
        self,
        maker: MakesComparisons,  # noqa: ARG002  # for others
        by_size: Sequence[Sequence[ResolvedVariant]],  # noqa: ARG002
        grid_points: Sequence[GridPoint],  # noqa: ARG002
        keys: tuple[str, ...],  # noqa: ARG002
    ) -> Iterable[Comparison] | None:
        """Return the comparisons that train on a corpus; None: one at each grid point, of all variants.

        Args:
            maker: makes comparisons.
            by_size: the variants in each size, the baseline first.
            grid_points: where they are trained.
            keys: the metrics.
        """
        return None

    def budget(self, suite: Suite, case: Case) -> Budget | None:  # noqa: ARG002  # for others
        """Return what a training run of a case spends; None: what `[train]` says."""
        return None

    def check_jobs(self, suite: Suite, jobs: Sequence[Job], text: Text | None) -> None:
        """Check the jobs of a plan, of which `-k` may have left some out.

        Args:
            suite: the suite.
            jobs: the jobs.
            text: the corpus as read, if the suite trains.

        Raises:
            UsageError: if one is lacking, or cannot be run as planned.
        """

    def planned(self, maker: MakesComparisons, keys: Sequence[str]) -> Iterable[Comparison]:  # noqa: ARG002  # for others
        """Return the comparisons for metrics that name the table in `Metric.planned_by`.

        Args:
            maker: makes comparisons.
            keys: the metrics.
        """
        return ()

    def forecast(self, suite: Suite, comparisons: Sequence[Comparison]) -> Mapping[str, Any]:  # noqa: ARG002  # for others
        """Return what `plan --json` has of the comparisons of a plan, by key."""
        return {}

    def forecast_in_words(self, forecast: Mapping[str, Any]) -> Iterator[str]:  # noqa: ARG002  # for others
        """Return what `plan` says of them, and `run` before anything runs, from the whole forecast."""
        yield from ()

    def over_seeds(
        self,
        metric: AnyMetric,  # noqa: ARG002  # for others
        suite: Suite,  # noqa: ARG002
        sets: Sequence[tuple[int, ...]],  # noqa: ARG002
        outcomes: Mapping[str, Mapping[int, Outcome]],  # noqa: ARG002
    ) -> OverSeeds:
        """Return how values of a metric are judged whose comparisons the table plans.

        Args:
            metric: the metric.
            suite: the suite.
            sets: its seeds; where runs are pooled, those of each, in the order in which they were trained.
            outcomes: by case and seed, of the cases that are compared there and lack none.
        """
        from modbench.harness.stats.over_seeds import OverSeeds  # which loads scipy

        return OverSeeds()


def confirms(suite: Suite) -> bool:
    """Whether a table of a suite trains again what a sweep explores."""
    return any(table.confirms for table in in_use(suite))


def sizes_of(suite: Suite) -> Sizes | None:
    """The shapes in which a table of a suite has every variant measured; None: that of the suite."""
    return next((sizes for table in in_use(suite) if (sizes := table.sizes(suite)) is not None), None)


def in_use(suite: Suite) -> list[SuiteTable[Any]]:
    """The tables of plug-ins that a suite has, and those that plan comparisons for its metrics."""
    return [catalogue.load("suite_tables", name) for name in named_in(suite.tables, suite.metrics)]


def named_in(data: Iterable[str], metrics: object) -> list[str]:
    """Names of the tables of plug-ins among the keys of a suite, and of those that plan comparisons for its metrics.

    Args:
        data: the keys.
        metrics: the metrics, whose type nobody has checked yet.
    """
    tables, asked = catalogue.entries("suite_tables"), metrics if isinstance(metrics, list | tuple) else ()
    planners = [each.planned_by for key, each in catalogue.metrics().items() if key in asked]
    return [name for name in dict.fromkeys((*data, *planners)) if name in tables]


def plans() -> dict[str, type[Frozen]]:
    """The models of all tables, by name."""
    of_plugins = (catalogue.load("suite_tables", name).plan for name in catalogue.entries("suite_tables"))
    return TABLES | {plan.table: plan for plan in of_plugins}


def table_named(name: str) -> SuiteTable[Any] | None:
    """The table of a plug-in; None if the name is that of no such table.

    Raises:
        UsageError: if the plug-in that has it cannot be used.
    """
    if name in catalogue.entries("suite_tables"):
        found: SuiteTable[Any] = catalogue.load("suite_tables", name)
        return found
    lacking = next((each for each in plugin_manifests.every() if name in each.adds.get("suite_tables", {})), None)
    if lacking is not None:
        raise UsageError(f"[{name}] {plugin_manifests.lack_of(lacking.name)}.")
    return None


def checked(data: Mapping[str, Any]) -> dict[str, Any]:
    """A suite's data with the tables of plug-ins checked and complete, without those that are None.

    Raises:
        UsageError: if there is no such table or key, or a value is wrong.
    """
    made = dict(data)
    for name in data.keys() - Suite.model_fields.keys():
        table = table_named(name)
        if table is None:
            known = [*Suite.model_fields, *catalogue.entries("suite_tables")]
            raise UsageError(f"{unknown('key', name, known)}{plugin_manifests.perhaps_in()}")
        given = made.pop(name)
        if given is None:
            continue
        for key in given if isinstance(given, Mapping) else ():
            if key not in table.plan.model_fields:
                raise UsageError(f"[{name}]: {unknown('key', key, table.plan.model_fields)}")
        try:
            made[name] = table.plan.model_validate(given).model_dump(mode="json")
        except ValidationError as error:
            raise UsageError(in_words(error, inside=name)) from error
    return made
