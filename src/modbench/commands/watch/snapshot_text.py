"""A snapshot of a run as `modbench watch` prints it: a few lines that fit the terminal, or JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from modbench.commands.watch.run_snapshot import Failure, RunSnapshot
from modbench.harness.core.masking import masked
from modbench.harness.core.printable import SCREEN, escaped
from modbench.harness.core.units import human_duration, human_span

# Running units and decisions that a screen lists; failures take the rest of it, at least so many.
MOST, FEWEST = 4, 3


def as_json(snapshot: RunSnapshot) -> dict[str, Any]:
    """The run as JSON values; null where something is not known."""
    groups = [dataclasses.asdict(group) | {"units": group.units} for group in snapshot.groups]
    return dataclasses.asdict(snapshot) | {"groups": groups, "complete": snapshot.complete, "next": snapshot.next_step}


def as_lines(snapshot: RunSnapshot, width: int = 80, height: int | None = None, *, verbose: bool = False) -> list[str]:
    """The run in a screen of lines; with a height, in so many lines of at most `width` characters.

    Failures for one reason are one entry with their number. Verbosely, each is listed, and nothing is left out.
    Text from the folder, which may come from somebody else, is shown without control characters, and masked before lines are cut.
    """
    most = None if verbose else MOST
    lines = [f"{snapshot.suite}, {snapshot.effort}, {snapshot.device}: {_state(snapshot)}"]
    lines += [f"machine  {snapshot.machine}"] if snapshot.machine else []
    lines += [f"runner   {snapshot.runner}, launcher {snapshot.launcher}"] if not snapshot.complete else []
    lines += ["", *_table(snapshot)]
    lines += _listed("running", [[f"{each.said or 'started'} ({each.unit})"] for each in snapshot.running], most)
    lines += _listed("decided", [[each] for each in snapshot.decisions], most)
    room = None if verbose else max(FEWEST, ((height or SCREEN) - len(lines) - 5) // 2)
    lines += _listed("failed", _failures(snapshot.failures, merged=not verbose), room, "more reasons")
    if snapshot.next_step:
        lines += ["", f"Its runner is gone. To continue: {snapshot.next_step}"]
    shown = [_cut(masked(line), width, long=height is None) for line in lines]
    return shown if height is None else shown[: max(1, height)]


def _listed(title: str, entries: Sequence[Sequence[str]], most: int | None, left_out_are: str = "more") -> list[str]:
    """The lines of the first entries below a title, and the number of those left out."""
    if not entries:
        return []
    left_out = len(entries) - len(entries[:most])
    more = [f"  and {left_out} {left_out_are}"] if left_out else []
    return ["", title, *(f"  {line}" for entry in entries[:most] for line in entry), *more]


def _state(snapshot: RunSnapshot) -> str:
    """`running for 3 min 10 s, about 2 min 00 s left`; `2 to 9 min left` while more may be asked for."""
    elapsed = human_duration(snapshot.elapsed_s) if snapshot.elapsed_s is not None else None
    if snapshot.complete:
        return f"finished in {elapsed}" if elapsed else "finished"
    left = (
        f"{human_span(snapshot.left_s, snapshot.most_s)} left"
        if snapshot.left_s is not None and snapshot.most_s is not None
        else ""
    )
    if left and not snapshot.more:
        left = f"about {left}"
    if snapshot.state == "running":
        return ", ".join(filter(None, [f"running for {elapsed}" if elapsed else "running", left]))
    return f"stopped, {left.removesuffix(' left')} to run" if left else "stopped"


def _table(snapshot: RunSnapshot) -> list[str]:
    """Units by pass and in all."""
    numbers: dict[str, tuple[int, ...]] = {
        group.name: (group.units, group.done, group.running, group.waiting, group.failed) for group in snapshot.groups
    }
    if len(numbers) > 1:
        numbers["in all"] = tuple(map(sum, zip(*numbers.values(), strict=True)))
    cells: list[tuple[str, ...]] = [("units", "", "done", "running", "waiting", "with failures")]
    cells += [(name, str(units), *(str(each or "–") for each in rest)) for name, (units, *rest) in numbers.items()]
    widths = [max(len(row[at]) for row in cells) for at in range(6)]
    return ["  ".join((row[0].ljust(widths[0]), *(row[at].rjust(widths[at]) for at in range(1, 6)))) for row in cells]


def _failures(failures: Sequence[Failure], *, merged: bool) -> list[list[str]]:
    """Failures with their reasons; merged, those for one reason are one entry.

    The log follows on a line of its own, so that no width cuts it off, unless the reason names it.
    """
    alike: dict[object, list[Failure]] = {}
    for at, failure in enumerate(failures):
        alike.setdefault(failure.reason if merged else at, []).append(failure)
    return [_failure(each) for each in alike.values()]


def _failure(alike: list[Failure]) -> list[str]:
    first, others = alike[0], f" and {len(alike) - 1} more" * (len(alike) > 1)
    named = [*dict.fromkeys(metric for each in alike for metric in each.metrics)]
    metrics = f" ({', '.join(named[:FEWEST])}{', …' * (len(named) > FEWEST)})" * bool(named)
    log = [f"  see {first.log}"] if first.log and first.log not in first.reason else []
    return [f"{first.case or first.unit}{others}: {first.reason}{metrics}", *log]


def _cut(line: str, width: int, *, long: bool) -> str:
    """One line, control characters as escapes; unless it may be long, cut to the width."""
    plain = escaped(line, lines=False)
    return plain if long or len(plain) <= width else f"{plain[: width - 1]}…"
