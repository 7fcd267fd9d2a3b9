"""Effective speed-ups: the dense compute that buys an arm's loss, over the arm's own compute, in every currency measured.

A place on the dense ladder comes from losses alone (`harness/stats/exchange.py`); `exchange_prices.py` says what it costs, and
`exchange_words.py` says it in sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from modbench.harness.core import labels
from modbench.harness.core.case import Case, Comparison
from modbench.harness.results.notes.training import TrainNotes
from modbench.harness.stats import effects, memo
from modbench.harness.stats.exchange import Crossing, crossing
from modbench.reports.questions.exchange_prices import Held, Price, Prices, unpriced
from modbench.reports.tables.cases import joined
from modbench.reports.tables.cell import Trouble
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.losses import NATS, unit_of

# In nats per token; routed causally where a model can do so.
LOSSES = ("loss/val_causal", "loss/val")
COLUMNS = (
    *("arm", "model", "capacity", "budget", "seq_len", "batch_size", "dtype", "metric", "unit", "loss_metric"),
    *("kind", "effective_speedup", "ci_low", "ci_high", "ci_level", "ratio", "ratio_ci_low", "ratio_ci_high"),
    *("seeds", "launches", "ladder", "status", "reason", "labels"),
)
STRAIGHT = "read between two dense models alone: too high where the dense curve bends"
CHECK = "a check: a dense model against the others of its ladder should give 1"


@dataclass(frozen=True)
class Exchange:
    """The exchange rates of one arm.

    Attributes:
        case: the arm, as trained.
        ladder: the dense models that its loss was held against, smallest first.
        loss: key of the loss.
        place: where on the ladder its loss lies; None where it has no loss.
        prices: by currency, in the order of `CURRENCIES`.
        check: whether the arm is itself a dense model of the ladder.
        means: mean loss of each model of the ladder, in `unit`.
        mean: mean loss of the arm.
        unit: bits per byte, or nats per token where they cannot be converted.
    """

    case: Case
    ladder: tuple[Case, ...]
    loss: str
    place: Crossing | None
    prices: tuple[Price, ...]
    check: bool = False
    means: tuple[float, ...] = ()
    mean: float | None = None
    unit: str = NATS

    @property
    def stated(self) -> list[Price]:
        """Prices with a rate or a bound."""
        return [price for price in self.prices if price.rate.kind != "none"]


@dataclass(frozen=True)
class _Trained:
    """The training runs that are compared with each other: of one number format and one budget.

    Attributes:
        losses: keys of the losses that were asked for.
        dense: the dense models.
        arms: all others.
        turns: whether all have equal training FLOPs, so that the dense curve may rise again.
    """

    losses: tuple[str, ...]
    dense: tuple[Case, ...]
    arms: tuple[Case, ...]
    turns: bool


def exchanges(loaded: Loaded) -> list[Exchange]:
    """Return the exchange rates of every arm that was trained beside a dense ladder, with the checks on the ladder itself."""
    with memo.remembering():
        maker = _Maker(loaded, Prices(loaded))
        return [made for group in _groups(loaded) for made in maker.of_group(group)]


def _groups(loaded: Loaded) -> Iterator[_Trained]:
    found: dict[tuple[str, float | None], list[Comparison]] = {}
    for comparison in loaded.run.plan.comparisons:
        first = comparison.arms[0]
        if not first.task and any(key in comparison.metrics for key in LOSSES):
            found.setdefault((comparison.place.dtype, first.budget), []).append(comparison)
    for (_, budget), comparisons in found.items():
        cases = [case for comparison in comparisons for case in comparison.arms]
        plain = [case for case in cases if case.model == "dense" and not case.rung]
        if not plain:
            continue
        # Of a sweep all sizes of the first dense variant; else the first dense arm and the smaller ones that were solved for.
        same = {c.id for c in plain if (c.arm == plain[0].arm if budget is None else c.variant == plain[0].variant)}
        dense = [case for case in cases if case.id in same or (case.model == "dense" and case.rung)]
        if len(dense) > 1:
            rest = tuple(case for case in cases if case not in dense)
            asked = tuple(key for key in LOSSES if any(key in comparison.metrics for comparison in comparisons))
            yield _Trained(asked, tuple(dense), rest, budget is not None)


@dataclass(frozen=True)
class _Maker:
    """Makes exchange rates of a run."""

    loaded: Loaded
    prices: Prices

    def of_group(self, group: _Trained) -> Iterator[Exchange]:
        """Yield the exchange rates of every arm, and of every dense model that lies between two others."""
        dense = sorted(group.dense, key=self._size)
        for case in group.arms:
            yield self._exchange(group, case, dense)
        if not group.turns:  # a curve that turns is not straight between points far apart
            for case in dense[1:-1]:
                yield self._exchange(group, case, [other for other in dense if other != case], check=True)

    def _size(self, case: Case) -> float:
        """Forward FLOPs with causal attention, which order the ladder; 0 where they were not counted."""
        return float(self.loaded.tables.counted(case).forward_causal or 0.0)

    def _exchange(self, group: _Trained, case: Case, dense: Sequence[Case], *, check: bool = False) -> Exchange:
        """Make the exchange rates of one arm, by the first loss that it and two dense models have."""
        troubles = []
        for key in group.losses:
            own = self._losses(case, key)
            known = {c: each for c in dense if self._size(c) and not isinstance(each := self._losses(c, key), Trouble)}
            if isinstance(own, Trouble):
                troubles.append(own)
            elif len(known) < 2:
                troubles.append(Trouble("skipped", f"fewer than two dense models have {key}"))
            elif len({text for c in (case, *known) for text in self._texts(c, key)}) > 1:
                troubles.append(Trouble("skipped", "the arm and the dense models read different text, or other tokens"))
            else:
                place = crossing(list(known.values()), own, turns=group.turns)
                left_out = [f"left out of the ladder, without {key}: {c.arm}" for c in dense if c not in known]
                reason = joined(
                    [CHECK if check else None, STRAIGHT if len(known) == 2 and not check else None, *left_out]
                )
                ladder = tuple(known)
                same = next((c for c in ladder if c.size == case.size), None) if group.turns else ladder[-1]
                prices = tuple(self.prices.of(Held(case, ladder, key, place, same, reason)))
                unit, factor = unit_of(self.loaded)
                means = tuple(factor * sum(each) / len(each) for each in known.values())
                return Exchange(case, ladder, key, place, prices, check, means, factor * sum(own) / len(own), unit)
        found = next((each for each in troubles if each.status == "failed"), troubles[-1])
        none = tuple(unpriced(metric, None, found) for metric in self.prices.currencies())
        return Exchange(case, tuple(dense), group.losses[-1], None, none, check)

    def _losses(self, case: Case, key: str) -> list[float] | Trouble:
        """Losses by seed, in the order of the suite's seeds; or why there are none."""
        tables = self.loaded.tables
        trouble = tables.trouble(case, tables.metrics[key])
        if trouble is not None:
            return trouble
        values = tables.cell(case.id, key).values()
        return [values[seed] for seed in self.loaded.run.plan.suite.seeds]

    def _texts(self, case: Case, key: str) -> set[tuple[str | None, str | None]]:
        return {
            (notes.corpus_sha256, notes.tokenizer)
            for notes in self.loaded.tables.cell(case.id, key).notes(TrainNotes)[:1]
        }


