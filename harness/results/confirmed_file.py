"""Reads the file of a confirmation that has ended, which may be damaged or a stranger's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from modbench.harness.planning.confirming import Confirmation
from modbench.harness.results.confirmed import AGAIN, Confirmed, file_of
from modbench.harness.results.reading import DamagedError, Problem, load, parse, shown


def read(run: Path, made: Confirmation) -> Confirmed | None:
    """Read what a confirmation found; None if it has not ended.

    Raises:
        DamagedError: if the file is damaged, or no confirmation of this plan can have left it.
    """
    file = file_of(run, made.name)
    if not file.is_file():
        return None
    told = parse(Confirmed, load(file), file)
    for problem in _impossible(made, told):
        raise DamagedError(file, f"{problem}. {AGAIN}")
    return told


def _impossible(made: Confirmation, told: Confirmed) -> Iterator[Problem]:
    """What no confirmation of this plan can have left; what it says of the losses is held against the records elsewhere."""
    if told.name != made.name:
        yield Problem(("name",), f"{shown(told.name)} is another confirmation")
    if told.reason is not None:
        if told.chosen or told.compared:
            yield Problem(("reason",), "nothing was confirmed, but something chosen")
        return
    if tuple(each.role for each in told.chosen) != made.plan.roles:
        yield Problem(("chosen",), f"the plan has the roles {', '.join(made.plan.roles)}")
    if tuple(each.role for each in told.compared) != made.plan.rivals:
        yield Problem(("compared",), f"the plan compares the best with {', '.join(made.plan.rivals)}")
    if told.margin is None or told.margin <= 0:
        yield Problem(("margin",), "no difference that was to be told from none")
    for i, each in enumerate(told.chosen):
        fresh = made.fresh.get(each.case)
        if fresh is None or each.variant != made.cases[each.case].variant:
            yield Problem(("chosen", i, "case"), f"{shown(each.case)} was not planned as {shown(each.variant)}")
        elif each.seeds != tuple(fresh)[: len(each.seeds)]:
            yield Problem(("chosen", i, "seeds"), "not the first of the fresh seeds")
