"""Expands a suite into comparisons: the grid, training runs, what tables of plug-ins plan."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.group_by import grouped
from modbench.harness.core.model_specs import Pairs
from modbench.harness.domain.case import Case, CaseFacts, Comparison, Condition, Device, GridPoint, MatchedBaseline
from modbench.harness.domain.suite import Suite
from modbench.harness.planning import suite_tables
from modbench.harness.planning.matching import Costs, Matcher, case_of, placeless
from modbench.harness.planning.suite_tables import Sizes, SuiteTable
from modbench.harness.planning.variants import ResolvedVariant, resolve_variants
from modbench.harness.registry import catalogue
from modbench.harness.registry.case_facts import with_facts

# Abbreviations of a size's keys in ids.
SHORT = {"d_model": "d", "n_layers": "L", "n_heads": "H"}


def is_timed(key: str) -> bool:
    """Whether a metric is a time of calls, or derived from one, that every process measures again."""
    made_in = catalogue.pass_of(catalogue.metrics()[key])
    return made_in.times and made_in.repeated


@dataclass(frozen=True)
class Keys:
    """The metrics of a suite by what they are measured on: the grid, a corpus, what a table plans."""

    measured: tuple[str, ...]
    trained: tuple[str, ...]
    planned: dict[str, list[str]]


def keys_of(suite: Suite) -> Keys:
    """Sort the suite's metrics by what they are measured on."""
    known = catalogue.metrics()
    planned = grouped((table, key) for key in suite.metrics if (table := known[key].planned_by))
    others = [key for key in suite.metrics if not known[key].planned_by]
    of_training = [key for key in others if catalogue.pass_of(known[key]).trains]
    return Keys(tuple(key for key in others if key not in of_training), tuple(of_training), planned)


def sized(variants: Sequence[ResolvedVariant], shape: Mapping[str, Any]) -> list[ResolvedVariant]:
    """The variants in one of several sizes, which becomes part of their names; as they are in the suite's own shape."""
    if not shape:
        return [*variants]
    size = "-".join(f"{SHORT.get(key, key)}{value}" for key, value in shape.items())
    named = {
        variant: replace(
            variant, parts=(*variant.parts, size), sized=True, title=f"{variant.title} {size}" if variant.title else ""
        )
        for variant in variants
    }
    return [replace(new, targets=tuple(named.get(each, each) for each in new.targets)) for new in named.values()]


