"""Which capacity at which length? Time, FLOPs, memory and loss of every capacity at every length, over two dense models.

Each cell is compared with the dense model of the same shape, and with the smaller dense model of equal cost, which is the
alternative to skipping. There is a map where losses were planned at two lengths or more, for two capacities or more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from modbench.harness.core.train_plan import ConfirmPlan
from modbench.harness.domain.case import Case
from modbench.harness.stats.contrast import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE
from modbench.reports.data_table import Column, DataTable, count, interval, number, text
from modbench.reports.model import Estimate, Finding, Listed, Sentence, Table, Value, pivot
from modbench.reports.panel import InPlace
from modbench.reports.tables import losses
from modbench.reports.tables.axes import in_words
from modbench.reports.tables.cell import joined_reasons
from modbench.reports.tables.findings import by_length
from modbench.reports.tables.load import Loaded, once_a_run, rung_beside
from modbench.reports.wording import DECIDED, EXACT, WORKLOADS, model_name, name, short

# Of a loss, as a share of dense's: where the interval lies within it, neither model is taken for its loss.
LOSS_MARGIN = ConfirmPlan().margin
NOT_MEASURED = "not measured at this length"
NO_RUNG = "no dense model of equal FLOPs is in this run"
# Arms at a length that the summary names.
MOST_NAMED = 3
# What an arm is held against: the report's baseline, or the dense model of equal cost.
Side: TypeAlias = Literal["same shape", "equal cost"]
# What a cell says of an arm beside the dense model of equal cost, by the first time and the loss.
MIXED = "mixed"


@dataclass(frozen=True)
class Spot:
    """An arm at a length.

    Attributes:
        loaded: the run.
        case: the arm, which has a capacity.
        length: a length at which something was planned.
        rung: the dense model of equal cost; None where there is none.
        over: what is found, or why there is nothing, by what the arm is held against and by metric.
    """

    loaded: Loaded
    case: Case
    length: int
    rung: Case | None
    over: Mapping[Side, Mapping[str, Finding]]

    @property
    def standing(self) -> str:
        """Whether the arm is to be taken in place of the dense model of equal cost.

        `better`: it is better in one of time and loss, and better or equivalent in the other; `worse`: the dense model is;
        `mixed`: each is better in one of the two.
        """
        words = {word(self.loaded, self.over["equal cost"][metric]) for metric in deciding(self.loaded)}
        if words == {BETTER, WORSE}:
            return MIXED
        if words <= {BETTER, EQUIVALENT}:
            return BETTER if BETTER in words else EQUIVALENT
        return WORSE if words <= {WORSE, EQUIVALENT} else INCONCLUSIVE


@once_a_run
def spots(loaded: Loaded) -> list[Spot]:
    """Return every arm at every length; none where a run has no two capacities, or no losses at two lengths."""
    lengths = sorted({*loaded.lengths, *losses.lengths(loaded)})
    return [spot for case in losses.along_capacity(loaded) for spot in _of_arm(loaded, case, lengths)]


def _of_arm(loaded: Loaded, case: Case, lengths: Sequence[int]) -> Iterator[Spot]:
    beside = rung_beside(loaded, case)
    others: dict[Side, Case | None] = {"same shape": loaded.baseline, "equal cost": beside.case if beside else None}
    found = {
        (side, metric): {} if other is None else by_length(loaded, metric, case, other)
        for side, other in others.items()
        for metric in loaded.suite.metrics
    }
    for length in lengths:
        over: dict[Side, dict[str, Finding]] = {side: {} for side in others}
        for (side, metric), at in found.items():
            other = others[side]
            why = NO_RUNG if other is None else NOT_MEASURED
            nothing = Finding(case, other, case.place, metric, status="skipped", reason=why)
            over[side][metric] = at.get(length, nothing)
        yield Spot(loaded, case, length, others["equal cost"], over)


def sides(loaded: Loaded) -> list[Side]:
    """Return what arms are held against: dense of equal cost only where an arm has one."""
    return ["same shape", "equal cost"] if any(spot.rung for spot in spots(loaded)) else ["same shape"]


def asked(loaded: Loaded, titles: Mapping[str, str]) -> dict[str, str]:
    """Return those of some metrics that the suite asks for, with their titles."""
    return {metric: title for metric, title in titles.items() if metric in loaded.suite.metrics}


def deciding(loaded: Loaded) -> dict[str, str]:
    """Return the metrics by which an arm is taken or not, with titles: the first time, and the loss."""
    return dict([*asked(loaded, WORKLOADS).items()][:1]) | {loss_of(loaded).metric: "loss"}


@once_a_run
def loss_of(loaded: Loaded) -> losses.Loss:
    """Return the loss of the map, routed causally where that was measured."""
    return losses.comparable(loaded)


def share(loaded: Loaded, found: Finding) -> Estimate:
    """Return a difference of losses as a share of the loss of what the arm is compared with."""
    assert isinstance(found.against, Case)
    theirs = loaded.value(found.against.arm, found.metric, found.place.seq_len)
    return Estimate(None) if theirs is None else found.typical.scaled(1 / theirs)


def word(loaded: Loaded, found: Finding) -> str | None:
    """Return a verdict; a loss whose interval lies within `LOSS_MARGIN` is equivalent."""
    if found.typical.kind == "difference" and found.verdict is not None:
        ends = share(loaded, found).ends
        if ends is not None and max(map(abs, ends)) <= LOSS_MARGIN:
            return EQUIVALENT
    return found.verdict


def answer(loaded: Loaded) -> Iterator[Value]:
    """Say at how many grid points dense of equal cost is the better choice, and at how many an arm is."""
    found = [spot for spot in spots(loaded) if spot.rung is not None]
    if not found or not loaded.suite.claims:
        return
    ours, dense = ([spot for spot in found if spot.standing == each] for each in (BETTER, WORSE))
    words = "By {by}, dense of equal FLOPs is the better choice at {dense} of {all:grid point}, {models} at {ours}"
    words += " ({where})" * bool(ours) + "."
    yield Sentence(
        words,
        by=Listed([*deciding(loaded).values()], last=" and "),
        dense=len(dense),
        all=len(found),
        models=Listed([*dict.fromkeys(model_name(spot.case.model) for spot in found)]),
        ours=len(ours),
        where=Listed([Sentence("{arm} at T = {T}", arm=each.case, T=each.length) for each in ours], most=MOST_NAMED),
    )


# --- tables


def row_name(loaded: Loaded, case: Case) -> str:
    """Name a row by its capacity alone where no other model has one."""
    arms = losses.along_capacity(loaded)
    alike = len({(each.model, each.config.router, each.title) for each in arms}) == 1
    alone = alike and len({each.config.capacity for each in arms}) == len(arms)
    return in_words("capacity", case.config.capacity) if alone else short(case)


def beside(spot: Spot, metric: str, side: Side) -> Finding:
    """Return what is found over a dense model, without the arm's own value; a loss in the unit in which losses are shown."""
    found, loss = spot.over[side][metric].beside(), loss_of(spot.loaded)
    of_loss = found.typical.kind == "difference"
    return replace(found, typical=found.typical.scaled(loss.factor, loss.base)) if of_loss else found


