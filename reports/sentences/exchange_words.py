"""Effective speed-ups in sentences: one for each arm, one for all arms that have none for the same reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from modbench.harness.core import labels
from modbench.harness.core.labels import Label
from modbench.harness.core.units import three_digits
from modbench.harness.stats.exchange import FEW_POINTS, NOT_FALLING, Rate
from modbench.reports.questions.exchange import Exchange, exchanges
from modbench.reports.questions.exchange_prices import CURRENCIES, Price
from modbench.reports.questions.isoflop import in_flops
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name, short
from modbench.reports.wording.words import times
from modbench.reports.writers.inline import plain

# Arms that have a sentence of their own; the rest are counted.
MOST_SENTENCES = 24


def in_words(loaded: Loaded, made: Sequence[Exchange] | None = None) -> list[str]:
    """Return the effective speed-ups in sentences; empty where nothing was trained beside a dense ladder.

    Of a sweep over sizes each variant is there with the size of the lowest loss.
    """
    made = exchanges(loaded) if made is None else made
    stated = [each for each in best_sizes(made) if each.stated]
    arms, checks = ([each for each in stated if each.check == check] for check in (False, True))
    said = [sentence(each) for each in arms[:MOST_SENTENCES]]
    if len(arms) > MOST_SENTENCES:
        said.append(f"Effective speed-ups of {len(arms) - MOST_SENTENCES:,} further arms are in exchange.csv.")
    said += without_rate(made)
    said += [
        f"Check of the dense ladder: {_check(each)}."
        for each in checks
        if arms and not each.stated[0].rate.illustration
    ]
    if any(price.metric.unit == "s" for each in arms for price in each.stated) and not loaded.checked:
        said.append("The seconds of effective speed-ups are without a verdict: the machine was not checked.")
    return said


def without_rate(made: Sequence[Exchange]) -> list[str]:
    """Say why arms have no exchange rate in any currency: a sentence for each reason."""
    arms = [each for each in best_sizes(made) if not each.check]
    by_reason: dict[str, list[Exchange]] = {}
    for each in arms:
        if not each.stated:
            by_reason.setdefault(why_not(each), []).append(each)
    said = []
    for reason, those in by_reason.items():
        whose = "" if len(those) == len(arms) else f" for {_listed(name(each.case) for each in those)}"
        said.append(f"No exchange rate{whose}{_at_budget(those)}: {reason}.")
    return said


def best_sizes(made: Iterable[Exchange]) -> list[Exchange]:
    """Of every variant of a sweep the size with the lowest mean loss; every other arm."""
    best: dict[tuple[object, ...], Exchange] = {}
    for each in made:
        case = each.case
        key = (case.budget, case.place.dtype, case.arm if case.budget is None else case.variant)
        known = best.get(key)
        if known is None or (each.mean is not None and (known.mean is None or each.mean < known.mean)):
            best[key] = each
    return list(best.values())


def sentence(each: Exchange) -> str:
    """Say what dense compute buys the loss of an arm: `MoD 0.125 has the loss of a dense model with 1.08x its ...`."""
    first, *rest = each.stated
    found, who = first.rate, name(each.case)
    if each.case.budget:
        who = f"at {plain(in_flops(each.case.budget))} {who}"
    what = currency(first)
    if found.kind == "rate":
        told = f"{who} has the loss of a dense model with {rate_in_words(found)} its {what}{_evidence(found)}"
        rest_said = [f"{rate_in_words(found)} in {what}"]
    else:
        side = "below the best" if found.kind == "bound_below" else "above the smallest"
        told = f"{who} ends {side} dense model measured ({_loss_of(each)})"
        rest_said = [f"{rate_in_words(found)} in {what}{_evidence(found)}"]
    rest_said += [f"{rate_in_words(price.rate)} in {currency(price)}{_between(price.rate, found)}" for price in rest]
    return _upper(f"{told}: effective speed-up {', '.join(rest_said)}{_doubts(each)}.")


def currency(price: Price) -> str:
    """What is paid: `seconds of a train step`; where runs have unequal steps, of the whole run."""
    said = CURRENCIES[price.metric.key]
    return said.replace("a train step", "the training run") if price.whole_run else said


def rate_in_words(found: Rate) -> str:
    """`1.08×`, `more than 1.32×`, `less than 0.95×`."""
    if found.kind == "bound_below" and found.low is not None:
        return f"more than {times(found.low)}"
    if found.kind == "bound_above" and found.high is not None:
        return f"less than {times(found.high)}"
    return "none" if found.value is None else times(found.value)


def interval_in_words(found: Rate) -> str:
    """`1.02 to 1.15`, `above 1.02`, `below 1.15`; empty where there is none, or where the bound says it."""
    if found.kind != "rate" or (found.low is None and found.high is None):
        return ""
    if found.high is None:
        return f"above {three_digits(found.low or 0.0)}"
    if found.low is None:
        return f"below {three_digits(found.high)}"
    return f"{three_digits(found.low)} to {three_digits(found.high)}"


def _evidence(found: Rate) -> str:
    if found.illustration:
        return f" ({_illustrates(found)})"
    between = interval_in_words(found)
    seeds = f"{found.seeds} seed{'s' * (found.seeds != 1)}"
    return f" (95 %: {between}; {seeds})" if between else f" ({seeds})"


def _between(found: Rate, first: Rate) -> str:
    """What stands behind a further currency: its interval, or what the first currency has not said."""
    if found.illustration:
        return "" if first.illustration else f" ({_illustrates(found)})"
    between = interval_in_words(found)
    return f" ({between})" if between else ""


def _illustrates(found: Rate) -> str:
    """`1 seed: illustration, no claim`."""
    return f"{str(found.reason).split(':', maxsplit=1)[0]}: illustration, no claim"


def _loss_of(each: Exchange) -> str:
    assert each.mean is not None
    best = min(each.means) if each.place is not None and each.place.kind == "beyond" else max(each.means)
    return f"{each.mean:.3f} against {best:.3f} {each.unit}"


def _doubts(each: Exchange) -> str:
    """What readers must know before they believe it: a loss that saw the future, a time that is in doubt."""
    found = dict.fromkeys(label for price in each.stated for label in price.labels)
    said = [
        str(label) for label in found if label in labels.LOOKED_AHEAD | labels.OF_WORK or label == Label.CONTAMINATED
    ]
    return f" (but: {', '.join(said)})" if said else ""


def why_not(each: Exchange) -> str:
    """Why an arm has no exchange rate in any currency."""
    if (
        any(price.trouble is not None and price.trouble.status == "failed" for price in each.prices)
        and each.place is None
    ):
        return "its training failed"
    if each.place is None:
        return next((str(price.rate.reason) for price in each.prices), "no compute was asked for")
    if each.place.reason == NOT_FALLING:
        return f"dense with more FLOPs has no lower loss here ({ladder_in_words(each)})"
    if each.place.reason == FEW_POINTS:
        return FEW_POINTS
    by_reason: dict[str, list[str]] = {}
    for price in each.prices:
        by_reason.setdefault(str(price.rate.reason), []).append(currency(price))
    if len(by_reason) < 2:
        return next(iter(by_reason), "no compute was asked for")
    return "; ".join(f"in {_listed(names)}: {reason}" for reason, names in by_reason.items())


def ladder_in_words(each: Exchange) -> str:
    """Losses along the ladder: `2.41 bits/byte in dense 56 %, 2.43 in dense; 1 seed`."""
    assert each.place is not None
    models = zip(each.ladder, each.means, strict=True)
    said = ", ".join(
        f"{mean:.3f}{f' {each.unit}' * (i == 0)} in {short(rung)}" for i, (rung, mean) in enumerate(models)
    )
    return f"{said}; {each.place.n} seed{'s' * (each.place.n != 1)}"


def _check(each: Exchange) -> str:
    first = each.stated[0]
    told = f"{rate_in_words(first.rate)}{_between(first.rate, first.rate)} in {currency(first)}"
    return f"{short(each.case)} against the others has {told}, should be 1"


def _at_budget(those: Sequence[Exchange]) -> str:
    budgets = sorted({each.case.budget for each in those if each.case.budget})
    return f" at {' and '.join(plain(in_flops(budget)) for budget in budgets)}" if budgets else " at this budget"


def _listed(names: Iterable[str]) -> str:
    *most, last = dict.fromkeys(names)
    return f"{', '.join(most)} and {last}" if most else last


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
