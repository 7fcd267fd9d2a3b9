"""What `modbench watch` prints: a few lines that fit the terminal, or JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from modbench.harness.core.masking import masked
from modbench.harness.core.printable import SCREEN, escaped
from modbench.harness.core.units import human_duration, human_span
from modbench.tools.run_snapshot import Failure, RunSnapshot

# Running units and decisions that a screen lists; failures take the rest of it, at least so many.
MOST, FEWEST = 4, 3


def as_json(seen: RunSnapshot) -> dict[str, Any]:
    """The run as JSON values; null where something is not known."""
    groups = [dataclasses.asdict(group) | {"units": group.units} for group in seen.groups]
    return dataclasses.asdict(seen) | {"groups": groups, "complete": seen.complete, "next": seen.next_step}


def as_lines(seen: RunSnapshot, width: int = 80, height: int | None = None, *, verbose: bool = False) -> list[str]:
    """The run in a screen of lines; with a height, in so many lines of at most `width` characters.

    Failures for one reason are one entry with their number. Verbosely, each is listed, and nothing is left out.
    Whatever a folder holds is shown without control characters: it may be a stranger's. Texts are masked before lines are cut.
    """
    most = None if verbose else MOST
    lines = [f"{seen.suite}, {seen.effort}, {seen.device}: {_state(seen)}"]
    lines += [f"machine  {seen.machine}"] if seen.machine else []
    lines += [f"runner   {seen.runner}, launcher {seen.launcher}"] if not seen.complete else []
    lines += ["", *_table(seen)]
    lines += _listed("running", [[f"{each.said or 'started'} ({each.unit})"] for each in seen.running], most)
    lines += _listed("decided", [[each] for each in seen.decisions], most)
    room = None if verbose else max(FEWEST, ((height or SCREEN) - len(lines) - 5) // 2)
    lines += _listed("failed", _failures(seen.failures, merged=not verbose), room, "more reasons")
    if seen.next_step:
        lines += ["", f"Its runner is gone. To continue: {seen.next_step}"]
    shown = [_cut(masked(line), width, long=height is None) for line in lines]
    return shown if height is None else shown[: max(1, height)]


def _listed(title: str, entries: Sequence[Sequence[str]], most: int | None, left_out_are: str = "more") -> list[str]:
    """The lines of the first entries below a title, and the number of those left out."""
    if not entries:
        return []
    left_out = len(entries) - len(entries[:most])
    more = [f"  and {left_out} {left_out_are}"] if left_out else []
    return ["", title, *(f"  {line}" for entry in entries[:most] for line in entry), *more]


def _state(seen: RunSnapshot) -> str:
    """`running for 3 min 10 s, about 2 min 00 s left`; `2 to 9 min left` while more may be asked for."""
    elapsed = human_duration(seen.elapsed_s) if seen.elapsed_s is not None else None
    if seen.complete:
        return f"finished in {elapsed}" if elapsed else "finished"
    left = f"{human_span(seen.left_s, seen.most_s)} left" if seen.left_s is not None and seen.most_s is not None else ""
    if left and not seen.more:
        left = f"about {left}"
    if seen.state == "running":
        return ", ".join(filter(None, [f"running for {elapsed}" if elapsed else "running", left]))
    return f"stopped, {left.removesuffix(' left')} to run" if left else "stopped"


def _table(seen: RunSnapshot) -> list[str]:
    """Units by pass and in all."""
    numbers: dict[str, tuple[int, ...]] = {
        group.name: (group.units, group.done, group.running, group.waiting, group.failed) for group in seen.groups
    }
    if len(numbers) > 1:
        numbers["in all"] = tuple(map(sum, zip(*numbers.values(), strict=True)))
    cells: list[tuple[str, ...]] = [("units", "", "done", "running", "waiting", "with failures")]
    cells += [(name, str(units), *(str(each or "–") for each in rest)) for name, (units, *rest) in numbers.items()]
    widths = [max(len(row[at]) for row in cells) for at in range(6)]
    return ["  ".join((row[0].ljust(widths[0]), *(row[at].rjust(widths[at]) for at in range(1, 6)))) for row in cells]


def _failures(failures: Sequence[Failure], *, merged: bool) -> list[list[str]]:
    """What failed and why, those for one reason in one entry if merged.

    Below each stands its log, which no width may cut off, unless the reason names it.
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
