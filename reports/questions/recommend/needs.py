"""What would have to be measured before a choice is sure, and the commands that measure it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from modbench.reports.questions.recommend.candidates import LOSSES, Candidate
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.rerun_command import Again, NotAgainError

DOCTOR = "modbench doctor"


@dataclass(frozen=True)
class Need:
    """What one answer lacks.

    Attributes:
        said: what is open, and what would decide it.
        metric: what must be measured, once more or for the first time; None: no command measures it.
        launches: so many in all; 0: as many as were made.
        seeds: the same of seeds.
        seq_len: the length at which a model must be trained; None: that of the suite.
        checked: whether the machine must be checked first.
        claims: whether the run was too short to claim anything.
    """

    said: str
    metric: str | None = None
    launches: int = 0
    seeds: int = 0
    seq_len: int | None = None
    checked: bool = False
    claims: bool = False


def commands(loaded: Loaded, needs: Iterable[tuple[Candidate, Need]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the commands that measure what is lacking, one for each metric, and why there is none for some of it.

    Args:
        loaded: the run.
        needs: what is lacking, each with the setting that it is about.
    """
    needs = list(needs)
    made, why = list[str](), list[str]()
    if any(need.checked for _, need in needs):
        made.append(DOCTOR)
    again = Again(loaded.run)
    for metric in dict.fromkeys(need.metric for _, need in needs if need.metric is not None):
        mine = [(each, need) for each, need in needs if need.metric == metric]
        try:
            made.append(_command(loaded, again, metric, mine))
        except NotAgainError as error:
            why.append(f"No command measures {metric} again: {error}")
    return tuple(made), tuple(why)


def _command(loaded: Loaded, again: Again, metric: str, needs: Sequence[tuple[Candidate, Need]]) -> str:
    suite = loaded.run.plan.suite
    if metric in LOSSES and suite.train is None:
        raise NotAgainError("the suite trains nothing: add a table [train] to it.")
    settings, numbers = dict[str, str](), [need for _, need in needs]
    if any(need.claims for need in numbers):
        settings["--effort"] = "draft"
    if launches := max(need.launches for need in numbers):
        settings["--set launches"] = str(launches)
    if seeds := max(need.seeds for need in numbers):
        more = (seed for seed in range(seeds + len(suite.seeds)) if seed not in suite.seeds)
        settings["--seeds"] = ",".join(str(seed) for seed in [*suite.seeds, *more][:seeds])
    if length := next((need.seq_len for need in numbers if need.seq_len), None):
        settings["--set train.seq_len"] = str(length)
    # Trained in a place of their own, which a run that trained nothing does not have.
    cases = list(dict.fromkeys(each.case for each, _ in needs))
    return again.command(cases, metric, settings, everywhere=metric in LOSSES)
