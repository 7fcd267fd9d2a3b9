"""A card for each claim of the first screen: the numbers behind it, what to doubt, how to measure it again, and its samples.

Below them stands what the audits of the run found of the user's models, as on the page of `modbench audit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from modbench.harness.domain.case import Case
from modbench.reports.model import Block, Estimate, Finding, Listed, Note, Sentence, Table, Value, Verdict
from modbench.reports.panel import Panel
from modbench.reports.panels.numbers import backing
from modbench.reports.questions import audit, win_rate
from modbench.reports.questions.best_setting import first_arm
from modbench.reports.tables import findings
from modbench.reports.tables.load import Loaded, Row, contenders, rung_beside
from modbench.reports.tables.pair_verdicts import SMOKE
from modbench.reports.tables.rerun_command import Again
from modbench.reports.tables.unit_files import Files
from modbench.reports.wording import TIMED
from modbench.reports.writers.html import fill, inline, written

# Arms against the anchor that have a card, besides the arm that is shown first.
MOST_ARMS = 6
# Places of one doubt that are named; doubts of one claim that are listed, and its rows.
MOST_PLACES, MOST_DOUBTS, MOST_ROWS = 3, 8, 24
HEAD = ("Place", "Ratio [95 %]", "Mean ratio [95 %]", "Launches", "Least detectable", "Adjusted p", "Verdict")


@dataclass(frozen=True)
class Claim:
    """A sentence that says something of an arm against another, wherever both were measured."""

    sentence: Sentence
    case: Case
    baseline: Case
    metric: str


def claims(loaded: Loaded) -> list[Claim]:
    """Return the claims of the first screen: the arm shown first against dense of equal cost, then arms against the anchor."""
    if loaded.sizes_differ:
        return []
    first = first_arm(loaded)
    anchor = loaded.baseline
    pairs: list[tuple[Case, Case]] = []
    if first is not None:
        beside = rung_beside(loaded, first)
        pairs += [(first, beside.case)] if beside is not None and beside.case.arm != anchor.arm else []
        pairs.append((first, anchor))
    others = [case for case in contenders(loaded) if first is None or case.arm != first.arm]
    pairs += [(case, anchor) for case in others[:MOST_ARMS]]
    made = []
    for case, baseline in pairs:
        places = win_rate.places(loaded, case, baseline)
        for metric, workload in TIMED.items():
            found = [each for each in places if each.metric == metric]
            said = win_rate.sentence(case, found, baseline)
            if said is not None and win_rate.span(found):
                sentence = Sentence("{workload}: {said}", workload=workload.capitalize(), said=said)
                made.append(Claim(sentence, case, baseline, metric))
    return made


class Cards:
    """Makes the cards of a run's claims: what stands behind each."""

    def __init__(self, loaded: Loaded, made: Sequence[Claim]) -> None:
        self.loaded, self.again = loaded, Again(loaded.run)
        self.anchors = {comparison.arms[0].id for comparison in loaded.plan.comparisons}
        arms = {case.arm for claim in made for case in (claim.case, claim.baseline)}
        self.files = Files(loaded.run, {case.id for case in loaded.plan.cases if case.arm in arms})

    def card(self, claim: Claim) -> dict[str, Any]:
        """Return what the card of a claim shows."""
        found = findings.between(self.loaded, claim.metric, claim.case, claim.baseline)
        pairs = self.loaded.between(claim.metric, claim.case.arm, claim.baseline.arm)
        rows = [self._row(*each) for each in zip(found, pairs, strict=True)]
        label = f"Numbers behind: {inline(claim.sentence).striptags()}"
        numbers = Table(label, HEAD, rows, file="comparisons.csv").first(MOST_ROWS)
        sides = {case.id: case for each in found for case in (each.what, each.against) if isinstance(case, Case)}
        mine = [each.case for each in found]
        wanted = [case for case in sides.values() if case.id not in self.anchors]
        group = self.loaded.tables.source(self.loaded.tables.metrics[claim.metric]).group
        files = dict.fromkeys(file for case in mine for file in self.files.records(case.id, group))
        doubts = self._doubts(found, [*sides.values()], claim.metric)
        again = self.again.if_any(wanted or mine, claim.metric)
        shown = {"sentence": inline(claim.sentence), "numbers": written([numbers])}
        return shown | backing(doubts, [*files], *again, most_doubts=MOST_DOUBTS)

    def _row(self, found: Finding, pair: Row) -> list[Value]:
        """A place: what was found there, and the launches of the arm."""
        if found.status != "ok":
            return [found.place, found.status, "", "", "", "", found.reason]
        own = self.loaded.at(found.metric, found.case.arm, found.place)
        launches = None if own is None or pd.isna(own.n) else int(own.n)
        told = Estimate.of(pair.mde, kind="share"), Estimate.of(pair.p_adjusted, kind="p")
        return [found.place, found.typical, found.other, launches, *told, Verdict(found.verdict)]

    def _doubts(self, found: Sequence[Finding], sides: Sequence[Case], metric: str) -> list[Value]:
        """Return labels and doubts of both sides, reasons of the rows, and checks that are not met; each with where it holds."""
        tables, said = self.loaded.tables, dict[Value, list[Value]]()
        row_of = tables.metrics[metric]
        for case in sides:
            where = Sentence("{arm} at T = {length}", arm=case, length=case.place.seq_len)
            for text in (*tables.row_labels(case, row_of), *tables.doubts_about(case, row_of).values()):
                said.setdefault(text, []).append(where)
        for each in found:
            if each.reason is not None and each.where is not None:
                where = Sentence("T = {length}", length=each.where.seq_len)
                said.setdefault(each.reason, []).append(where)
        if not self.loaded.suite.claims:
            said[SMOKE] = []
        return [_at(text, where) if where else text for text, where in said.items()]


