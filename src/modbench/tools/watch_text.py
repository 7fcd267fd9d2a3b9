"""What `modbench watch` prints: a few lines that fit the terminal, or JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from modbench.harness.core.masking import masked
from modbench.harness.core.printable import escaped
from modbench.harness.core.units import human_duration, human_span
from modbench.tools.watched import Failure, Seen

# Most running units and decisions that are listed; failures take what is left of the terminal, at least so many.
MOST, FEWEST = 8, 3


def as_json(seen: Seen) -> dict[str, Any]:
    """The run as JSON values; null where something is not known."""
    groups = [dataclasses.asdict(group) | {"units": group.units} for group in seen.groups]
    return dataclasses.asdict(seen) | {"groups": groups, "complete": seen.complete, "next": seen.next_step}


def as_lines(seen: Seen, width: int = 80, height: int | None = None) -> list[str]:
    """The run in lines of at most `width` characters; with a height, no more lines than that.

    Whatever a folder holds is shown without control characters: it may be a stranger's. Texts are masked before lines are cut.
    """
    lines = [f"{seen.suite}, {seen.effort}, {seen.device}: {_state(seen)}"]
    lines += [f"machine  {seen.machine}"] if seen.machine else []
    lines += [f"runner   {seen.runner}, launcher {seen.launcher}"] if not seen.complete else []
    lines += ["", *_table(seen)]
    if seen.running:
        lines += ["", "running"]
        lines += [f"  {each.said or 'started'} ({each.unit})" for each in seen.running[:MOST]]
        lines += _more(len(seen.running), MOST)
    if seen.decisions:
        lines += ["", "decided", *(f"  {each}" for each in seen.decisions[:MOST])]
        lines += _more(len(seen.decisions), MOST)
    if seen.failures:
        room = len(seen.failures) if height is None else max(FEWEST, (height - len(lines) - 5) // 2)
        lines += ["", "failed", *(f"  {line}" for each in seen.failures[:room] for line in _failure(each))]
        lines += _more(len(seen.failures), room)
    if seen.next_step:
        lines += ["", f"Its runner is gone. To continue: {seen.next_step}"]
    shown = [_cut(masked(line), width, long=height is None) for line in lines]
    return shown if height is None else shown[: max(1, height)]


def _state(seen: Seen) -> str:
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


def _table(seen: Seen) -> list[str]:
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


def _failure(failure: Failure) -> list[str]:
    """What failed and why; below it the log, which no width may cut off, unless the reason names it."""
    metrics = f" ({', '.join(failure.metrics[:FEWEST])}{', …' * (len(failure.metrics) > FEWEST)})" * bool(
        failure.metrics
    )
    log = [f"  see {failure.log}"] if failure.log and failure.log not in failure.reason else []
    return [f"{failure.case or failure.unit}: {failure.reason}{metrics}", *log]


def _more(number: int, shown: int) -> list[str]:
    return [f"  and {number - shown} more"] if number > shown else []


def _cut(line: str, width: int, *, long: bool) -> str:
    """One line, control characters as escapes; unless it may be long, cut to the width."""
    plain = escaped(line, lines=False)
    return plain if long or len(plain) <= width else f"{plain[: width - 1]}…"
