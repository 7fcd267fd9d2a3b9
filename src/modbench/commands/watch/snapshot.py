"""A snapshot of a run: what its runner wrote last, and whether that runner lives. Loads no torch, and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modbench.harness.core.errors import UsageError
from modbench.harness.results import lock, progress
from modbench.harness.results.progress import RunProgress
from modbench.harness.results.workspace import Workspace


@dataclass(frozen=True)
class Snapshot:
    """A run as its folder shows it.

    Attributes:
        run: the folder, as it was named.
        state: as its runner wrote it; but `running` or `stopping` only while that runner lives, else `stopped`. Without
            progress.json `finished` or `unknown`.
        lease: the runner that holds the folder; None: none does.
        now: the progress; None in folders of earlier versions, and before the runner has written it.
        records: number of records in the folder.
        said: by name of a running unit, its last line of progress.
    """

    run: str
    state: str
    lease: lock.Lease | None
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
        return f"modbench resume {self.run}{' --steal' * (self.lease is not None and self.lease.state == 'silent')}"


def take(run: str) -> Snapshot:
    """The run as it is now.

    Raises:
        UsageError: if it is no run folder (any more), or its progress.json or lock.json is damaged.
    """
    path = Path(run)
    if not (path / "run.json").is_file():
        raise UsageError(f"{run!r} is not a run folder: it has no run.json. `modbench run` creates one.")
    lease, now = lock.lease(path, writes=False), progress.read(path)
    written = now.state if now is not None else "finished" if (path / "finished.json").is_file() else "unknown"
    said = {}
    if lease is not None and lease.state == "alive":
        state = "stopping" if written == "stopping" else "running"
        named = {each.unit: Workspace(path, each.unit).said() for each in (now.running if now is not None else ())}
        # A unit of another machine that has written nothing may still wait in the queue.
        said = {unit: line for unit, line in named.items() if line or (now is not None and not now.remote)}
    else:
        state = "stopped" if written in {"running", "stopping"} else written
    return Snapshot(run, state, lease, now, len([*(path / "units").rglob("[!.]*.json")]), said)
