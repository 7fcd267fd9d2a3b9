"""The first screen in words: what was asked, the answer, how sure it is, and what to doubt."""

from __future__ import annotations

from dataclasses import dataclass

from modbench.harness.core.case import Case
from modbench.reports.questions import search, win_rate
from modbench.reports.sentences import (
    arm_answers,
    break_even_words,
    confirmation_words,
    evidence,
    exchange_words,
    nothing_measured,
    question,
    single_model,
    task_words,
)
from modbench.reports.sentences.question import place_shown
from modbench.reports.tables.contenders import default_arm, rung_beside
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import times


@dataclass(frozen=True)
class Head:
    """The first screen of a report.

    Attributes:
        asked: what was compared with what, one sentence.
        answer: the answer in two sentences about the arm that is shown first; empty where nothing was timed.
        details: the answer arm by arm, from where on it pays, and what its loss would cost in dense compute.
        sure: what the numbers stand on.
        doubts: what a reader should hold against them.
    """

    asked: str
    answer: str
    details: list[str]
    sure: list[str]
    doubts: list[str]


def head(loaded: Loaded) -> Head:
    """Return the first screen of a report."""
    if not loaded.measured:  # why stands above it, among the warnings
        return Head(question.asked(loaded), f"{nothing_measured.NOTHING}.", [], [], [])
    where, short = break_even_words.in_words(loaded), answer(loaded)
    # Where a line is found, counting the places says less.
    details = (
        [*where, *arm_answers.losses(loaded), *filter(None, [place_shown(loaded)])]
        if where
        else arm_answers.lead(loaded, answered=bool(short))
    )
    details += [*exchange_words.in_words(loaded), *task_words.in_words(loaded), *search.in_words(loaded)]
    return Head(question.asked(loaded), short, details, evidence.sure(loaded), evidence.doubts(loaded))


def answer(loaded: Loaded) -> str:
    """Say in two sentences how fast the arm that is shown first is against dense, and against dense of equal cost."""
    if single_model.is_alone(loaded):
        return single_model.in_words(loaded)
    confirmed = confirmation_words.in_words(loaded)
    if confirmed:
        return " ".join(confirmed)
    case = default_arm(loaded)
    if case is None or loaded.run.plan.suite.isoflop is not None:
        return ""
    anchor = loaded.arms[0]
    same = anchor.config.capacity is None and not anchor.own
    others = [(anchor, f"{name(anchor)}{' of the same shape' * same}")]
    beside = rung_beside(loaded, case)
    if beside is not None and beside[0].arm != anchor.arm:
        others.append((beside[0], f"{name(beside[0])} (a dense model of equal cost)"))
    if not any(cell.ratio is not None for other, _ in others for cell in win_rate.held(loaded, case.arm, other.arm)):
        del others[1:]  # that nothing can be compared is said once
    said = [_against(loaded, case, other, called, again=i > 0) for i, (other, called) in enumerate(others)]
    return " ".join(filter(None, said))


def _against(loaded: Loaded, case: Case, other: Case, called: str, *, again: bool = False) -> str:
    """One sentence: `MoD 0.125 is faster than dense of the same shape in 5 of 6 places, failed in 1; ratios 1.29× to 1.70×.`."""
    # A search leaves out places that it does not need; a failure is no such place.
    cells = [cell for cell in win_rate.held(loaded, case.arm, other.arm) if cell.ratio is not None or cell.failed]
    ratios = [cell.ratio for cell in cells if cell.ratio is not None]
    if not cells:
        return ""
    if not ratios:
        return f"{name(case)} has no time to compare with {called}: one of the two failed."
    span = " to ".join(dict.fromkeys(times(end) for end in (min(ratios), max(ratios))))
    who = "it" if again else name(case)
    won, lost = (sum(cell.verdict == word for cell in cells) for word in ("better", "worse"))
    if all(cell.verdict is None for cell in cells):
        said = f"{who} is {span} as fast as {called}, without a verdict"
    elif len(cells) == 1:
        word = "faster" if won else "slower" if lost else "not shown to be faster"
        said = f"{who} is {word} than {called} ({span})"
    else:
        failed = len(cells) - len(ratios)
        disturbed = sum(cell.verdict == "contaminated" for cell in cells)
        more = f", slower in {lost}" * bool(lost) + f", disturbed in {disturbed}" * bool(disturbed)
        more += f", failed in {failed}" * bool(failed)
        said = f"{who} is faster than {called} in {won} of {len(cells)} places{more}; ratios {span}"
    doubts = dict.fromkeys(label for cell in cells for label in cell.doubts)
    but = f" (but: {', '.join(doubts)})" if doubts else ""
    return f"{said if case.own and not again else f'{said[:1].upper()}{said[1:]}'}{but}."
