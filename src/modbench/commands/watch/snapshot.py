"""A snapshot of a run: what its runner wrote last, whether that runner lives, and both as `modbench watch` prints them.

Loads no torch, and writes nothing. Printed it is a few lines that fit the terminal, or JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from modbench.harness.core.group_by import grouped
from modbench.harness.core.masking import masked
from modbench.harness.core.plain_text import SCREEN, aligned, escaped
from modbench.harness.core.units import counted, human_duration
from modbench.harness.results import lock, progress_file
from modbench.harness.results.layout import run_file
from modbench.harness.results.progress_file import Failure, RunProgress
from modbench.harness.results.workspace import Workspace

# Running jobs and decisions that a screen lists; failures take the rest of it, at least so many.
MOST, FEWEST = 4, 3
# A runner writes its state more often; one that has not for so long is said to be silent.
SILENT_S = 60.0
NO_PROGRESS = "no progress.json yet"


@dataclass(frozen=True)
class Snapshot:
    """A run as its folder shows it.

    Attributes:
        run: the folder, as it was named.
        state: as its runner wrote it; but `running` or `stopping` only while that runner lives, else `stopped`. Without
            progress.json `finished` or `unknown`.
        runner: the runner that holds the folder, or held it last; None: none.
        now: the progress; None before the runner has written it.
        records: number of records in the folder.
        said: by name of a running job, its last line of progress.
    """

    run: str
    state: str
    runner: lock.Found | None
    now: RunProgress | None
    records: int
    said: dict[str, str]

    @property
    def alive(self) -> bool:
        """Whether a runner lives."""
        return self.state in {"running", "stopping"}

    @property
    def complete(self) -> bool:
        """Whether the run has finished, with as many records as its runner counted."""
        return self.state == "finished" and (self.now is None or self.records >= self.now.ended)

    @property
    def next_step(self) -> str | None:
        """The command that continues a run; None if there is nothing to continue."""
        if self.alive or self.complete:
            return None
        if self.now is not None and not self.now.resumable:
            return f"repeat its command with -o {self.run}"
        return (
            f"modbench resume {self.run}{' --take-over' * (self.runner is not None and self.runner.state == 'unknown')}"
        )


def take(run: str) -> Snapshot:
    """The run as it is now.

    Raises:
        UsageError: if it is no run folder (any more), or its progress.json is damaged.
    """
    path = run_file(run).parent
    runner, now = lock.find(path), progress_file.read(path)
    written = now.state if now is not None else "finished" if (path / "finished.json").is_file() else "unknown"
    said = {}
    unknown = runner is not None and runner.state == "unknown" and now is not None and now.age_s < SILENT_S
    if unknown or (runner is not None and runner.state == "alive"):
        state = "stopping" if written == "stopping" else "running"
        named = {each.job: Workspace(path, each.job).said() for each in (now.running if now is not None else ())}
        # A job of another machine that has written nothing may still wait in the queue.
        said = {job: line for job, line in named.items() if line or (now is not None and not now.remote)}
    else:
        state = "stopped" if written in {"running", "stopping"} else written
    return Snapshot(run, state, runner, now, len([*(path / "jobs").rglob("[!.]*.json")]), said)


def as_json(seen: Snapshot) -> dict[str, Any]:
    """The run as JSON values; null where something is not known."""
    now = seen.now or RunProgress()
    body = now.model_dump() if seen.now else dict.fromkeys(RunProgress.model_fields) | {"left_reason": NO_PROGRESS}
    body |= {"groups": [group.model_dump() | {"jobs": group.jobs} for group in now.groups]}
    running = [each.model_dump() | {"said": seen.said[each.job]} for each in now.running if each.job in seen.said]
    runner = seen.runner.words if seen.runner else None
    body |= {"running": running, "state": seen.state, "runner": runner, "records": seen.records}
    return {"run": seen.run} | body | {"complete": seen.complete, "next": seen.next_step}


def as_lines(seen: Snapshot, width: int = 80, height: int | None = None, *, verbose: bool = False) -> list[str]:
    """The run in a screen of lines; with a height, in so many lines of at most `width` characters.

    Failures for one reason are one entry with their number; verbosely, each is listed.
    Text from the folder, which may come from somebody else, is shown without control characters, and masked before lines are cut.
    """
    most, now = None if verbose else MOST, seen.now or RunProgress()
    lines = [_state(seen)]
    lines += [f"runner   {seen.runner.words}"] if seen.runner else []
    lines += [f"note     {now.note}"] * bool(now.note)
    lines += ["", *_table(now)] if now.groups else []
    lines += _listed("running", [[f"{said or 'started'} ({job})"] for job, said in seen.said.items()], most)
    lines += _listed("decided", [[each] for each in now.decisions], most)
    room = None if verbose else max(FEWEST, ((height or SCREEN) - len(lines) - 5) // 2)
    lines += _listed("failed", [*_failures(now.failures, merged=not verbose)], room)
    lines += [f"  {now.failures_left_out} more are in the records"] * bool(now.failures_left_out)
    lines += ["", f"To continue: {seen.next_step}"] if seen.next_step else []
    shown = [escaped(masked(line), lines=False) for line in lines]
    if height is None:
        return shown
    return [line if len(line) <= width else f"{line[: width - 1]}…" for line in shown[: max(1, height)]]


def _listed(title: str, entries: Sequence[Sequence[str]], most: int | None) -> list[str]:
    """The lines of the first entries below a title, and the number of those left out."""
    left_out = len(entries) - len(entries[:most])
    more = [f"  and {left_out} more"] * bool(left_out)
    return ["", title, *(f"  {line}" for entry in entries[:most] for line in entry), *more] if entries else []


def _state(seen: Snapshot) -> str:
    """`quick, draft, cpu: running for 3 min 10 s, 2 min 00 s left`; without progress what its files show."""
    if (now := seen.now) is None:
        state = "starting" if seen.alive else seen.state
        return f"{seen.run}: {state}, {counted(seen.records, 'record')}; {NO_PROGRESS}"
    state, took = f"{now.title}: {seen.state}", human_duration(now.elapsed_s + now.age_s * seen.alive)
    if seen.state == "stopping":
        return f"{state} after {took}: nothing else starts, the jobs that run are finished"
    if seen.alive:
        silent = f"; written {human_duration(now.age_s)} ago" if now.age_s > SILENT_S else ""
        return f"{state} for {took}, {now.left}{silent}"
    change = seen.records - now.ended
    if seen.state == "finished":
        return f"{state} in {took}" + f", but {counted(-change, 'record')} missing since" * (change < 0)
    # Without a runner nobody counts what jobs on other machines do.
    rest = "jobs may go on" if now.remote else now.left.replace(" left", " to run")
    return f"{state} after {took}, {rest}" + f"; {counted(change, 'record')} written since" * (change > 0)


def _table(now: RunProgress) -> list[str]:
    """Jobs by pass and in all."""
    rows = [(each.name, each.jobs, each.done, each.running, each.waiting, each.failed) for each in now.groups]
    if len(rows) > 1:
        rows.append(("in all", *(sum(column) for column in [*zip(*rows, strict=True)][1:])))
    head = ("jobs", "", "done", "submitted" if now.remote else "running", "waiting", "with failures")
    return aligned([head, *([str(each or "–") for each in row] for row in rows)], right=range(1, len(head)))


def _failures(failures: Sequence[Failure], *, merged: bool) -> Iterator[list[str]]:
    """Failures with their reasons; merged, those for one reason are one entry.

    The log follows on a line of its own, so that no width cuts it off, unless the reason names it.
    """
    alike = grouped((each.reason if merged else at, each) for at, each in enumerate(failures))
    for first, *others in alike.values():
        named = [*dict.fromkeys(metric for each in (first, *others) for metric in each.metrics)]
        metrics = f" ({', '.join(named[:FEWEST])}{', …' * (len(named) > FEWEST)})" * bool(named)
        more = f" and {len(others)} more" * bool(others)
        log = [f"  see {first.log}"] if first.log and first.log not in first.reason else []
        yield [f"{first.case or first.job}{more}: {first.reason}{metrics}", *log]
