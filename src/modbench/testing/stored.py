"""`--modbench-store` and `--modbench-against`: storing a session, and comparing it with earlier ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from modbench.harness.core.errors import UsageError, in_short
from modbench.harness.core.files import now, write_atomically
from modbench.harness.machine import certificate, environment
from modbench.harness.results import lock
from modbench.harness.timing.callables import Launch, working_device
from modbench.harness.timing.threads import working_threads
from modbench.reports.questions.gate.non_inferiority import Finding
from modbench.testing import against, samples
from modbench.testing.samples import Samples, Stored

# How long a session waits for another one that writes the same file.
WAIT_S = 10.0


class Keeper:
    """Keeps the samples of this session, and compares with those of earlier ones.

    Args:
        here: the folder that relative paths start from.
        store: where to keep samples: a file if it ends in .json, else a folder; None: nowhere.
        earlier: files, or folders of files, of earlier sessions.

    Raises:
        UsageError: if a named file is none of ours, a folder holds none, or nothing can be kept in the place named.

    A file takes the comparisons of several sessions. Of one that it has, the samples are replaced by a later session's; not by
    those of a session that ran at the same time, since neither is the later one.
    """

    def __init__(self, here: Path, store: str | None, earlier: Sequence[str]) -> None:
        self.store, self.said = None if store is None else here / store, list[str]()
        self.compares = bool(earlier)
        self.earlier = [each for path in earlier for each in self._read(here / path)]
        self.kept = dict[str, Stored]()
        self.before = dict[str, Stored]()
        if self.store is not None:
            _make(self.store.parent if self._one_file else self.store)
            self.before = self._there().comparisons if self._one_file else {}

    def take(self, name: str, launch: Launch, margin: float) -> Finding | None:
        """Keep samples; return how the ratio changed against earlier sessions, if there are any to compare with."""
        stored = Stored.of(launch, self._machine())
        self.kept[name] = stored
        return against.finding(name, stored, self.earlier, margin) if self.compares else None

    def write(self) -> bool:
        """Write the stored samples, and note the path or the reason why not; return whether that worked."""
        if self.store is None or not self.kept:
            return True
        mine = Samples(made=now(), environment=samples.kept(self._environment), comparisons=self.kept)
        try:
            file, others = self._joined(mine) if self._one_file else self._alone(mine)
        except (OSError, UsageError) as error:
            self.said.append(f"--modbench-store {self.store}: nothing could be kept: {in_short(error, 600)}")
            return False
        n = len(self.kept)
        beside = f", beside {others} of other sessions" if others else ""
        self.said.append(f"samples of {n} comparison{'s' * (n != 1)} are kept in {file}{beside}")
        return True

    @property
    def _one_file(self) -> bool:
        return self.store is not None and self.store.suffix == ".json"

    def _alone(self, mine: Samples) -> tuple[Path, int]:
        """Write a new file into the folder; returns it, and 0."""
        assert self.store is not None
        file = self.store / f"{mine.made.replace(':', '')}-{uuid4().hex[:8]}.json"
        write_atomically(file, mine.model_dump_json())
        return file, 0

    def _joined(self, mine: Samples) -> tuple[Path, int]:
        """Merge with what other sessions stored and write the file; return it and its number of comparisons."""
        file = self.store
        assert file is not None
        with lock.hold(file.parent, name=f".{file.name}.lock", wait_s=WAIT_S):
            there = self._there()
            taken = [name for name in mine.comparisons if there.comparisons.get(name) != self.before.get(name)]
            if taken:
                more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
                raise UsageError(
                    f"another session wrote samples of {taken[0]}{more} meanwhile. Name a folder: each session has a file in it."
                )
            whole = mine.beside(there)
            write_atomically(file, whole.model_dump_json())
        return file, len(whole.comparisons) - len(mine.comparisons)

    def _there(self) -> Samples:
        """What the file holds now.

        Raises:
            UsageError: if it is something else, which stays as it is.
        """
        assert self.store is not None
        if not self.store.exists():
            return Samples(made="", environment={}, comparisons={})
        return samples.read(self.store, "Name another file, or a folder.")

    def _read(self, path: Path) -> Iterator[Samples]:
        """Yield the sessions of a file or folder; in a folder a damaged file is named and left out."""
        if not path.is_dir():
            yield samples.read(path)
            return
        files = sorted(path.glob("*.json"))
        if not files:
            raise UsageError(f"--modbench-against {path} holds no session. Make some by --modbench-store {path}.")
        for file in files:
            try:
                yield samples.read(file)
            except UsageError as error:
                self.said.append(f"left out: {error}")

    @cached_property
    def _environment(self) -> dict[str, Any]:
        return environment.collect()

    def _machine(self) -> str:
        """Fingerprint of this machine, for the device and threads that the process uses now."""
        return certificate.fingerprint(self._environment, working_device(), working_threads())


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--modbench-store: {folder} cannot be made ({error.strerror}). Name a folder that may be written."
        ) from error