def table(loaded: Loaded, made: Sequence[Exchange] | None = None) -> pd.DataFrame:
    """Return `exchange.csv`: one row per arm, budget, number format and currency; empty without losses or a dense ladder."""
    rows = [_row(each, price) for each in (exchanges(loaded) if made is None else made) for price in each.prices]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"seeds": "Int64", "launches": "Int64"})


def _row(made: Exchange, price: Price) -> dict[str, Any]:
    case, place, found = made.case, price.place, price.rate
    row: dict[str, Any] = {
        "arm": case.arm,
        "model": case.model,
        "capacity": case.config.capacity,
        "budget": case.budget,
        "seq_len": place.seq_len if place else None,
        "batch_size": place.batch_size if place else None,
        "dtype": case.place.dtype,
        "metric": price.metric.key,
        "unit": price.metric.unit,
        "loss_metric": made.loss,
        "ladder": " ".join(rung.arm for rung in made.ladder),
        "ratio": price.plain.ratio,
        "ratio_ci_low": price.plain.low,
        "ratio_ci_high": price.plain.high,
        "labels": labels.joined(price.labels),
    }
    if price.trouble is not None:
        return row | {"status": price.trouble.status, "reason": joined([price.trouble.reason, price.reason])}
    told = {"kind": found.kind, "seeds": found.seeds, "launches": found.launches or None}
    if found.kind == "none":
        reason = joined([f"no exchange rate at this budget: {found.reason}", price.reason])
        return row | told | {"status": "skipped", "reason": reason}
    illustration = f"illustration, no claim: {found.reason}" if found.illustration else None
    closed = not found.illustration and (found.low is not None or found.high is not None)
    return (
        row
        | told
        | {
            "effective_speedup": found.value,
            "ci_low": found.low,
            "ci_high": found.high,
            "ci_level": effects.LEVEL if closed else None,
            "status": "ok",
            "reason": joined([illustration, price.reason]),
        }
    )
