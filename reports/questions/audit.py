"""Is it what it says, does it skip, may it be believed? What the probes found of a model, or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence

from modbench.harness.audit.card import Card, Finding, Given, Number
from modbench.reports.model import Code, Estimate, Listed, Sentence, Table, Value

MARKS = {"holds": "=", "deviates": "≠", "cannot be seen": "?", "reported": "·"}
LEGEND = "= holds, ≠ deviates, ? cannot be seen by calls, · reported and not judged"


def _value(given: Given) -> Value:
    """Return a value of a finding as a writer takes it."""
    if isinstance(given, Number):
        return Estimate(given.value, kind=given.kind, unit=given.unit)
    return Listed(given) if isinstance(given, tuple) else given


def sentence(found: Finding) -> Sentence:
    """Return what a probe found in words."""
    return Sentence(found.words, **{name: _value(given) for name, given in found.given.items()})


def titles(card: Card, names: Sequence[str]) -> Listed:
    """Return properties by what they are called."""
    return Listed([card.titles[name] for name in names])


def answer(card: Card) -> Sentence:
    """Return the answer in one sentence: what deviates, or that all that is judged holds."""
    held, against, hidden = card.named("holds"), card.deviates, card.named("cannot be seen")
    target, judged = Code(card.target), len(held) + len(against)
    if against:
        verb = "deviates" if len(against) == 1 else "deviate"
        words = f"{{target}}: {{n}} of {{judged:judged property|judged properties}} {verb}: {{names}}"
        return Sentence(words, target=target, n=len(against), judged=judged, names=titles(card, against))
    if not judged:
        return Sentence("{target}: no property could be judged", target=target)
    words = "{target}: all {judged} judged properties hold" if judged > 1 else "{target}: the judged property holds"
    if hidden:
        words += "; {n} cannot be seen: {names}"
    return Sentence(words, target=target, judged=judged, n=len(hidden), names=titles(card, hidden))


def called(card: Card) -> Sentence:
    """Return what was built and called."""
    words = "held to {of}, " if card.of else ""
    words += "by calls alone: B = {rows}, T = {tokens}, {dtype}; {params:parameter}; {wall}"
    return Sentence(
        words,
        params=card.params,
        rows=card.batch_size,
        tokens=card.seq_len,
        dtype=card.dtype,
        of=card.of,
        wall=Estimate(card.wall_s, kind="duration"),
    )


def table(card: Card) -> Table:
    """Return one row for each property."""
    rows: list[list[Value]] = [
        [card.titles[name], MARKS[found.verdict], sentence(found)] for name, found in card.findings.items()
    ]
    return Table("Properties", ("property", "", "found"), rows, notes=[LEGEND])


def side_by_side(cards: Sequence[Card]) -> Table:
    """Return one row for each property, one column for each model: its mark, with the number that shows a deviation."""
    names = {name: card.titles[name] for card in cards for name in card.findings}
    rows: list[list[Value]] = [[title, *(_cell(card, name) for card in cards)] for name, title in names.items()]
    return Table("Properties", ("property", *(card.target for card in cards)), rows, notes=[LEGEND])


def _cell(card: Card, name: str) -> Value:
    found = card.findings.get(name)
    if found is None:
        return ""
    mark = MARKS[found.verdict]
    if found.verdict in {"deviates", "reported"} and found.number:
        return Sentence("{mark} {number}", mark=mark, number=_value(found.given[found.number]))
    return mark
