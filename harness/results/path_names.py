"""Checks the names in a stored plan: they become paths, and the plan may come from a stranger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from modbench.harness.core.errors import UnreadableError, UsageError, shown
from modbench.harness.core.files import problem_of_name
from modbench.harness.core.printable import is_printable
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.planning.plan import Plan
from modbench.harness.registry import catalogue
from modbench.harness.registry.catalogue import BrokenError
from modbench.harness.results import user_files
from modbench.harness.results.user_files import Origin


def check(plan: Plan, file: Path, included: Sequence[Origin] = ()) -> None:
    """Check that every name in a plan that becomes part of a path is that of a plain file, and that its passes are known.

    Args:
        plan: the plan.
        file: run.json.
        included: folders and packages that the run began with.

    Raises:
        UsageError: if one is not; the message names the file and the field.
    """
    _check_paths(plan, file)
    _check_known(plan, file, included)


def _check_paths(plan: Plan, file: Path) -> None:
    for at, unit in enumerate(plan.units):
        check_unit(unit, f"{file}: damaged at plan.units.{at}")
    for at, group in enumerate(plan.groups):
        if (wrong := problem_of_name(group.name)) is not None:
            raise UnreadableError(f"{file}: damaged at plan.groups.{at}.name: {shown(group.name)} {wrong}.")
    for at, comparison in enumerate(plan.comparisons):
        for case in comparison.arms:
            for text in (case.model, case.task, *case.arm_parts, *map(str, case.options)):
                if not is_printable(text):
                    raise UnreadableError(
                        f"{file}: damaged at plan.comparisons.{at}.arms: {shown(text)} holds control characters."
                    )


def check_unit(unit: UnitOfWork, where: str) -> None:
    """Check that the names in a unit that become part of a path are those of plain files; `where` begins the message.

    Raises:
        UsageError: if one is not; the message names the field.
    """
    for field, name in _names(unit):
        wrong = problem_of_name(name)
        if wrong is not None:
            raise UsageError(f"{where}.{field}: {shown(name)} {wrong}. modbench writes no such name.")
    if unit.protocol.trace is not None:
        raise UsageError(f"{where}.protocol.trace: a run writes no trace.")


def _names(unit: UnitOfWork) -> Iterator[tuple[str, str]]:
    yield "name", unit.name
    if unit.series:
        yield "series", unit.series
    if unit.group:
        yield "group", unit.group
    if unit.comparison.name:
        yield "comparison.name", unit.comparison.name
    train = unit.protocol.train
    if train is not None and train.rate_from is not None:
        yield "protocol.train.rate_from", train.rate_from


def _check_known(plan: Plan, file: Path, included: Sequence[Origin]) -> None:
    """Refuse a plan that names a metric, a pass or a sink from a folder that is not included here."""
    every = (*plan.comparisons, *(unit.comparison for unit in plan.units))
    metrics = {key for comparison in every for key in comparison.metrics} | {*plan.suite.metrics}
    passes = {unit.made_in for unit in plan.units}
    for kind, unknown in (
        ("metric", metrics - catalogue.metrics().keys()),
        ("pass", passes - catalogue.passes().keys()),
        ("rule", {group.rule for group in plan.groups} - catalogue.entries("rules").keys()),
        ("sink", user_files.sinks(plan.units) - catalogue.entries("sinks").keys()),
    ):
        for name in sorted(unknown):
            raise UsageError(
                f"{file}: it uses the {kind} {shown(name)}, which this modbench does not have. {_from(kind, name, included)}"
            )


def _from(kind: str, name: str, included: Sequence[Origin]) -> str:
    """Where a name may come from."""
    kinds = "passes" if kind == "pass" else f"{kind}s"
    wrong = [e for e in catalogue.broken(kinds) if kind == "metric" or e.name == name]
    if wrong:
        return str(BrokenError(wrong[0]))
    gone = user_files.missing_sources(included)
    if gone:
        more = f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""
        return f"The run began with {gone[0].in_words()}{more}."
    return "If it is your own, name its folder with --include DIR."
