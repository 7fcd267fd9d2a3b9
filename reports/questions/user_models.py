"""Models of the user's: which setting is the fastest, and does it beat the matched baseline, which it has to replace?

A setting is the fastest only where it is significantly faster than all others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from modbench.harness.core.immutable import Frozen
from modbench.harness.domain.case import Case, MatchedBaseline
from modbench.reports.blocks import Estimate, Listed, Sentence, Value
from modbench.reports.questions import win_rate
from modbench.reports.tables.comparisons import trained_apart
from modbench.reports.tables.load import Loaded, default_variant, matched_beside
from modbench.reports.tables.pairs import between
from modbench.reports.wording import MATCHED, TIMED

# A matched baseline further than this from equal in what it was solved for is said to be.
MISSED = 0.05
PREDICTED = "latency/forward"


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
    """Return the setting of a model that is significantly the fastest at the longest length of the first workload that has one.

    The suite's baseline is left out, which has no ratio.
    """
    told = [each for each in best_settings(loaded) if each.variant and each.model == model.short_model]
    told = [each for each in told if each.variant != loaded.baseline.variant]
    found = [each for each in told if each.metric == told[0].metric]
    variant = max(found, key=lambda each: each.seq_len).variant if found else None
    return next((case for case in loaded.variants if case.variant == variant), None)


def first_variant(loaded: Loaded) -> Case | None:
    """Return the variant to show first: the user's model that has a matched baseline, else one of the suite.

    Of a user's model with several settings it is the fastest, if that is significant.
    """
    own = [case for case, *_ in with_matches(loaded) if case.variant != loaded.baseline.variant]
    first = own[0] if own else default_variant(loaded)
    found = fastest(loaded, first) if first is not None and first.is_user_model else None
    return found or first


def subject(loaded: Loaded, case: Case) -> tuple[Value, list[Case]]:
    """Return whom an answer about a variant names, and the variants whose places it counts.

    Of a user's model with several settings it is the fastest; where none significantly is, all of them. Against a matched
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


# --- matched baselines


def with_matches(loaded: Loaded) -> list[tuple[Case, Case, MatchedBaseline]]:
    """Return the user's models that have a matched baseline beside them, with that one."""
    if loaded.sizes_differ:
        return []
    beside = ((case, matched_beside(loaded, case)) for case in loaded.variants if case.is_user_model)
    return [(case, *found) for case, found in beside if found is not None]


def doubts(loaded: Loaded) -> list[Sentence]:
    """Say which matched baselines miss what they were solved for, which models have none, and whose losses are not compared."""
    return [*missed(loaded), *left_out(loaded), *trained_before(loaded)]


def missed(loaded: Loaded) -> Iterator[Sentence]:
    """Say which matched baseline's time or FLOPs, as measured, are not what they were solved to be."""
    for case, match, solved in with_matches(loaded):
        ratio = _measured(loaded, case, match, solved)
        if ratio is not None and abs(ratio - 1) > MISSED:
            what = {PREDICTED: "time"}.get(solved.quantity, MATCHED[solved.quantity])
            yield Sentence(
                "{match} should have the {what} of {variant} at T = {at}: it has {ratio}",
                match=match,
                what=what,
                variant=case,
                at=solved.solved_at,
                ratio=Estimate(ratio, kind="share"),
            )


def _measured(loaded: Loaded, case: Case, match: Case, solved: MatchedBaseline) -> float | None:
    """The matched baseline's time, or its FLOPs, over the model's, as measured where it was solved; None where they were not."""
    if solved.quantity == PREDICTED:
        found = between(loaded, PREDICTED, case, match)
        return next((each.typical.value for each in found if each.grid_point.seq_len == solved.solved_at), None)
    theirs, own = (loaded.value(each.variant, solved.quantity, solved.solved_at) for each in (match, case))
    return theirs / own if theirs and own else None


def left_out(loaded: Loaded) -> Iterator[Sentence]:
    """Say which models of the user's have no matched baseline although the suite asks for one, and why."""
    names = {case.variant: case for case in loaded.variants}
    for variant, why in loaded.plan.no_matches.items():
        yield Sentence("{variant} has no matched baseline: {why}", variant=names.get(variant, variant), why=why)


def trained_before(loaded: Loaded) -> Iterator[Sentence]:
    """Say whose losses are not compared with those of modbench's models, since their weights were trained before."""
    if loaded.trained_metric is None:
        return
    for case in loaded.variants:
        others = [other for other in loaded.variants if trained_apart(case, other) == (case, other)]
        if others:
            yield Sentence(
                "losses of {variant} and {others} are not compared: the weights of the first were trained before",
                variant=case,
                others=Listed(others, last=" and ", most=2),
            )
