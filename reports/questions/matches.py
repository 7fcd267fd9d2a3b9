"""Does a model of the user's beat the matched baseline? That is what it has to replace."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.harness.domain.case import Case, MatchedBaseline
from modbench.reports.model import Estimate, Listed, Sentence
from modbench.reports.tables.comparisons import trained_apart
from modbench.reports.tables.findings import between
from modbench.reports.tables.load import Loaded, matched_beside
from modbench.reports.wording import MATCHED

# A matched baseline further than this from equal in what it was solved for is said to be.
MISSED = 0.05
PREDICTED = "latency/forward"


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
