"""What variants cost where they are matched: by closed forms, as counted elsewhere, or as this machine's peaks predict."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Case, GridPoint
from modbench.harness.domain.user_model_cost import UserModelCost
from modbench.harness.domain.variant_tables import Quantity
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.matched_baselines import QUANTITIES, Amounts, solve
from modbench.harness.planning.variants import ResolvedVariant


class Costs(Protocol):
    """What is known of costs besides closed forms. Whoever plans a run gives it, since planning runs no code of a user's.

    Attributes:
        memory: whether memory is known too, for a forecast of the plan: it asks for every place.
    """

    memory: bool

    def counted(self, cases: Sequence[Case], *, operators: bool = False) -> Sequence[UserModelCost | str]:
        """What models of the user's cost, or why that is not known; each is counted once, if asked for with its operators too."""

    def seconds(self, case: Case) -> float:
        """Seconds of a forward pass, as the stored peaks of this machine predict.

        Raises:
            UsageError: if there are no peaks, or the model's operators are not known.
        """


@dataclass(frozen=True)
class Matcher:
    """Solves shapes of matched baselines.

    Attributes:
        grid_point: where variants of modbench's own are matched: at the training length, of several the longest, batch size 1.
        lengths: all sequence lengths.
        grid_points: where variants are measured or trained.
        longest: where variants of the user's are matched.
        each_length: whether variants are matched at every length, each with the shape that costs the same there.
        batch_size: of predicted times.
        costs: what is known besides closed forms; None: nothing.
    """

    grid_point: GridPoint
    lengths: tuple[int, ...]
    grid_points: tuple[GridPoint, ...]
    longest: int
    each_length: bool
    batch_size: int
    costs: Costs | None

    def prepare(self, wanted: Iterable[tuple[ResolvedVariant, Quantity]]) -> None:
        """Count what users' models cost, in one go: at all lengths or, for a forecast, all places; for times where they match."""
        counted, timed = [], []
        grid_points = self.grid_points if self.costs is not None and self.costs.memory else ()
        for target, quantity in wanted:
            if target.is_user_model and QUANTITIES[quantity].of is None:
                timed.append(self._timed(self._case(target, self.longest)))
            elif target.is_user_model:
                counted += [case for length in self.lengths if case_cost(case := self._case(target, length)) is None]
            counted += [case_of(target, grid_point) for grid_point in grid_points if target.is_user_model]
        if self.costs is not None:
            self.costs.counted(counted)
            self.costs.counted(timed, operators=True)

    def solved(
        self, base: ResolvedVariant, target: ResolvedVariant, quantity: Quantity, factor: float
    ) -> dict[int, ModelConfig]:
        """By length, shortest first, the shape near `base` that costs as much as the target, or `factor` times.

        Raises:
            UsageError: if there is none, or the target's cost is not known.
        """
        return {length: self._solved(base, target, quantity, factor, length) for length in self._at(target, quantity)}

    def _solved(
        self, base: ResolvedVariant, target: ResolvedVariant, quantity: Quantity, factor: float, length: int
    ) -> ModelConfig:
        def amount(config: ModelConfig) -> float:
            return self._amount(self._case(base, length).model_copy(update={"config": config}), quantity)

        return solve(base.config, amount, factor * self._amount(self._case(target, length), quantity), quantity)

    def read(self, variants: Sequence[ResolvedVariant]) -> Sequence[Collection[str] | None]:
        """The keys of its configuration that each of some users' models reads; None where nobody can tell."""
        if self.costs is None or not variants:
            return [None] * len(variants)
        found = self.costs.counted([self._case(variant, self.longest) for variant in variants])
        return [None if isinstance(each, str) else each.read for each in found]

    def ratios(
        self, variant: ResolvedVariant, other: ResolvedVariant, target: ResolvedVariant, quantity: Quantity
    ) -> list[float]:
        """Cost of a variant over that of another, at each length where `target` is matched."""
        return [self._ratio(variant, other, quantity, length) for length in self._at(target, quantity)]

    def _ratio(self, variant: ResolvedVariant, other: ResolvedVariant, quantity: Quantity, length: int) -> float:
        mine, theirs = (self._amount(self._case(each, length), quantity) for each in (variant, other))
        return mine / theirs

    def solved_at(self, target: ResolvedVariant) -> int:
        """The sequence length at which a variant is matched, of several the longest."""
        return self.longest if target.is_user_model else self.grid_point.seq_len

    def _at(self, target: ResolvedVariant, quantity: Quantity) -> tuple[int, ...]:
        """The lengths at which a variant is matched; times are predicted at one."""
        return self.lengths if self.each_length and QUANTITIES[quantity].of else (self.solved_at(target),)

    def gaps(self, variant: ResolvedVariant, target: ResolvedVariant, quantity: Quantity) -> dict[int, float]:
        """By length, the relative gap of a variant to its target; of predicted times only where they were matched."""
        lengths = self.lengths if QUANTITIES[quantity].of else (self.solved_at(target),)
        return {length: self._ratio(variant, target, quantity, length) - 1 for length in lengths}

    def _case(self, variant: ResolvedVariant, seq_len: int) -> Case:
        return case_of(variant, self.grid_point.model_copy(update={"seq_len": seq_len}))

    def _timed(self, case: Case) -> Case:
        """The case at the batch size that is timed."""
        return case.model_copy(
            update={"grid_point": case.grid_point.model_copy(update={"batch_size": self.batch_size})}
        )

    def _amount(self, case: Case, quantity: Quantity) -> float:
        read = QUANTITIES[quantity].of
        if read is not None:
            return read(case_cost(case) or self._counted(case, quantity))
        if self.costs is None:
            raise UsageError("its time cannot be predicted here.")
        return self.costs.seconds(self._timed(case))

    def _counted(self, case: Case, quantity: Quantity) -> Amounts:
        found = self.costs.counted([case])[0] if self.costs else "has no closed form, and nothing counted it"
        if isinstance(found, str):
            raise UsageError(f"it {found}.")
        if found.unknown and quantity != "params":
            named = ", ".join(found.unknown)
            raise UsageError(f"no FLOPs of {named} are known, and so no model of equal FLOPs.")
        return found


def placeless(variant: ResolvedVariant) -> Case:
    """The case of a variant somewhere, for its name."""
    return case_of(variant, GridPoint(seq_len=1, batch_size=1, dtype="fp32", device="cpu", threads=1, compile=False))


def case_of(variant: ResolvedVariant, grid_point: GridPoint) -> Case:
    """The case of a variant at a place."""
    return Case(
        model=variant.model,
        variant_parts=variant.parts,
        sized=variant.sized,
        config=variant.config_at(grid_point.seq_len),
        grid_point=grid_point,
        matched=variant.matched,
        options=variant.options,
        by_name=variant.by_name,
        tokenizer=variant.tokens_of if variant.matched else "",
    )
