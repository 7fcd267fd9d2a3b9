"""What a confirmation found: which cases a sweep chose, how many fresh seeds they got, and how they compare at each look.

Until it has ended nothing is written: all of it follows from the records (`follow`), so that a run that was killed goes on as it
would have. `confirm/<name>.json` then says what was found; fresh runs that it did not ask for are neither run nor missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.confirm_plan import Role
from modbench.harness.core.files import write_atomically
from modbench.harness.core.frozen import Frozen
from modbench.harness.planning.check_confirm import CAUSAL, CONFIRMED
from modbench.harness.planning.confirming import Confirmation
from modbench.harness.results import layout
from modbench.harness.results.choosing import Choice, choose
from modbench.harness.results.records import Record
from modbench.harness.stats import sequential
from modbench.harness.stats.seeds_needed import seeds_to_decide

FOLDER = "confirm"
AGAIN = "Remove it: `modbench resume` compares again from the records"


class Found(NamedTuple):
    """The loss that a run left, in nats per token; None with the reason why there is none."""

    loss: float | None
    reason: str = ""


class Chosen(Frozen):
    """What fills a role.

    Attributes:
        role: the role.
        variant: the variant.
        case: the case: its best size.
        predicted: loss that the sweep's fit predicts there, in nats per token, on the windows that chose it.
        seeds: fresh seeds that were asked for.
    """

    role: Role
    variant: str
    case: str
    predicted: float
    seeds: tuple[int, ...]


class Look(Frozen):
    """The best against another at one look. Below 0 the best has the lower loss.

    Attributes:
        seeds: seeds of each arm that left a loss, the best's first.
        value: difference of the mean losses, in nats per token.
        low: lower end of its interval; all looks' intervals together hold the true difference with 95 %.
        high: upper end.
        verdict: `better`, `worse`, `equivalent` or `undecided`.
    """

    seeds: tuple[int, int]
    value: float
    low: float | None
    high: float | None
    verdict: sequential.Verdict


class Compared(Frozen):
    """The best against one other, as far as it was looked at.

    Attributes:
        role: what the best was compared with.
        looks: in order; the last one counts.
        more: fresh seeds of each arm with which a new confirmation would decide it; None where it is decided or cannot be told.
        reason: why there is no look, or no interval.
    """

    role: Role
    looks: tuple[Look, ...] = ()
    more: int | None = None
    reason: str | None = None

    @property
    def decided(self) -> bool:
        """Whether the last look decided."""
        return bool(self.looks) and self.looks[-1].verdict != "undecided"


class Confirmed(Frozen):
    """A confirmation that has ended.

    Attributes:
        name: what was confirmed.
        margin: difference that was to be told from none, in nats per token.
        wanted: seeds of each arm that the spread asks for; None: more than 2,000, or nothing was chosen.
        planned: seeds of each arm at the last look: those, or the most that the suite allows.
        spread: deviation between the sweep's runs of one arm with different seeds, in nats per token.
        freedom: its degrees of freedom.
        lacking: variants that could not be chosen, since no run of theirs left a loss.
        chosen: what was trained again.
        compared: the comparisons.
        reason: why nothing was confirmed.
    """

    name: str
    margin: float | None = None
    wanted: int | None = None
    planned: int = 0
    spread: float | None = None
    freedom: float | None = None
    lacking: tuple[str, ...] = ()
    chosen: tuple[Chosen, ...] = ()
    compared: tuple[Compared, ...] = ()
    reason: str | None = None


@dataclass
class Followed:
    """A confirmation as far as its records lead.

    Attributes:
        turns: names of the fresh runs that were asked for, and the look that asked for each.
        confirmed: what was found; None until it has ended.
    """

    turns: dict[str, int] = field(default_factory=dict)
    confirmed: Confirmed | None = None


def follow(made: Confirmation, found: Callable[[UnitOfWork], Found | None]) -> Followed:
    """Apply the rule from the start, as far as runs have ended.

    Args:
        made: what is confirmed.
        found: the loss of a run; None if it has not ended.
    """
    followed, explored = Followed(), {unit.name: found(unit) for unit in made.explored}
    losses = {name: each.loss for name, each in explored.items() if each is not None}
    if len(losses) < len(explored):
        return followed
    choice = choose(made, losses)
    if isinstance(choice, str):
        followed.confirmed = Confirmed(name=made.name, reason=choice)
        return followed
    return _looked(made, choice, found, followed)


def _looked(
    made: Confirmation, choice: Choice, found: Callable[[UnitOfWork], Found | None], followed: Followed
) -> Followed:
    """Look after each number of seeds. An arm gets no more once its comparison is decided; the best gets more until all are."""
    fractions = sequential.fractions_of(choice.numbers)
    compared = {role: Compared(role=role) for role in made.plan.rivals}
    losses: dict[Role, dict[int, Found]] = {}
    for number, until in enumerate(choice.numbers, 1):
        undecided = [role for role, each in compared.items() if not each.decided]
        for role in ("best", *undecided) if undecided else ():
            runs = list(made.fresh[choice.cases[role].id].items())[:until]
            for _, unit in runs:
                followed.turns.setdefault(unit.name, number)
            ended = {seed: each for seed, unit in runs if (each := found(unit)) is not None}
            losses[role] = ended if len(ended) == len(runs) else {}
        if not all(losses[role] for role in ("best", *undecided)):  # some have not ended
            return followed
        for role in undecided:
            compared[role] = _after(compared[role], losses["best"], losses[role], number, fractions, choice.margin)
    followed.confirmed = _confirmed(made, choice, compared, losses)
    return followed


def _after(
    compared: Compared,
    best: dict[int, Found],
    other: dict[int, Found],
    number: int,
    fractions: tuple[float, ...],
    margin: float,
) -> Compared:
    """The comparison after one more look."""
    mine, theirs = ([each.loss for each in side.values() if each.loss is not None] for side in (best, other))
    lost = [each.reason for side in (best, other) for each in side.values() if each.loss is None]
    reason = f"{len(lost)} of {len(best) + len(other)} fresh runs left no loss: {lost[0]}" if lost else None
    if not mine or not theirs:
        return compared.model_copy(update={"reason": reason})
    looked = sequential.look(mine, theirs, number, fractions, margin, paired=False)
    look = Look(seeds=looked.seeds, value=looked.difference, low=looked.low, high=looked.high, verdict=looked.verdict)
    return compared.model_copy(update={"looks": (*compared.looks, look), "reason": looked.reason or reason})


def _confirmed(
    made: Confirmation, choice: Choice, compared: dict[Role, Compared], losses: dict[Role, dict[int, Found]]
) -> Confirmed:
    def more(each: Compared) -> int | None:
        if each.decided or not each.looks:
            return None
        mine, theirs = (
            [found.loss for found in losses[role].values() if found.loss is not None] for role in ("best", each.role)
        )
        if min(len(mine), len(theirs)) < sequential.FEWEST:
            return None
        apart = float(np.mean(mine) - np.mean(theirs))
        one, other = (float(np.std(side, ddof=1)) for side in (mine, theirs))
        return seeds_to_decide(apart, one, other, choice.margin, made.plan.power, made.plan.looks)

    return Confirmed(
        name=made.name,
        margin=choice.margin,
        wanted=choice.wanted,
        planned=choice.numbers[-1],
        lacking=choice.lacking,
        spread=choice.spread.sd,
        freedom=choice.spread.freedom,
        chosen=tuple(
            Chosen(
                role=role,
                variant=case.variant,
                case=case.id,
                predicted=choice.predicted[role],
                seeds=tuple(losses.get(role, ())),
            )
            for role, case in choice.cases.items()
        ),
        compared=tuple(each.model_copy(update={"more": more(each)}) for each in compared.values()),
    )


def found_in(record: Record) -> Found:
    """The loss in the record of a run: of an exploring one that by which it is judged, of a fresh one the confirmed."""
    for key in (CONFIRMED, CAUSAL):
        for outcome in record.outcomes:
            if outcome.metric == key:
                loss = outcome.samples["value"][0] if outcome.status == "ok" else None
                return Found(loss, outcome.reason or "")
    return Found(None, "it left no loss")


def file_of(run: Path, name: str) -> Path:
    """The file of a confirmation."""
    return layout.file_of(run, FOLDER, name, ".json")


def write(run: Path, ended: Confirmed) -> None:
    """Write what a confirmation found, once."""
    file = file_of(run, ended.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, ended.model_dump_json(indent=1))


def forget(run: Path, name: str) -> None:
    """Remove what a confirmation found, since some of its runs are made again."""
    file_of(run, name).unlink(missing_ok=True)


def alike(one: Confirmed, other: Confirmed) -> bool:
    """Whether two say the same, to the digits that a difference may lose on its way through a file."""

    def numbers(each: Confirmed) -> list[float]:
        looks = [look for compared in each.compared for look in compared.looks]
        found = [value for look in looks for value in (look.value, look.low, look.high) if value is not None]
        return found if each.margin is None else [each.margin, *found]

    def said(each: Confirmed) -> object:
        compared = [
            (both.role, both.more is None, both.reason is None, [(look.seeds, look.verdict) for look in both.looks])
            for both in each.compared
        ]
        return each.reason is None, [(chosen.role, chosen.case, chosen.seeds) for chosen in each.chosen], compared

    mine, theirs = numbers(one), numbers(other)
    return (
        said(one) == said(other)
        and len(mine) == len(theirs)
        and all(math.isclose(a, b, rel_tol=0, abs_tol=1e-6) for a, b in zip(mine, theirs, strict=True))
    )
