"""Does a model of the user's beat the dense model of equal cost? That is what it has to replace."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.harness.domain.case import Case, Rung
from modbench.reports.model import Estimate, Listed, Sentence
from modbench.reports.tables.comparisons import trained_apart
from modbench.reports.tables.findings import between
from modbench.reports.tables.load import Loaded, rung_beside
from modbench.reports.wording import MATCHED

# A rival further than this from equal in what it was solved for is said to be.
MISSED = 0.05
PREDICTED = "latency/forward"


def with_rivals(loaded: Loaded) -> list[tuple[Case, Case, Rung]]:
    """Return the user's models that have a dense model of equal cost beside them, with that one."""
    if loaded.sizes_differ:
        return []
    beside = ((case, rung_beside(loaded, case)) for case in loaded.arms if case.is_user_model)
    return [(case, *found) for case, found in beside if found is not None]


def doubts(loaded: Loaded) -> list[Sentence]:
    """Say which rivals are not what they were solved to be, which models have none, and whose losses are not compared."""
    return [*missed(loaded), *left_out(loaded), *trained_before(loaded)]


def missed(loaded: Loaded) -> Iterator[Sentence]:
    """Say which rival's time or FLOPs, as measured, are not what they were solved to be."""
    for case, rival, solved in with_rivals(loaded):
        ratio = _measured(loaded, case, rival, solved)
        if ratio is not None and abs(ratio - 1) > MISSED:
            what = {PREDICTED: "time"}.get(solved.quantity, MATCHED[solved.quantity])
            yield Sentence(
                "{rival} should have the {what} of {arm} at T = {at}: it has {ratio}",
                rival=rival,
                what=what,
                arm=case,
                at=solved.solved_at,
                ratio=Estimate(ratio, kind="share"),
            )


def _measured(loaded: Loaded, case: Case, rival: Case, solved: Rung) -> float | None:
    """The rival's time, or its FLOPs, over the model's, as measured where it was solved; None where they were not."""
    if solved.quantity == PREDICTED:
        found = between(loaded, PREDICTED, case, rival)
        return next((each.typical.value for each in found if each.place.seq_len == solved.solved_at), None)
    theirs, own = (loaded.value(each.arm, solved.quantity, solved.solved_at) for each in (rival, case))
    return theirs / own if theirs and own else None


def left_out(loaded: Loaded) -> Iterator[Sentence]:
    """Say which models of the user's have no rival although the suite asks for one, and why."""
    names = {case.arm: case for case in loaded.arms}
    for arm, why in loaded.plan.no_rivals.items():
        yield Sentence("{arm} has no matched baseline: {why}", arm=names.get(arm, arm), why=why)


def trained_before(loaded: Loaded) -> Iterator[Sentence]:
    """Say whose losses are not compared with those of modbench's models, since their weights were trained before."""
    if loaded.trained_metric is None:
        return
    for case in loaded.arms:
        others = [other for other in loaded.arms if trained_apart(case, other) == (case, other)]
        if others:
            yield Sentence(
                "losses of {arm} and {others} are not compared: the weights of the first were trained before",
                arm=case,
                others=Listed(others, last=" and ", most=2),
            )
