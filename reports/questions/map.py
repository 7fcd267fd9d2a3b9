"""Which capacity at which length? Time, FLOPs, memory and loss of every capacity at every length, over two dense models.

Each cell is compared with the dense model of the same shape, and with the smaller dense model of equal cost, which is the
alternative to skipping. There is a map where losses were planned at two lengths or more, for two capacities or more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import pandas as pd

from modbench.harness.core.grouped import grouped
from modbench.harness.core.train_plan import ConfirmPlan
from modbench.harness.domain.case import Case
from modbench.harness.stats import effects
from modbench.harness.stats.contrast import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE
from modbench.reports.model import Estimate, Finding, Listed, Sentence, Table, Value
from modbench.reports.panel import InPlace
from modbench.reports.questions.first_screen import described
from modbench.reports.tables import losses
from modbench.reports.tables.axes import in_words
from modbench.reports.tables.cell import columns_of, listed_reasons
from modbench.reports.tables.findings import by_length
from modbench.reports.tables.load import Loaded, rung_beside
from modbench.reports.tables.losses import Loss
from modbench.reports.wording import DECIDED, EXACT, WORKLOADS, name, short
from modbench.reports.writers.data import frame

# Of a loss, as a share of dense's: where the interval lies within it, neither model is taken for its loss.
LOSS_MARGIN = ConfirmPlan().margin
NOT_MEASURED = "not measured at this length"
NO_RUNG = "no dense model of equal cost is in this run"
# What a cell says of an arm beside the dense model of equal cost, by the first time and the loss.
Standing: TypeAlias = Literal["pays", "dense", "either", "equal", "open"]
MEMORY = "memory/peak_allocated"
# What better and worse are called, where it is neither a time nor a loss.
_SIDES = {MEMORY: ("smaller", "larger")}


@dataclass(frozen=True)
class Quantity:
    """One of the maps: its title and metric, and how losses are shown; None for everything else."""

    title: str
    metric: str
    loss: Loss | None = None


@dataclass(frozen=True)
class Map:
    """Capacities × lengths.

    Attributes:
        loaded: the run.
        arms: its rows: the arms that have a capacity, in the order of the plan.
        lengths: its columns: the lengths at which something was planned.
        times: the times that were asked for, the first of which decides; may be empty.
        counts: what was counted or allocated.
        loss: the loss, routed causally where that was measured.
    """

    loaded: Loaded
    arms: Sequence[Case]
    lengths: Sequence[int]
    times: Sequence[Quantity]
    counts: Sequence[Quantity]
    loss: Quantity
    _found: dict[tuple[str, str, str], dict[int, Finding]] = field(default_factory=dict)

    @property
    def base(self) -> Case:
        """The dense model of the same shape, or the report's other baseline."""
        return self.loaded.baseline

    @property
    def quantities(self) -> list[Quantity]:
        """All maps in their order."""
        return [*self.times, *self.counts, self.loss]

    @property
    def deciding(self) -> list[Quantity]:
        """The quantities by which an arm is taken or not: the first time, and the loss."""
        return [*self.times[:1], self.loss]

    def other(self, case: Case, *, equal_cost: bool) -> Case | None:
        """Return what an arm is compared with; None where it has no dense model of equal cost."""
        if not equal_cost:
            return self.base
        rung = rung_beside(self.loaded, case)
        return rung.case if rung else None

    @property
    def ladder(self) -> bool:
        """Whether an arm has a dense model of equal cost beside it."""
        return bool(self.compared(equal_cost=True))

    def compared(self, *, equal_cost: bool) -> list[Case]:
        """Return the arms that have something to be compared with."""
        return [case for case in self.arms if self.other(case, equal_cost=equal_cost) is not None]

    def cell(self, case: Case, length: int, quantity: Quantity, *, equal_cost: bool) -> Finding:
        """Return what is found of an arm at a length, or why there is nothing; a loss in the unit in which losses are shown."""
        other = self.other(case, equal_cost=equal_cost)
        if other is None:
            return Finding(case, None, case.place, quantity.metric, status="skipped", reason=NO_RUNG)
        key = quantity.metric, case.arm, other.arm
        if key not in self._found:
            self._found[key] = by_length(self.loaded, quantity.metric, case, other)
        found = self._found[key].get(length)
        if found is None:
            return Finding(case, other, case.place, quantity.metric, status="skipped", reason=NOT_MEASURED)
        if quantity.loss is None:
            return found
        return replace(found, typical=found.typical.scaled(quantity.loss.factor, quantity.loss.base))

    def row(self, case: Case, quantity: Quantity, *, equal_cost: bool) -> list[Finding]:
        """Return what is found of an arm at every length, without its own value."""
        return [self.cell(case, length, quantity, equal_cost=equal_cost).beside() for length in self.lengths]

    def share(self, found: Finding, end: float | None) -> float | None:
        """Return a difference of losses, or an end of it, as a share of the loss of what the arm is compared with."""
        assert isinstance(found.against, Case)
        assert self.loss.loss is not None
        theirs = self.loaded.value(found.against.arm, found.metric, found.place.seq_len)
        return None if theirs is None or end is None else end / (theirs * self.loss.loss.factor)

    def standing(self, case: Case, length: int) -> Standing:
        """Return whether an arm is to be taken in place of the dense model of equal cost.

        `pays`: it is better in one of time and loss, and better or equal in the other; `dense`: the dense model is;
        `either`: each is better in one of the two.
        """
        words = {self.word(self.cell(case, length, each, equal_cost=True)) for each in self.deciding}
        if words == {BETTER, WORSE}:
            return "either"
        if words <= {BETTER, EQUIVALENT}:
            return "pays" if BETTER in words else "equal"
        return "dense" if words <= {WORSE, EQUIVALENT} else "open"

    def needed(self, found: Finding) -> int | None:
        """Return how many seeds would tell a loss from that of the dense model, where it is open."""
        return found.needed if self.word(found) == INCONCLUSIVE else None

    def word(self, found: Finding) -> str | None:
        """Return a verdict; a loss whose interval lies within `LOSS_MARGIN` is equivalent."""
        ends = found.typical.ends
        if found.metric == self.loss.metric and found.verdict is not None and ends is not None:
            shares = [self.share(found, end) for end in ends]
            if all(each is not None and abs(each) <= LOSS_MARGIN for each in shares):
                return EQUIVALENT
        return found.verdict


