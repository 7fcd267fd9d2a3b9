"""Which capacity to take, from a sweep that confirmed its best: a capacity, dense, or what would decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modbench.harness.core.confirm_plan import Role
from modbench.harness.core.errors import UsageError
from modbench.harness.core.units import human_duration
from modbench.reports.model import Sentence
from modbench.reports.questions.confirmation import Answer, answers, of
from modbench.reports.tables.load import Loaded
from modbench.reports.writers.number_format import plain
from modbench.reports.writers.text import wrapped

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


def as_text(found: Capacity, width: int) -> list[str]:
    """The answer as lines."""
    if found.variant is None:
        needs, anchor = "nobody can tell how many seeds would decide", found.answer.verdict("anchor")
        better: list[Role] = [role for role in RIVALS if found.answer.verdict(role) == "worse"]
        if found.answer.control is None and anchor == "better":
            needs = "no control was confirmed, such as routing by noise"
        elif better:
            needs = f"{found.answer.name(better[0])} has a lower loss, and was not compared with the anchor"
        elif anchor == "better" and found.answer.verdict("control") == "equivalent":
            needs = f"{found.answer.name('control')} does as well"
        elif found.more_seeds is not None:
            time = (
                ""
                if found.more_hours is None
                else f", {human_duration(3600 * found.more_hours)} here besides the sweep"
            )
            needs = f"{found.more_seeds} more seeds, other fresh ones{time}"
        first = f"not decided: {needs}"
    else:
        what = "" if found.capacity is None else f": capacity {found.capacity:g}"
        first = f"recommended{what} ({found.variant})"
    return [first, *(line for line in wrapped(list(found.sentences), width - 2) for line in [f"  {line}"])]


def as_dict(found: Capacity) -> dict[str, Any]:
    """The answer for a program."""
    return {
        "budget": found.answer.budget,
        "variant": found.variant,
        "capacity": found.capacity,
        "decided": found.variant is not None,
        "pays": found.answer.pays,
        "more_seeds": found.more_seeds,
        "more_hours": found.more_hours,
        "sentences": [plain(each) for each in found.sentences],
    }
