"""The answer of a report in words: first in short, then arm by arm."""

from __future__ import annotations

from modbench.harness.core.case import Case, Rung
from modbench.reports.questions import isoflop, win_rate
from modbench.reports.sentences.evidence import seeds_in_words
from modbench.reports.sentences.question import place_shown
from modbench.reports.tables.cases import looked_ahead
from modbench.reports.tables.contenders import contenders, rung_beside
from modbench.reports.tables.load import Loaded, evenly
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import MATCHED

# Arms that the answer is about; the rest are counted.
MOST_ANSWERS = 24
# Lengths at which a rung's distance from its target is said.
MOST_GAPS = 4


def lead(loaded: Loaded, *, answered: bool = False) -> list[str]:
    """Say for every arm where it pays: against the dense model of equal cost, then against that of the same shape.

    Args:
        loaded: the run.
        answered: whether the answer in short stands above this: of a single arm what it has said is then left out.
    """
    if loaded.run.plan.suite.isoflop is not None:  # sizes differ, so that no single speed-up exists
        return isoflop.in_words(loaded)
    beside = [(case, rung_beside(loaded, case)) for case in contenders(loaded)]
    said = [_answer(loaded, case, *rung) for case, rung in beside[:MOST_ANSWERS] if rung is not None]
    others = [case for case, rung in beside[:MOST_ANSWERS] if rung is None]
    if not (answered and len(beside) == len(others) == 1 and win_rate.all_in_short(_cells(loaded, others[0]))):
        said.append(_others(loaded, others))
    said = [sentence for sentence in said if sentence]
    if said and len(beside) > MOST_ANSWERS:
        said.append(f"{len(beside) - MOST_ANSWERS:,} further arms are in comparisons.csv.")
    return [*said, *filter(None, [place_shown(loaded)])]


def losses(loaded: Loaded) -> list[str]:
    """Say for every arm with a dense model of equal cost how their losses differ."""
    beside = [(case, rung_beside(loaded, case)) for case in contenders(loaded)[:MOST_ANSWERS]]
    said = [
        _loss(loaded, case, rung[0]).strip().replace("It ends", f"{name(case)} ends") for case, rung in beside if rung
    ]
    return [sentence for sentence in said if sentence]


def _answer(loaded: Loaded, case: Case, rung: Case, solved: Rung) -> str:
    """Say where an arm pays against the dense model of equal cost, then against the baseline; empty if it was not timed."""
    against = _cells(loaded, case)
    loss = _loss(loaded, case, rung)
    if not against:
        return loss.strip().replace("It ends", f"{name(case)} ends")
    called = f"{name(rung)}, the dense model of equal {MATCHED[solved.quantity]} at T = {solved.solved_at:,}"
    equal = win_rate.in_words(win_rate.held(loaded, case.arm, rung.arm))
    shape = win_rate.of(f"Against {_baseline(loaded)}", against, pronoun="it ")
    said = f"{name(case)} against {called}: {equal}."
    return said + (f" {shape}." if rung.arm != loaded.arms[0].arm else "") + loss


def _others(loaded: Loaded, arms: list[Case]) -> str:
    """Say where the arms pay that have no dense model of equal cost beside them: one sentence for all."""
    parts = [win_rate.of(name(case), cells) for case in arms if (cells := _cells(loaded, case))]
    return f"Against {_baseline(loaded)}: {'. '.join(parts)}." if parts else ""


def _cells(loaded: Loaded, case: Case) -> list[win_rate.Held]:
    return win_rate.held(loaded, case.arm, loaded.arms[0].arm)


def _baseline(loaded: Loaded) -> str:
    anchor = loaded.arms[0]
    same = anchor.config.capacity is None and not anchor.rung and not anchor.own
    return name(anchor) + " of the same shape" * same


def _loss(loaded: Loaded, case: Case, rung: Case) -> str:
    """Compare the losses of an arm and its rung, if both were trained, and say from how many seeds."""
    mine, theirs = loaded.value(case.arm, "bpb/val"), loaded.value(rung.arm, "bpb/val")
    if mine is None or theirs is None:
        return ""
    pair = loaded.pair(case.arm, "bpb/val")
    future = "; top-k routing saw the future" if pair is not None and looked_ahead(pair) else ""
    order = "above" if theirs < mine else "below"
    return f" It ends {abs(theirs - mine):.3f} bits/byte {order} {name(rung)} ({seeds_in_words(loaded)}{future})."


def residuals(loaded: Loaded) -> str:
    """Say how far each rung is from its target's FLOPs at every length: it was solved for one of them."""
    names = {case.arm: name(case) for case in loaded.arms}
    said = [
        f"{names[rung.arm]} against {names.get(rung.target, rung.target)} "
        + ("" if rung.quantity == "flops/forward" else f"({MATCHED[rung.quantity]}) ")
        + ", ".join(f"{gap:+.1%} at T = {length}" for length, gap in evenly(list(rung.gaps.items()), MOST_GAPS))
        for rung in loaded.run.plan.ladder[:MOST_ANSWERS]
        if rung.arm in names
    ]
    return f"FLOPs of the dense ladder: {'; '.join(said)}." if said else ""
