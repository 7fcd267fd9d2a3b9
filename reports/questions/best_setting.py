"""Which setting of a user's model is the fastest, and from which length on: told only where it is told apart from all others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modbench.harness.domain.case import Case
from modbench.reports.model import Sentence, Value
from modbench.reports.questions import rivals, win_rate
from modbench.reports.tables.load import Loaded, default_arm
from modbench.reports.wording import TIMED


@dataclass(frozen=True)
class Best:
    """The fastest setting of a model at one place.

    Attributes:
        metric: which time.
        case: the fastest there; of another setting where none is told apart.
        told_apart: whether it is shown to be faster than every other setting.
        settings: how many were timed there.
    """

    metric: str
    case: Case
    told_apart: bool
    settings: int


def settings_of(loaded: Loaded, case: Case) -> list[Case]:
    """Return the arms of a user's model, the baseline among them; none of a model with one arm, or of ours."""
    alike = [each for each in loaded.arms if each.model == case.model and not each.twin]
    return alike if case.is_user_model and len(alike) > 1 else []


def best_settings(loaded: Loaded) -> list[Best]:
    """Return the fastest setting of each user's model that has several, at every place where they were timed."""
    firsts = {case.model: case for case in reversed(loaded.arms)}
    models = [case for case in loaded.arms if firsts[case.model] is case and settings_of(loaded, case)]
    return [each for case in models for each in _best(loaded, case)] if loaded.suite.claims else []


def rows(loaded: Loaded) -> list[dict[str, Any]]:
    """Return the same as data: the arm is null where none is told apart."""
    return [
        {
            "model": each.case.short_model,
            "metric": each.metric,
            **each.case.place.model_dump(include={"seq_len", "batch_size", "dtype"}),
            "settings": each.settings,
            "arm": each.case.arm if each.told_apart else None,
        }
        for each in best_settings(loaded)
    ]


def _best(loaded: Loaded, model: Case) -> Iterator[Best]:
    for metric, comparison in itertools.product(TIMED, loaded.plan.comparisons):
        timed = {
            case.arm: case
            for case in comparison.arms
            if case.model == model.model
            and not case.twin
            and metric in comparison.metrics
            and (case.id, metric) in loaded.values
        }
        # Of very many arms not all pairs are compared.
        if len(timed) > 1 and all(loaded.between(metric, *pair) for pair in itertools.combinations(timed, 2)):
            arm = win_rate.best(loaded, metric, {arm: case.id for arm, case in timed.items()})
            case = timed[arm] if arm else next(iter(timed.values()))
            yield Best(metric, case, arm is not None, len(timed))


def fastest(loaded: Loaded, model: Case) -> Case | None:
    """Return the setting of a model that is told apart as fastest at the longest length of the first workload that has one.

    The anchor is left out, which has no ratio.
    """
    anchor = loaded.baseline.arm
    told = [each for each in best_settings(loaded) if each.told_apart and each.case.model == model.model]
    told = [each for each in told if each.case.arm != anchor]
    found = [each for each in told if each.metric == told[0].metric]
    return max(found, key=lambda each: each.case.place.seq_len).case if found else None


def first_arm(loaded: Loaded) -> Case | None:
    """Return the arm to show first: the user's model whose rival the answer names, else one of the suite.

    Of a user's model with several settings it is the fastest, if one is told apart.
    """
    own = [case for case, *_ in rivals.with_rivals(loaded) if case.arm != loaded.baseline.arm]
    first = own[0] if own else default_arm(loaded)
    found = fastest(loaded, first) if first is not None and first.is_user_model else None
    return first if found is None else next(case for case in loaded.arms if case.arm == found.arm)


def subject(loaded: Loaded, case: Case) -> tuple[Value, list[Case]]:
    """Return whom an answer about an arm names, and the arms whose places it counts.

    Of a user's model with several settings it is the fastest; where none is told apart, all of them. A rung costs as much as one
    of them: against it, and of other models, it is the arm itself.
    """
    settings = [] if loaded.baseline.rung else settings_of(loaded, case)
    if not settings:
        return case, [case]
    if fastest(loaded, case) is not None:
        return Sentence("{arm}, the fastest of {n} settings,", arm=case, n=len(settings)), [case]
    words = "{model} ({n} settings, none told apart as the fastest)"
    others = [each for each in settings if each.arm != loaded.baseline.arm]
    return Sentence(words, model=model_of(case), n=len(settings)), others


def model_of(case: Case) -> Case:
    """Return a case whose name is that of its model alone."""
    return case.with_title("").model_copy(update={"arm_parts": (), "rung": False})
