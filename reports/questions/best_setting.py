"""Which setting of a user's model is the fastest, at each place: only where it is significantly faster than all others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from modbench.harness.core.immutable import Frozen
from modbench.harness.domain.case import Case
from modbench.reports.model import Sentence, Value
from modbench.reports.questions import matches, win_rate
from modbench.reports.tables.load import Loaded, default_variant
from modbench.reports.wording import TIMED


class BestSetting(Frozen):
    """The fastest of several settings of a user's model at one place.

    Attributes:
        model: the model.
        metric: which time.
        seq_len: tokens per sequence.
        batch_size: sequences per call.
        dtype: number format.
        settings: how many were timed there.
        variant: the one that is shown to be faster than every other; null where none is.
    """

    model: str
    metric: str
    seq_len: int
    batch_size: int
    dtype: str
    settings: int
    variant: str | None


def settings_of(loaded: Loaded, case: Case) -> list[Case]:
    """Return the variants of a user's model, the baseline among them; none of a model with one variant, or of ours."""
    alike = [each for each in loaded.variants if each.model == case.model and not each.aa_control]
    return alike if case.is_user_model and len(alike) > 1 else []


def best_settings(loaded: Loaded) -> list[BestSetting]:
    """Return the fastest setting of each user's model that has several, at every place where they were timed."""
    firsts = {case.model: case for case in reversed(loaded.variants)}
    models = [case for case in loaded.variants if firsts[case.model] is case and settings_of(loaded, case)]
    return [each for case in models for each in _best(loaded, case)] if loaded.suite.claims else []


def _best(loaded: Loaded, model: Case) -> Iterator[BestSetting]:
    planned = ((metric, each) for metric in TIMED for each in loaded.plan.comparisons if metric in each.metrics)
    for metric, comparison in planned:
        settings = [case for case in comparison.variants if case.model == model.model and not case.aa_control]
        timed = {case.variant: case.id for case in settings if (case.id, metric) in loaded.values}
        # Of very many variants not all pairs are compared.
        if len(timed) > 1 and all(loaded.between(metric, *pair) for pair in itertools.combinations(timed, 2)):
            yield BestSetting(
                model=model.short_model,
                metric=metric,
                **comparison.grid_point.model_dump(include={"seq_len", "batch_size", "dtype"}),
                settings=len(timed),
                variant=win_rate.best(loaded, metric, timed),
            )


def fastest(loaded: Loaded, model: Case) -> Case | None:
    """Return the setting of a model that is told apart as fastest at the longest length of the first workload that has one.

    The anchor is left out, which has no ratio.
    """
    told = [each for each in best_settings(loaded) if each.variant and each.model == model.short_model]
    told = [each for each in told if each.variant != loaded.baseline.variant]
    found = [each for each in told if each.metric == told[0].metric]
    variant = max(found, key=lambda each: each.seq_len).variant if found else None
    return next((case for case in loaded.variants if case.variant == variant), None)


def first_variant(loaded: Loaded) -> Case | None:
    """Return the variant to show first: the user's model that has a matched baseline, else one of the suite.

    Of a user's model with several settings it is the fastest, if one is told apart.
    """
    own = [case for case, *_ in matches.with_matches(loaded) if case.variant != loaded.baseline.variant]
    first = own[0] if own else default_variant(loaded)
    found = fastest(loaded, first) if first is not None and first.is_user_model else None
    return found or first


def subject(loaded: Loaded, case: Case) -> tuple[Value, list[Case]]:
    """Return whom an answer about a variant names, and the variants whose places it counts.

    Of a user's model with several settings it is the fastest; where none is told apart, all of them. Against a matched
    baseline, which costs as much as one of them, and of other models it is the variant itself.
    """
    settings = [] if loaded.baseline.matched else settings_of(loaded, case)
    if not settings:
        return case, [case]
    if fastest(loaded, case) is not None:
        return Sentence("{variant}, the fastest of {n} settings,", variant=case, n=len(settings)), [case]
    # Its name is that of the model alone.
    model = case.with_title("").model_copy(update={"variant_parts": (), "matched": False})
    others = [each for each in settings if each.variant != loaded.baseline.variant]
    return Sentence("{model} ({n} settings, none is the fastest)", model=model, n=len(settings)), others
