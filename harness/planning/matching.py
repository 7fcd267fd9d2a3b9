"""What arms cost where they are matched: by closed forms, as counted elsewhere, or as this machine's peaks predict."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.errors import UsageError
from modbench.harness.domain.arm_tables import Quantity
from modbench.harness.domain.case import Case, Place
from modbench.harness.domain.user_model_cost import UserModelCost
from modbench.harness.flops.closed_form import case_cost
from modbench.harness.planning.arms import ResolvedArm
from modbench.harness.planning.dense_ladder import QUANTITIES, Amounts, solve


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
    """Solves shapes of equal cost.

    Attributes:
        place: where arms of modbench's own are matched: at the training length, of several the longest, batch size 1.
        lengths: all sequence lengths.
        places: where arms are measured or trained.
        longest: where arms of the user's are matched.
        each_length: whether arms are matched at every length, each with the shape that costs the same there.
        batch_size: of predicted times.
        costs: what is known besides closed forms; None: nothing.
    """

    place: Place
    lengths: tuple[int, ...]
    places: tuple[Place, ...]
    longest: int
    each_length: bool
    batch_size: int
    costs: Costs | None

    def prepare(self, wanted: Iterable[tuple[ResolvedArm, Quantity]]) -> None:
        """Count what users' models cost, in one go: at all lengths or, for a forecast, all places; for times where they match."""
        counted, timed = [], []
        places = self.places if self.costs is not None and self.costs.memory else ()
        for target, quantity in wanted:
            if target.is_user_model and QUANTITIES[quantity].of is None:
                timed.append(self._timed(self._case(target, self.longest)))
            elif target.is_user_model:
                counted += [case for length in self.lengths if case_cost(case := self._case(target, length)) is None]
            counted += [case_of(target, place) for place in places if target.is_user_model]
        if self.costs is not None:
            self.costs.counted(counted)
            self.costs.counted(timed, operators=True)

    def solved(
        self, base: ResolvedArm, target: ResolvedArm, quantity: Quantity, factor: float
    ) -> dict[int, ModelConfig]:
        """By length, shortest first, the shape near `base` that costs as much as the target, or `factor` times.

        Raises:
            UsageError: if there is none, or the target's cost is not known.
        """
        return {length: self._solved(base, target, quantity, factor, length) for length in self._at(target, quantity)}

    def _solved(
        self, base: ResolvedArm, target: ResolvedArm, quantity: Quantity, factor: float, length: int
    ) -> ModelConfig:
        def amount(config: ModelConfig) -> float:
            return self._amount(self._case(base, length).model_copy(update={"config": config}), quantity)

        return solve(base.config, amount, factor * self._amount(self._case(target, length), quantity), quantity)

    def read(self, arms: Sequence[ResolvedArm]) -> Sequence[Collection[str] | None]:
        """The keys of its configuration that each of some users' models reads; None where nobody can tell."""
        if self.costs is None or not arms:
            return [None] * len(arms)
        found = self.costs.counted([self._case(arm, self.longest) for arm in arms])
        return [None if isinstance(each, str) else each.read for each in found]

    def ratios(self, arm: ResolvedArm, other: ResolvedArm, target: ResolvedArm, quantity: Quantity) -> list[float]:
        """Cost of an arm over that of another, at each length where `target` is matched."""
        return [self._ratio(arm, other, quantity, length) for length in self._at(target, quantity)]

    def _ratio(self, arm: ResolvedArm, other: ResolvedArm, quantity: Quantity, length: int) -> float:
        mine, theirs = (self._amount(self._case(each, length), quantity) for each in (arm, other))
        return mine / theirs

    def solved_at(self, target: ResolvedArm) -> int:
        """The sequence length at which an arm is matched, of several the longest."""
        return self.longest if target.is_user_model else self.place.seq_len

    def _at(self, target: ResolvedArm, quantity: Quantity) -> tuple[int, ...]:
        """The lengths at which an arm is matched; times are predicted at one."""
        return self.lengths if self.each_length and QUANTITIES[quantity].of else (self.solved_at(target),)

    def gaps(self, arm: ResolvedArm, target: ResolvedArm, quantity: Quantity) -> dict[int, float]:
        """By length, the relative gap of an arm to its target; of predicted times only where they were matched."""
        lengths = self.lengths if QUANTITIES[quantity].of else (self.solved_at(target),)
        return {length: self._ratio(arm, target, quantity, length) - 1 for length in lengths}

    def _case(self, arm: ResolvedArm, seq_len: int) -> Case:
        return case_of(arm, self.place.model_copy(update={"seq_len": seq_len}))

    def _timed(self, case: Case) -> Case:
        """The case at the batch size that is timed."""
        return case.model_copy(update={"place": case.place.model_copy(update={"batch_size": self.batch_size})})

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


def placeless(arm: ResolvedArm) -> Case:
    """The case of an arm somewhere, for its name."""
    return case_of(arm, Place(seq_len=1, batch_size=1, dtype="fp32", device="cpu", threads=1, compile=False))


def case_of(arm: ResolvedArm, place: Place) -> Case:
    """The case of an arm at a place."""
    return Case(
        model=arm.model,
        arm_parts=arm.parts,
        config=arm.config_at(place.seq_len),
        place=place,
        rung=arm.rung,
        options=arm.options,
        by_name=arm.by_name,
        tokenizer=arm.tokens_of if arm.rung else "",
    )
