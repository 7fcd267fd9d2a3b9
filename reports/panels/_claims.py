"""What sentences of the first screen claim, and the evidence behind each: numbers, doubts, and how to measure it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from modbench.harness.core.case import Case, Place
from modbench.reports.model import Sentence
from modbench.reports.questions import win_rate
from modbench.reports.sentences.machine import machine_check
from modbench.reports.tables.contenders import contenders, default_arm, rung_beside
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.rerun_command import Again, NotAgainError
from modbench.reports.tables.unit_files import Files
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import TIMED

# Arms against the anchor that have a card, besides the arm that is shown first.
MOST_ARMS = 6
# Places of one doubt that are named.
MOST_PLACES = 3


@dataclass(frozen=True)
class Claim:
    """A sentence that says something of an arm against another, at some places.

    Attributes:
        sentence: as it stands on the page.
        arm: the arm's id.
        baseline: the other's.
        metric: what was measured.
        places: where; empty: wherever both were measured.
    """

    sentence: Sentence
    arm: str
    baseline: str
    metric: str
    places: tuple[Place, ...] = ()


def claims(loaded: Loaded) -> list[Claim]:
    """Return the claims of the first screen: the arm shown first against dense of equal cost, then arms against the anchor."""
    if loaded.run.plan.suite.isoflop is not None:
        return []
    first = default_arm(loaded)
    anchor = loaded.arms[0]
    pairs: list[tuple[Case, Case]] = []
    if first is not None:
        beside = rung_beside(loaded, first)
        pairs += [(first, beside[0])] if beside is not None and beside[0].arm != anchor.arm else []
        pairs.append((first, anchor))
    others = [case for case in contenders(loaded) if first is None or case.arm != first.arm]
    pairs += [(case, anchor) for case in others[:MOST_ARMS]]
    made = []
    for case, baseline in pairs:
        places = win_rate.places(loaded, case, baseline)
        for workload, metric in TIMED:
            found = [each for each in places if each.metric == metric]
            if win_rate.span(found):
                said = f"{workload.capitalize()}, {{arm}} against {{base}}: {{where}}."
                sentence = Sentence(said, arm=case, base=baseline, where=win_rate.sentence(found))
                made.append(Claim(sentence, case.arm, baseline.arm, metric))
    return made


@dataclass(frozen=True)
class Evidence:
    """What stands behind a claim.

    Attributes:
        claim: the claim.
        rows: rows of `comparisons.csv`, as named tuples; ratios are turned where `turned` says so.
        turned: for each row, whether the arm is its baseline.
        launches: for each row, how many launches the arm was measured in.
        doubts: what to hold against it.
        command: measures it again; None where no command does.
        no_command: why not.
        files: records with the raw samples, in the run folder.
    """

    claim: Claim
    rows: list[Any]
    turned: list[bool]
    launches: list[int | None]
    doubts: list[str]
    command: str | None
    no_command: str
    files: list[str]


class Behind:
    """Finds what stands behind the claims of a run.

    Args:
        loaded: the run.
        made: the claims in question.
    """

    def __init__(self, loaded: Loaded, made: Sequence[Claim]) -> None:
        self.loaded, self.again = loaded, Again(loaded.run)
        every = loaded.run.plan.cases
        self.cases = {case.id: case for case in every}
        self.anchors = {comparison.arms[0].id for comparison in loaded.run.plan.comparisons}
        arms = {arm for claim in made for arm in (claim.arm, claim.baseline)}
        self.files = Files(loaded.run, {case.id for case in every if case.arm in arms})
        self.counts = dict(
            zip(zip(loaded.cases.case_id, loaded.cases.metric, strict=True), loaded.cases.n, strict=True)
        )
        self.machine = machine_check(loaded)

    def evidence(self, claim: Claim) -> Evidence:
        """Return what stands behind a claim."""
        rows = self.loaded.between(claim.metric, claim.arm, claim.baseline)
        rows = [row for row in rows if not claim.places or self.cases[row.case_id].place in claim.places]
        turned = [row.arm != claim.arm for row in rows]
        mine = [row.baseline_case_id if flip else row.case_id for row, flip in zip(rows, turned, strict=True)]
        theirs = [row.case_id if flip else row.baseline_case_id for row, flip in zip(rows, turned, strict=True)]
        launches = [self.counts.get((case, claim.metric), pd.NA) for case in mine]
        wanted = [self.cases[case] for case in dict.fromkeys([*mine, *theirs]) if case not in self.anchors]
        try:
            command, why = self.again.command(wanted or [self.cases[case] for case in mine], claim.metric), ""
        except NotAgainError as error:
            command, why = None, str(error)
        group = self.loaded.tables.source(self.loaded.tables.metrics[claim.metric]).group
        files = [file for case in dict.fromkeys(mine) for file in self.files.records(case, group)]
        return Evidence(
            claim,
            rows,
            turned,
            [None if pd.isna(n) else int(n) for n in launches],
            self._doubts(rows, [*mine, *theirs], claim.metric),
            command,
            why,
            list(dict.fromkeys(files)),
        )

    def _doubts(self, rows: Sequence[Any], ids: Sequence[str], metric: str) -> list[str]:
        """Return labels and doubts of both sides, reasons of the rows, and checks that are not met; each with where it holds."""
        tables, found = self.loaded.tables, dict[str, list[str]]()
        known = tables.metrics[metric]

        def say(text: str, *where: str) -> None:
            found.setdefault(text, []).extend(where)

        for case in (self.cases[case] for case in dict.fromkeys(ids)):
            where = f"{name(case)} at T = {case.place.seq_len:,}"
            for text in (*tables.row_labels(case, known), *tables.doubts_about(case, known).values()):
                say(text, where)
        for row in rows:
            if isinstance(row.reason, str):
                say(row.reason, f"T = {row.seq_len:,}")
        if not self.loaded.run.plan.suite.claims:
            say("a smoke run makes no claims")
        status, words = self.machine
        if status != "fit":
            say(words.lstrip("●○⚠✗ "))
        return [f"{text} ({_listed(where)})" if where else text for text, where in found.items()]


def _listed(where: Sequence[str]) -> str:
    each = list(dict.fromkeys(where))
    return ", ".join(each[:MOST_PLACES]) + (f" and {len(each) - MOST_PLACES} more" if len(each) > MOST_PLACES else "")