def of(loaded: Loaded) -> Map | None:
    """Return the map of a run; None where it has fewer than two capacities, or losses at fewer than two lengths."""
    arms = losses.along_capacity(loaded)
    if not arms:
        return None
    asked, loss = loaded.suite.metrics, losses.comparable(loaded)
    return Map(
        loaded,
        arms,
        sorted({*loaded.lengths, *losses.lengths(loaded)}),
        [Quantity(title.removesuffix(" pass"), metric) for metric, title in WORKLOADS.items() if metric in asked],
        [Quantity(title, metric) for metric, title in EXACT.items() if metric in asked],
        Quantity(f"loss, {loss.unit}", loss.metric, loss),
    )


# --- the answer


def answer(loaded: Loaded) -> Iterator[Value]:
    """Yield what is found over dense of equal cost, and which capacity pays there at which length; then over the same shape."""
    made = of(loaded)
    if made is None:
        return
    claims = loaded.suite.claims
    if made.ladder and claims and (said := _at_equal_cost(made)) is not None:
        yield said
    found = [each for each in (_span(made, quantity) for quantity in made.deciding) if each is not None]
    if found:
        words = "Against {base}: {found}" + ", without a verdict" * (not claims) + "."
        yield Sentence(words, base=described(made.base), found=Listed(found))


def _at_equal_cost(made: Map) -> Sentence | None:
    """Say in how many cells arms are better and worse than dense of equal cost, and at which lengths which pay over it.

    What chance gives is named where times or losses do not agree in all cells. None where neither has a verdict.
    """
    arms, memory = made.compared(equal_cost=True), [each for each in made.counts if each.metric == MEMORY]
    words = {each.metric: _verdicts(made, each) for each in (*made.deciding, *memory)}
    said, of_memory = (
        [_counted_cells(each, words[each.metric]) for each in quantities if words[each.metric]]
        for quantities in (made.deciding, memory)
    )
    if not said:
        return None
    unlike = any(len(set(words[each.metric])) > 1 for each in made.deciding)
    by_arms = grouped(
        (those, length)
        for length in made.lengths
        if (those := tuple(short(case) for case in arms if made.standing(case, length) == "pays"))
    )
    pays = [
        Sentence("at T = {lengths} ({arms})", lengths=Listed(lengths, last=" and "), arms=Listed(those))
        for those, lengths in by_arms.items()
    ]
    return Sentence(
        "Of {all} cells against equal-cost dense: {said}"
        + " (chance gives up to {chance})" * unlike
        + ", {memory}" * bool(of_memory)
        + "; skipping pays {where}.",
        all=len(arms) * len(made.lengths),
        said=Listed(said),
        chance=effects.by_chance(len(made.lengths)),
        memory=Listed(of_memory),
        where=Listed(pays, "; ") if pays else "in none",
    )