def _both(spot: Spot, metric: str) -> Finding:
    return replace(beside(spot, metric, "same shape"), at_equal_cost=beside(spot, metric, "equal cost"))


def _by_length(
    label: str, found: Sequence[Spot], metrics: Mapping[str, str], cell: Callable[[Spot, str], Value]
) -> Table:
    """Return a table with a row for each quantity and arm, and a column for each length."""
    return pivot(
        label,
        (
            (f"{title} {row_name(spot.loaded, spot.case)}", "", Sentence("T = {T}", T=spot.length), cell(spot, metric))
            for metric, title in metrics.items()
            for spot in found
        ),
    )


def in_place(loaded: Loaded) -> InPlace | None:
    """Return what stands in the terminal in place of the tables of times: the map, and what was counted."""
    found = spots(loaded)
    if not found:
        return None
    loss, counts = loss_of(loaded), asked(loaded, EXACT)
    shown = asked(loaded, WORKLOADS) | {loss.metric: "loss"}
    # A cost as a share of the baseline's: the other way round than its ratio.
    shares = (
        (
            row_name(loaded, spot.case),
            f"{title}, T =",
            spot.length,
            replace(spot.over["same shape"][metric].typical.mirrored().alone, kind="share"),
        )
        for metric, title in counts.items()
        for spot in found
    )
    said = f"loss, {loss.unit} over {name(loaded.baseline)}, {losses.seeds_in_words(loaded)}"
    return InPlace(
        [_by_length("capacity", found, shown, _both), *[pivot("of baseline", shares)] * bool(counts)],
        name(loaded.baseline),
        [loaded.baseline, *losses.along_capacity(loaded)],
        frozenset(shown | counts),
        notes=["second mark: over dense of equal FLOPs", said],
    )


