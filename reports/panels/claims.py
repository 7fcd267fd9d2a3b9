"""A card for each claim of the first screen: the numbers behind it, what to doubt, how to measure it again, and its samples.

Below them stands what the audits of the run found of the user's models, as on the page of `modbench audit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from modbench.harness.core.contracts import AnyMetric
from modbench.harness.core.grouped import grouped
from modbench.harness.domain.case import Case
from modbench.reports.model import Block, Estimate, Finding, Listed, Sentence, Table, Value
from modbench.reports.panel import Panel
from modbench.reports.panels.numbers import backing
from modbench.reports.questions import audit, win_rate
from modbench.reports.questions.best_setting import first_arm
from modbench.reports.tables import findings
from modbench.reports.tables.load import Loaded, Row, contenders, rung_beside
from modbench.reports.tables.rerun_command import Again
from modbench.reports.tables.unit_files import Files
from modbench.reports.wording import TIMED, verdict_words
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


def card(loaded: Loaded, claim: Claim, again: Again, files: Files) -> dict[str, Any]:
    """Return what the card of a claim shows: its numbers, what speaks against them, the command and the files behind them."""
    metric = loaded.tables.metrics[claim.metric]
    found = findings.between(loaded, claim.metric, claim.case, claim.baseline)
    pairs = loaded.between(claim.metric, claim.case.arm, claim.baseline.arm)
    rows = [_row(loaded, *each) for each in zip(found, pairs, strict=True)]
    label = f"Numbers behind: {inline(claim.sentence).striptags()}"
    numbers = Table(label, HEAD, rows, file="comparisons.csv").first(MOST_ROWS)
    sides = {case.id: case for each in found for case in (each.what, each.against) if isinstance(case, Case)}
    anchors = {comparison.arms[0].id for comparison in loaded.plan.comparisons}  # measured again in any case
    wanted = [case for case in sides.values() if case.id not in anchors] or [each.case for each in found]
    group = loaded.tables.source(metric).group
    paths = dict.fromkeys(file for each in found for file in files.records(each.case.id, group))
    shown = {"sentence": inline(claim.sentence), "numbers": written([numbers])}
    doubts = _doubts(loaded, found, [*sides.values()], metric)
    return shown | backing(doubts, [*paths], *again.if_any(wanted, claim.metric), most_doubts=MOST_DOUBTS)


def _row(loaded: Loaded, found: Finding, pair: Row) -> list[Value]:
    """A place: what was found there, and the launches of the arm."""
    if found.status != "ok":
        return [found.place, found.status, "", "", "", "", found.reason]
    own = loaded.at(found.metric, found.case.arm, found.place)
    launches = None if own is None or pd.isna(own.n) else int(own.n)
    told = Estimate.of(pair.mde, kind="share"), Estimate.of(pair.p_adjusted, kind="p")
    return [found.place, found.typical, found.other, launches, *told, verdict_words(found.verdict)]


def _doubts(loaded: Loaded, found: Sequence[Finding], sides: Sequence[Case], metric: AnyMetric) -> list[Value]:
    """Return labels and doubts of both sides and reasons of the rows, each with where it holds."""
    tables = loaded.tables
    said: list[tuple[Value, Value]] = [
        (text, Sentence("{arm} at T = {length}", arm=case, length=case.place.seq_len))
        for case in sides
        for text in (*tables.row_labels(case, metric), *tables.doubts_about(case, metric).values())
    ]
    said += [
        (each.reason, Sentence("T = {length}", length=each.place.seq_len)) for each in found if each.reason is not None
    ]
    return [
        Sentence("{doubt} ({where})", doubt=text, where=Listed([*dict.fromkeys(where)], most=MOST_PLACES))
        for text, where in grouped(said).items()
    ]


def render(loaded: Loaded) -> list[Block | Markup]:
    """Show the cards, folded; below them those of audited models, and why others have none."""
    made, blocks = claims(loaded), list[Block | Markup]()
    if made:
        arms = {case.arm for claim in made for case in (claim.case, claim.baseline)}
        files = Files(loaded.run, {case.id for case in loaded.plan.cases if case.arm in arms})
        again = Again(loaded.run)
        blocks.append(fill("claims", cards=[card(loaded, claim, again, files) for claim in made]))
    cards = [
        {"answer": inline(audit.answer(card)), "found": written(audit.blocks(card))}
        for card in audit.cards(loaded).values()
    ]
    return [*blocks, *([fill("model_cards", cards=cards)] if cards else []), *audit.failures(loaded)]


READING = (
    "Each line is a sentence about one model against another, as the first screen sums them up. Unfold it for the numbers "
    "that it rests on, for everything that speaks against it, for the command that measures just this again, and for the "
    "files with its raw samples. The command repeats the measurement on your machine; it need not give the same number. "
    "Faster or slower: the whole 95 % interval of the ratio lies beyond the suite's margin, and the difference is significant "
    "among the arms at that place (Holm, 5 %). Equivalent: the 90 % interval lies within the margin. Different: there is a "
    "difference, but it may be smaller than that. Undecided: none of these."
)

PANEL = Panel(title="What stands behind the answer?", order=12, span=12, render=render, folded=True, reading=READING)