def _verdicts(made: Map, quantity: Quantity) -> list[str]:
    """Return the verdicts of all cells over dense of equal cost, where there is one."""
    every = (made.cell(case, at, quantity, equal_cost=True) for case in made.arms for at in made.lengths)
    return [word for each in every if (word := made.word(each)) is not None]


def _counted_cells(quantity: Quantity, verdicts: Sequence[str]) -> Sentence:
    """Say how many are better and worse: `forward slower in 16`, `loss better in 3, worse in 1`."""
    better, worse = _SIDES.get(quantity.metric, (BETTER, WORSE) if quantity.loss else ("faster", "slower"))
    counts = [(word, verdicts.count(verdict)) for word, verdict in ((better, BETTER), (worse, WORSE))]
    said = [Sentence(f"{word} in {{n}}", n=n) for word, n in counts if n]
    title = quantity.title.partition(",")[0].removeprefix("peak ")
    return Sentence("{title} {said}", title=title, said=Listed(said or [f"{better} in none"]))


def _span(made: Map, quantity: Quantity) -> Sentence | None:
    """Say between what all cells lie over the baseline."""
    cells = (made.cell(case, at, quantity, equal_cost=False) for case in made.arms for at in made.lengths)
    values = [each.typical.value for each in cells if each.typical.value is not None]
    if not values:
        return None
    if quantity.loss:
        words, of, kind, unit = "loss {span} {of}", quantity.loss.unit, "difference", quantity.loss.base
    else:
        words, of, kind, unit = "{of} {span}", quantity.title, "ratio", "s"
    return Sentence(words, of=of, span=Estimate(None, min(values), max(values), kind=kind, unit=unit))  # type: ignore[arg-type]


# --- tables


def in_place(loaded: Loaded) -> InPlace | None:
    """Return what stands in the terminal in place of the tables of times: the map, and what was counted."""
    made = of(loaded)
    if made is None:
        return None
    marked = made.ladder and loaded.suite.claims
    margin = Sentence(
        "a loss whose interval lies within {share} counts as equal", share=Estimate(LOSS_MARGIN, kind="share")
    )
    return InPlace(
        tables=[each for each in (_short(made), _counted(made)) if each.rows],
        baseline=name(made.base),
        arms=[made.base, *made.arms],
        metrics=frozenset(each.metric for each in made.quantities),
        notes=[
            *["second mark: over dense of equal cost"] * marked,
            Sentence(
                "{loss} over {base}, {seeds}", loss=made.loss.title, base=made.base, seeds=losses.seeds_in_words(loaded)
            ),
            *[margin] * marked,
        ],
    )


def _short(made: Map) -> Table:
    """Return times and loss over the baseline, each with the mark of what is found at equal cost."""

    def both(case: Case, quantity: Quantity) -> Iterator[Finding]:
        sides = (made.row(case, quantity, equal_cost=each) for each in (False, True))
        yield from (replace(first, at_equal_cost=second) for first, second in zip(*sides, strict=True))

    head: Sequence[Value] = ("", "", *(Sentence("T = {T}", T=at) for at in made.lengths))
    return Table("capacity", head, _rows(made, made.arms, [*made.times, made.loss], both))


def _rows(
    made: Map, arms: Sequence[Case], quantities: Sequence[Quantity], cells: Callable[[Case, Quantity], Iterable[Value]]
) -> list[list[Value]]:
    """Return the rows of several maps below each other; a quantity is named at its first row."""
    return [
        [quantity.title.partition(",")[0] if not i else "", row_name(made, case), *cells(case, quantity)]
        for quantity in quantities
        for i, case in enumerate(arms)
    ]