@dataclass(frozen=True)
class Expander:
    """Makes the comparisons of a suite on a device."""

    suite: Suite
    device: Device
    costs: Costs | None = None
    _tables: list[SuiteTable[Any]] = field(init=False, repr=False)
    # By model, options and configuration: a variant has the same at every place.
    _facts: dict[tuple[str, Pairs, ModelConfig], CaseFacts] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tables", suite_tables.in_use(self.suite))

    def comparisons(self) -> tuple[list[Comparison], list[MatchedBaseline], dict[str, str]]:
        """All comparisons in order, the matched baselines, and why variants have no matched baseline, by their names.

        Raises:
            UsageError: if the suite asks for something impossible.
        """
        suite, keys = self.suite, keys_of(self.suite)
        sizes = suite_tables.sizes_of(suite) or Sizes(({},), 0)
        by_size = [sized(self.variants(shape, self._solved_at), shape) for shape in sizes.shapes]
        matched_baselines = [matched for variants in by_size for matched in self._matched_baselines(variants)]
        no_matches = {
            name_of_variant(variant): variant.no_match
            for variants in by_size
            for variant in variants
            if variant.no_match
        }
        made = []
        if keys.measured:
            # All sizes are in one comparison; the anchor is that of the middle one.
            anchor = by_size[sizes.middle][0]
            every = [anchor, *(variant for variants in by_size for variant in variants if variant is not anchor)]
            for grid_point, metrics in self._grid(keys.measured):
                apart = list[Comparison]()
                for table in self._tables:
                    metrics, more = table.on_grid(self, every, grid_point, metrics)  # noqa: PLW2901  # what is left
                    apart += more
                if metrics:
                    made.append(self.comparison(every, grid_point, metrics, aa_control=self._has_aa_control(metrics)))
                made += apart
        if keys.trained and suite.train is not None:
            made += self._trained(by_size, keys.trained)
        for name, planned in keys.planned.items():
            made += catalogue.load("suite_tables", name).planned(self, planned)
        return made, matched_baselines, no_matches

    def _has_aa_control(self, metrics: tuple[str, ...]) -> bool:
        """Whether times are measured about which something may be claimed."""
        suite, known = self.suite, catalogue.metrics()
        return suite.aa_control and suite.claims and any(catalogue.pass_of(known[key]).times for key in metrics)

    def _grid(self, measured: tuple[str, ...]) -> Iterator[tuple[GridPoint, tuple[str, ...]]]:
        """Places of the grid and what is measured there; decode metrics may have a grid of their own, requests have lengths."""
        suite, known = self.suite, catalogue.metrics()
        of_requests = [key for key in measured if known[key].workload == "request"]
        own = [key for key in measured if suite.decode_grid is not None and known[key].workload == "decode"]
        others = [key for key in measured if key not in {*own, *of_requests}]
        asked: dict[GridPoint, list[str]] = {}
        decoding = suite.decode_grid or suite.grid
        for grid, keys, sizes in (
            (suite.grid, others, [(length, 0) for length in suite.grid.seq_len]),
            (decoding, own, [(length, 0) for length in decoding.seq_len]),
            (decoding, of_requests, decoding.requests(suite.decode.tokens)),
        ):
            if not keys:
                continue
            # A graph replays decode steps alone: requests beside it are served eagerly.
            ways = dict.fromkeys(
                "eager" if keys == of_requests and way == "graph" else way for way in suite.executions(grid)
            )
            axes = (ways, grid.dtype, grid.batch_size, sizes)
            for execution, dtype, batch_size, (length, new) in itertools.product(*axes):
                asked.setdefault(self._place(length, batch_size, dtype, execution, new), []).extend(keys)
        yield from ((grid_point, tuple(keys)) for grid_point, keys in asked.items())

    def grid_points(self) -> Iterator[GridPoint]:
        """Every grid point and of training on a corpus. What tables plan has places of its own."""
        yield from (grid_point for grid_point, _ in self._grid(keys_of(self.suite).measured))
        yield from self._training_places()

    @property
    def _solved_at(self) -> int:
        """Sequence length at which matched baselines are solved: the longest of training, else of the grid."""
        return max(self.suite.train.lengths if self.suite.train else self.suite.grid.seq_len)

    def variants(self, shape: Mapping[str, Any], seq_len: int) -> list[ResolvedVariant]:
        """The suite's variants in a shape."""
        suite = self.suite.model_copy(update={"shape": {**self.suite.shape, **shape}})
        return resolve_variants(suite, self._matcher(seq_len))

    def _matcher(self, seq_len: int) -> Matcher:
        """What knows the variants' costs where they are matched."""
        suite, grid, measured = self.suite, self.suite.grid, keys_of(self.suite).measured
        trained = suite.train.lengths if suite.train else ()
        decoded = suite.decode_grid.seq_len if suite.decode_grid and len(trained) > 1 else ()
        lengths = tuple(sorted({*grid.seq_len, *decoded, *trained, seq_len}))
        return Matcher(
            grid_point=self._place(seq_len, 1, grid.dtype[0], "eager"),
            lengths=lengths,
            grid_points=tuple(self.grid_points()),
            longest=max(grid.seq_len) if measured else seq_len,
            each_length=len(trained) > 1,
            batch_size=grid.batch_size[0],
            costs=self.costs,
        )

    def _matched_baselines(self, variants: Sequence[ResolvedVariant]) -> Iterator[MatchedBaseline]:
        """Which dense variant costs what another does, with its gap to it at every length."""
        matcher = self._matcher(self._solved_at)
        for variant in variants:
            if variant.factor != 1:  # a multiple is no alternative to the variant: it only extends the dense curve
                continue
            for target in variant.targets:
                yield MatchedBaseline(
                    variant=name_of_variant(variant),
                    target=name_of_variant(target),
                    solved_at=matcher.solved_at(target),
                    everywhere=bool(variant.shapes),
                    gaps=matcher.gaps(variant, target, variant.quantity),
                    quantity=variant.quantity,
                )

    def _place(self, seq_len: int, batch_size: int, dtype: str, execution: str, new_tokens: int = 0) -> GridPoint:
        return GridPoint(
            seq_len=seq_len,
            batch_size=batch_size,
            dtype=dtype,  # type: ignore[arg-type]  # Grid has checked it
            device=self.device,
            threads=self.suite.threads,
            compile=execution == "compiled",
            graph=execution == "graph",
            new_tokens=new_tokens,
        )

    def comparison(
        self,
        variants: Sequence[ResolvedVariant],
        grid_point: GridPoint,
        keys: tuple[str, ...],
        name: str = "",
        *,
        conditions: tuple[Condition, ...] = (),
        aa_control: bool = False,
        partial: bool = False,
    ) -> Comparison:
        """One comparison of variants at a grid point."""
        cases = tuple(
            case_of(variant, grid_point).model_copy(update={"conditions": conditions}) for variant in variants
        )
        facts = tuple(
            self._facts_of(case).model_copy(update={"title": variant.title})
            for case, variant in zip(cases, variants, strict=True)
        )
        return Comparison(variants=cases, metrics=keys, name=name, aa_control=aa_control, partial=partial, facts=facts)

    def _facts_of(self, case: Case) -> CaseFacts:
        key = case.model, case.options, case.config
        if key not in self._facts:
            self._facts[key] = with_facts(case).facts
        return self._facts[key]

    def _training_places(self) -> list[GridPoint]:
        """Places of training on a corpus, by length and number format."""
        train, grid = self.suite.train, self.suite.grid
        execution = self.suite.executions(grid)[0]
        sizes = train.grid_points if train else ()
        return [self._place(*each, dtype, execution) for each in sizes for dtype in grid.dtype]

    def _trained(self, by_size: list[list[ResolvedVariant]], keys: tuple[str, ...]) -> Iterable[Comparison]:
        """The comparisons that train on a corpus: as a table has them, else one per length and number format."""
        grid_points = self._training_places()
        for table in self._tables:
            made = table.on_corpus(self, by_size, grid_points, keys)
            if made is not None:
                return made
        return (self.comparison(by_size[0], grid_point, keys) for grid_point in grid_points)

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
        grid = self.suite.grid
        update = {
            "train": None,
            "metrics": keys,
            "grid": grid.model_copy(update={"seq_len": (seq_len,)}),
        }
        variants = replace(self, suite=self.suite.model_copy(update=update)).variants(shape, seq_len)
        grid_point = self._place(seq_len, batch_size, grid.dtype[0], self.suite.executions(grid)[0])
        return self.comparison(variants, grid_point, keys, name, conditions=conditions)


def name_of_variant(variant: ResolvedVariant) -> str:
    """Name of a variant, as in `Case.variant`."""
    return placeless(variant).variant
