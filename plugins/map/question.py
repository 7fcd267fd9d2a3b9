"""Which capacity at which length? Time, FLOPs, memory and loss of every capacity at every length, over two dense models.

Each cell is compared with the dense model of the same shape, and with the smaller matched baseline, which is the
alternative to skipping. There is a map where losses were planned at two lengths or more, for two capacities or more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from modbench.extend import (
    BETTER,
    DECIDED,
    EQUIVALENT,
    EXACT,
    INCONCLUSIVE,
    WORKLOADS,
    WORSE,
    Case,
    Column,
    DataTable,
    Estimate,
    Finding,
    InPlace,
    Listed,
    Loaded,
    Sentence,
    Value,
    axis_value,
    by_length,
    count,
    interval,
    joined_reasons,
    losses,
    matched_beside,
    model_name,
    name,
    number,
    once_a_run,
    pivot,
    short,
    summary,
    text,
)

# Of a loss, as a share of dense's: where the interval lies within it, neither model is taken for its loss.
LOSS_MARGIN = 0.015
# What a variant is held against: the report's baseline, or the matched baseline.
Side: TypeAlias = Literal["same shape", "matched"]


@dataclass(frozen=True)
class Spot:
    """A variant at a length.

    Attributes:
        loaded: the run.
        case: the variant, which has a capacity.
        length: a length at which something was planned.
        matched: the matched baseline; None where there is none.
        over: what is found, or why there is nothing, by what the variant is held against and by metric.
    """

    loaded: Loaded
    case: Case
    length: int
    matched: Case | None
    over: Mapping[Side, Mapping[str, Finding]]

    @property
    def standing(self) -> str:
        """Whether the variant is to be taken in place of the matched baseline.

        `better`: it is better in one of time and loss, and better or equivalent in the other; `worse`: the dense model is;
        `mixed`: each is better in one of the two.
        """
        words = {word(self.loaded, self.over["matched"][metric]) for metric in deciding(self.loaded)}
        if words == {BETTER, WORSE}:
            return "mixed"
        if words <= {BETTER, EQUIVALENT}:
            return BETTER if BETTER in words else EQUIVALENT
        return WORSE if words <= {WORSE, EQUIVALENT} else INCONCLUSIVE


def along_capacity(loaded: Loaded) -> list[Case]:
    """Return the variants that have a capacity, where there are several capacities with losses at several lengths; else none."""
    variants = [case for case in loaded.variants if case.config.capacity is not None and not case.matched]
    several = len({case.config.capacity for case in variants}) > 1 and len(losses.lengths(loaded)) > 1
    return variants if several and losses.shown(loaded) and not loaded.sizes_differ else []


@once_a_run
def spots(loaded: Loaded) -> list[Spot]:
    """Return every variant at every length; none where a run has no two capacities, or no losses at two lengths."""
    lengths = sorted({*loaded.lengths, *losses.lengths(loaded)})
    return [spot for case in along_capacity(loaded) for spot in _of_variant(loaded, case, lengths)]


def _of_variant(loaded: Loaded, case: Case, lengths: Sequence[int]) -> Iterator[Spot]:
    beside = matched_beside(loaded, case)
    others: dict[Side, Case | None] = {"same shape": loaded.baseline, "matched": beside.case if beside else None}
    over: dict[int, dict[Side, dict[str, Finding]]] = {length: {side: {} for side in others} for length in lengths}
    for (side, other), metric in itertools.product(others.items(), loaded.suite.metrics):
        found = {} if other is None else by_length(loaded, metric, case, other)
        why = "no dense model of equal FLOPs is in this run" if other is None else "not measured at this length"
        nothing = Finding(case, other, case.grid_point, metric, status="skipped", reason=why)
        for length in lengths:
            over[length][side][metric] = found.get(length, nothing)
    return (Spot(loaded, case, length, others["matched"], over[length]) for length in lengths)


def sides(loaded: Loaded) -> list[Side]:
    """Return what variants are held against: the matched baseline only where a variant has one."""
    return ["same shape", "matched"] if any(spot.matched for spot in spots(loaded)) else ["same shape"]


def asked(loaded: Loaded, titles: Mapping[str, str]) -> dict[str, str]:
    """Return those of some metrics that the suite asks for, with their titles."""
    return {metric: title for metric, title in titles.items() if metric in loaded.suite.metrics}


def deciding(loaded: Loaded) -> dict[str, str]:
    """Return the metrics by which a variant is taken or not, with titles: the first time, and the loss."""
    return dict([*asked(loaded, WORKLOADS).items()][:1]) | {loss_of(loaded).metric: "loss"}


@once_a_run
def loss_of(loaded: Loaded) -> losses.Loss:
    """Return the loss of the map, routed causally where that was measured."""
    return losses.comparable(loaded)


def share(loaded: Loaded, found: Finding) -> Estimate:
    """Return a difference of losses as a share of the loss of what the variant is compared with."""
    assert isinstance(found.against, Case)
    theirs = loaded.value(found.against.variant, found.metric, found.grid_point.seq_len)
    return Estimate(None) if theirs is None else found.typical.scaled(1 / theirs)


def word(loaded: Loaded, found: Finding) -> str | None:
    """Return a verdict; a loss whose interval lies within `LOSS_MARGIN` is equivalent."""
    if found.typical.kind == "difference" and found.verdict is not None:
        ends = share(loaded, found).ends
        if ends is not None and max(map(abs, ends)) <= LOSS_MARGIN:
            return EQUIVALENT
    return found.verdict


def answer(loaded: Loaded) -> Iterator[Value]:
    """Say at how many grid points a variant is faster than either dense model, or slower, and its loss better or worse."""
    found = [spot for spot in spots(loaded) if spot.matched is not None]
    if not found or not loaded.suite.claims or not asked(loaded, WORKLOADS):
        return
    time, loss = deciding(loaded)
    who = Listed([*dict.fromkeys(model_name(spot.case.model) for spot in found)], last=" and ")
    others: dict[Side, str] = {"matched": "dense of equal FLOPs", "same shape": summary.described(loaded.baseline)}
    for side, dense in others.items():
        faster, slower, better, worse = (
            sum(word(loaded, spot.over[side][metric]) == verdict for spot in found)
            for metric in (time, loss)
            for verdict in (BETTER, WORSE)
        )
        first, second = (dense, who) if slower > faster else (who, dense)
        least, most = sorted((faster, slower))
        words = "{variant} is faster than {second} at {most} of {all:grid point}" + ", slower at {least}" * (least > 0)
        words += "; the loss of {who} is better at {better}, worse at {worse}."
        counts = {"most": most, "least": least, "all": len(found)}
        yield summary.capital(
            Sentence(words, variant=first, second=second, who=who, better=better, worse=worse, **counts)
        )


# --- tables


def row_name(loaded: Loaded, case: Case) -> str:
    """Name a row by its capacity alone where no other model has one."""
    variants = along_capacity(loaded)
    alike = len({(each.model, each.config.router, each.title) for each in variants}) == 1
    alone = alike and len({each.config.capacity for each in variants}) == len(variants)
    return axis_value("capacity", case.config.capacity) if alone else short(case)


def beside(spot: Spot, metric: str, side: Side) -> Finding:
    """Return what is found over a dense model, without the variant's own value; a loss in the unit in which losses are shown."""
    found, loss = spot.over[side][metric].beside(), loss_of(spot.loaded)
    of_loss = found.typical.kind == "difference"
    return replace(found, typical=found.typical.scaled(loss.factor, loss.base)) if of_loss else found