def row_name(made: Map, case: Case) -> str:
    """Name a row by its capacity alone where no other model has one."""
    alone = len({(each.model, each.config.router, each.title) for each in made.arms}) == 1
    return in_words("capacity", case.config.capacity) if alone else short(case)


def _counted(made: Map) -> Table:
    """Return what was counted as shares of the baseline's, one small table beside the other."""
    rows: list[list[Value]] = [
        [
            row_name(made, case),
            # A cost as a share of the baseline's: the other way round than its ratio.
            *(
                replace(each.typical.mirrored().alone, kind="fraction")
                for quantity in made.counts
                for each in made.row(case, quantity, equal_cost=False)
            ),
        ]
        for case in made.arms
        if made.counts
    ]
    head: list[Value] = ["", *(length for _ in made.counts for length in made.lengths)]
    groups = ["", *(f"{quantity.title}, T =" for quantity in made.counts for _ in made.lengths)]
    return Table("÷ baseline", head, rows, groups=groups)


def full_tables(made: Map) -> Iterator[Table]:
    """Yield every quantity over the same shape, then at equal cost; and how many seeds would decide the losses that are open."""
    sides = (("same shape", False), ("equal cost", True)) if made.ladder else (("same shape", False),)
    head: Sequence[Value] = ("", "", *(Sentence("T = {T}", T=at) for at in made.lengths))
    for label, cost in sides:
        arms = made.compared(equal_cost=cost)
        rows = _rows(made, arms, made.quantities, functools.partial(made.row, equal_cost=cost))
        base = "dense of equal cost" if cost else described(made.base)
        yield Table(
            label, head, rows, notes=[Sentence("Over {base}; {loss}.", base=base, loss=made.loss.title)], folded=True
        )
    needed: list[list[Value]] = [
        [
            row_name(made, case),
            *(made.needed(each) for _, cost in sides for each in made.row(case, made.loss, equal_cost=cost)),
        ]
        for case in made.arms
    ]
    if any(each is not None for _, *row in needed for each in row):
        lengths: list[Value] = ["", *(at for _ in sides for at in made.lengths)]
        groups = ["", *(label for label, _ in sides for _ in made.lengths)]
        notes = ["With so many seeds a loss that is open would probably be told from that of the dense model."]
        yield Table("seeds needed", lengths, needed, groups=groups, notes=notes, folded=True)


# --- map.csv


def table(loaded: Loaded) -> pd.DataFrame:
    """Return `map.csv`: one row for each arm and length, with every requested quantity in columns of its own."""
    made = of(loaded)
    if made is None:
        return pd.DataFrame()
    return frame(_csv_row(made, case, length) for case in made.arms for length in made.lengths)


def _csv_row(made: Map, case: Case, length: int) -> dict[str, Any]:
    rung, metrics = made.other(case, equal_cost=True), made.loaded.tables.metrics
    row: dict[str, Any] = {
        "arm": case.arm,
        "model": case.model,
        "capacity": case.config.capacity,
        "seq_len": length,
        "baseline_arm": made.base.arm,
        "equal_cost_arm": rung.arm if rung else None,
    }
    if made.ladder:
        row["at_equal_cost"] = made.standing(case, length) if rung else None
    for metric in made.loaded.suite.metrics:
        quantity, key = Quantity(metric, metric), metric.replace("/", "_")
        what = "difference" if made.loaded.tables.made_in(metrics[metric]).samples == "seeds" else "ratio"
        own = made.loaded.case(case.arm, metric, length)
        row[key] = own.value if own is not None and own.status == "ok" else None
        reasons: list[Value] = [None if own is None else own.reason if own.status != "ok" else None]
        for equal_cost in (False, True) if made.ladder else (False,):
            found = made.cell(case, length, quantity, equal_cost=equal_cost)
            prefix = f"{key}_at_equal_cost" if equal_cost else key
            row |= columns_of(found.typical, f"{prefix}_{what}", f"{prefix}_") | {f"{prefix}_verdict": found.verdict}
            why = None if found.verdict in DECIDED else found.reason
            apart = why and equal_cost and why not in reasons
            reasons.append(Sentence("at equal cost: {why}", why=why) if apart else why)
        row[f"{key}_reason"] = listed_reasons(reasons)
    return row