# --- map.csv


def _columns(loaded: Loaded) -> Iterator[Column[Spot]]:
    """Yield the columns of the metrics that a run asked for."""
    if "equal cost" in sides(loaded):
        yield text(
            "at_equal_cost",
            "by time and loss: the arm is `better`, `worse`, `mixed` (each in one), `equivalent` or `inconclusive`",
            lambda spot: spot.standing if spot.rung else None,
        )
    for metric in loaded.suite.metrics:
        yield from _of_metric(loaded, metric)


def _of_metric(loaded: Loaded, metric: str) -> Iterator[Column[Spot]]:
    key = metric.replace("/", "_")
    yield number(key, f"{metric} of the arm", lambda spot: loaded.value(spot.case.arm, metric, spot.length))
    for side in sides(loaded):
        yield from _over(loaded, metric, side, key + "_at_equal_cost" * (side == "equal cost"))
    yield text(f"{key}_reason", "why one of these is null", lambda spot: _reason(spot, metric))


def _over(loaded: Loaded, metric: str, side: Side, key: str) -> Iterator[Column[Spot]]:
    what = "difference" if loaded.tables.made_in(loaded.tables.metrics[metric]).samples == "seeds" else "ratio"
    meaning = f"{what} of {metric} to the dense model of {side}"
    yield from interval(f"{key}_{what}", meaning, lambda spot: spot.over[side][metric].typical, f"{key}_")
    yield text(f"{key}_verdict", "verdict on it", lambda spot: spot.over[side][metric].verdict)


def _reason(spot: Spot, metric: str) -> Value:
    own = spot.loaded.case(spot.case.arm, metric, spot.length)
    said: list[Value] = [None if own is None or own.status == "ok" else own.reason]
    for side in sides(spot.loaded):
        found = spot.over[side][metric]
        why = None if found.verdict in DECIDED else found.reason
        apart = why and side == "equal cost" and why not in said
        said.append(Sentence("matched: {why}", why=why) if apart else why)
    return joined_reasons(said)


TABLE = DataTable[Spot](
    "map",
    "an arm at a length",
    (
        text("arm", "the arm", lambda spot: spot.case.arm),
        text("model", "its model", lambda spot: spot.case.model),
        number("capacity", "its share of tokens in a routed block", lambda spot: spot.case.config.capacity),
        count("seq_len", "sequence length", lambda spot: spot.length, "tokens"),
        text("baseline_arm", "the report's baseline", lambda spot: spot.loaded.baseline.arm),
        text("equal_cost_arm", "the dense model of equal cost", lambda spot: spot.rung.arm if spot.rung else None),
    ),
    spots,
    _columns,
)