def _both(spot: Spot, metric: str) -> Finding:
    return replace(beside(spot, metric, "same shape"), matched=beside(spot, metric, "matched"))


def in_place(loaded: Loaded) -> InPlace | None:
    """Return what stands in the terminal in place of the tables of times: the map, and what was counted."""
    found = spots(loaded)
    if not found:
        return None
    loss, counts = loss_of(loaded), asked(loaded, EXACT)
    shown = asked(loaded, WORKLOADS) | {loss.metric: "loss"}
    cells = (
        (f"{title} {row_name(loaded, spot.case)}", "", Sentence("T = {T}", T=spot.length), _both(spot, metric))
        for metric, title in shown.items()
        for spot in found
    )
    shares = (
        (row_name(loaded, spot.case), f"{title}, T =", spot.length, spot.over["same shape"][metric].typical.alone)
        for metric, title in counts.items()
        for spot in found
    )
    made = [pivot("capacity", cells), *[pivot("of baseline", shares)] * bool(counts)]
    base, variants = name(loaded.baseline), [loaded.baseline, *along_capacity(loaded)]
    said = f"loss, {loss.unit} over {base}, {losses.seeds_in_words(loaded)}"
    notes = ["second mark: over dense of equal FLOPs", said]
    return InPlace(made, base, variants, frozenset(shown | counts), notes=notes, drawn=True)


# --- map.csv


def _columns(loaded: Loaded) -> Iterator[Column[Spot]]:
    """Yield the columns of the metrics that a run asked for."""
    if "matched" in sides(loaded):
        yield text(
            "matched",
            "by time and loss: the variant is `better`, `worse`, `mixed` (each in one), `equivalent` or `inconclusive`",
            lambda spot: spot.standing if spot.matched else None,
        )
    for metric in loaded.suite.metrics:
        yield from _of_metric(loaded, metric)


def _of_metric(loaded: Loaded, metric: str) -> Iterator[Column[Spot]]:
    key = metric.replace("/", "_")
    yield number(key, f"{metric} of the variant", lambda spot: loaded.value(spot.case.variant, metric, spot.length))
    for side in sides(loaded):
        yield from _over(loaded, metric, side, key + "_over_matched" * (side == "matched"))
    yield text(f"{key}_reason", "why one of these is null", lambda spot: _reason(spot, metric))


def _over(loaded: Loaded, metric: str, side: Side, key: str) -> Iterator[Column[Spot]]:
    what = "difference" if loaded.tables.made_in(loaded.tables.metrics[metric]).samples == "seeds" else "ratio"
    meaning = f"{what} of {metric} to the dense model of {side}"
    yield from interval(f"{key}_{what}", meaning, lambda spot: spot.over[side][metric].typical, f"{key}_{what}_")
    yield text(f"{key}_verdict", "verdict on it", lambda spot: spot.over[side][metric].verdict)


def _reason(spot: Spot, metric: str) -> Value:
    own = spot.loaded.case(spot.case.variant, metric, spot.length)
    said: list[Value] = [None if own is None or own.status == "ok" else own.reason]
    for side in sides(spot.loaded):
        found = spot.over[side][metric]
        why = None if found.verdict in DECIDED else found.reason
        apart = why and side == "matched" and why not in said
        said.append(Sentence("matched: {why}", why=why) if apart else why)
    return joined_reasons(said)


TABLE = DataTable[Spot](
    "map",
    "a variant at a length",
    (
        text("variant", "the variant", lambda spot: spot.case.variant),
        text("model", "its model", lambda spot: spot.case.model),
        number("capacity", "its share of tokens in a routed block", lambda spot: spot.case.config.capacity),
        count("seq_len", "sequence length", lambda spot: spot.length, "tokens"),
        text("baseline_variant", "the report's baseline", lambda spot: spot.loaded.baseline.variant),
        text("matched_baseline", "the matched baseline", lambda spot: spot.matched.variant if spot.matched else None),
    ),
    spots,
    _columns,
)
