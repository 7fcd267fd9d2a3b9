"""Which capacity to take, from a sweep that confirmed its best: a capacity, dense, or what would decide."""

from __future__ import annotations

from dataclasses import dataclass

from modbench.harness.core.confirm_plan import Role
from modbench.harness.core.errors import UsageError
from modbench.reports.model import Estimate, Sentence
from modbench.reports.questions.confirmation import Answer, answers, of
from modbench.reports.tables.load import Loaded

# What may turn out to be better than the best.
RIVALS: tuple[Role, ...] = ("control", "runner_up")


@dataclass(frozen=True)
class Capacity:
    """An answer.

    Attributes:
        answer: what was confirmed, at the largest budget.
        variant: the recommended variant's display name; None where nothing is decided.
        capacity: its capacity; None for dense, or where nothing is decided.
        sentences: what it rests on.
        more_seeds: fresh seeds of each arm that would decide; None where nothing is open, or nobody can tell.
        more_hours: hours of this machine that they take, besides the sweep, which is run again.
    """

    answer: Answer
    variant: str | None
    capacity: float | None
    sentences: tuple[Sentence, ...]
    more_seeds: int | None = None
    more_hours: float | None = None


def recommend(loaded: Loaded) -> Capacity:
    """Recommend a capacity from a sweep.

    Raises:
        UsageError: if it confirmed nothing.
    """
    found = answers(loaded)
    if not found and loaded.run.plan.suite.confirm is not None and not loaded.run.finished:
        raise UsageError(
            f"{loaded.path} is not finished: its best is not confirmed yet. `modbench resume {loaded.path}` goes on with it."
        )
    if not found:
        raise UsageError(
            "the run is a sweep over sizes that has confirmed nothing: in it no two settings share a shape, and none was tried "
            "on fresh seeds. `modbench run capacity` does so; or recommend from a run of one shape, such as `modbench run quick`."
        )
    most = max(each.budget for each in found)
    answer = next(each for each in found if each.budget == most)
    said = tuple(of(loaded, answer))
    open_ = [each for each in answer.confirmed.compared if each.role != "runner_up" and not each.decided]
    more = max((each.more for each in open_ if each.more is not None), default=None)
    hours = [each for each in map(answer.hours, open_) if each is not None]
    if answer.verdict("anchor") in {"worse", "equivalent"}:
        return Capacity(answer, answer.name("anchor"), None, said)
    if answer.pays and answer.verdict("runner_up") != "worse":
        case = answer.sides["best"].case
        return Capacity(answer, answer.name("best"), case.config.capacity, said)
    return Capacity(answer, None, None, said, more, sum(hours) if hours else None)


def headline(found: Capacity) -> Sentence:
    """Return the answer: a capacity, dense, or what would decide."""
    if found.variant is None:
        return Sentence("not decided: {why}", why=_why(found))
    if found.capacity is None:
        return Sentence("recommended ({arm})", arm=found.variant)
    capacity = Estimate(found.capacity, kind="setting")
    return Sentence("recommended: capacity {capacity} ({arm})", capacity=capacity, arm=found.variant)


def _why(found: Capacity) -> Sentence:
    """Return why nothing is decided, or what would decide."""
    answer, anchor = found.answer, found.answer.verdict("anchor")
    lower = [role for role in RIVALS if answer.verdict(role) == "worse"]
    if answer.control is None and anchor == "better":
        return Sentence("no control was confirmed, such as routing by noise")
    if lower:
        return Sentence("{arm} has a lower loss, and was not compared with the anchor", arm=answer.name(lower[0]))
    if anchor == "better" and answer.verdict("control") == "equivalent":
        return Sentence("{arm} does as well", arm=answer.name("control"))
    if found.more_seeds is None:
        return Sentence("the number of seeds that would decide is unknown")
    hours = None if found.more_hours is None else Estimate(3600 * found.more_hours, kind="duration")
    time = "" if hours is None else Sentence(", {hours} here besides the sweep", hours=hours)
    return Sentence("{seeds} more seeds, other fresh ones{time}", seeds=found.more_seeds, time=time)