def _at(doubt: Value, where: Sequence[Value]) -> Sentence:
    """A doubt and where it holds, each place once."""
    once = [each for at, each in enumerate(where) if each not in where[:at]]
    return Sentence("{doubt} ({where})", doubt=doubt, where=Listed(once, most=MOST_PLACES))


def render(loaded: Loaded) -> list[Block | Markup]:
    """Show the cards, folded."""
    made, blocks = claims(loaded), list[Block | Markup]()
    if made:
        blocks += [fill("claims", cards=[*map(Cards(loaded, made).card, made)]), Note(_rule(loaded))]
    return [*blocks, *_audits(loaded)]


def _audits(loaded: Loaded) -> list[Block | Markup]:
    """The cards of audited models, folded, and why others have none."""
    cards = [
        {"answer": inline(audit.answer(card)), "found": written(audit.blocks(card))}
        for card in audit.cards(loaded).values()
    ]
    return [*([fill("model_cards", cards=cards)] if cards else []), *audit.failures(loaded)]


def _rule(loaded: Loaded) -> Value:
    """How a verdict is reached."""
    if not loaded.suite.claims:
        return "A smoke run gives no verdicts."
    return Sentence(
        "Faster or slower: the whole 95 % interval of the ratio lies beyond {margin}, and "
        "the difference is significant among the arms at that place (Holm, 5 %). Equivalent: the 90 % interval "
        "lies within {margin}. Different: there is a difference, but it may be smaller than that. Undecided: none of these.",
        margin=Estimate(loaded.suite.margin, kind="share"),
    )


READING = (
    "Each line is a sentence about one model against another, as the first screen sums them up. Unfold it for the numbers "
    "that it rests on, for everything that speaks against it, for the command that measures just this again, and for the "
    "files with its raw samples. The command repeats the measurement on your machine; it need not give the same number."
)

PANEL = Panel(title="What stands behind the answer?", order=12, span=12, render=render, folded=True, reading=READING)
