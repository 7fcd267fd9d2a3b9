"""`--modbench-store` and `--modbench-against`: stores a session, and compares it with earlier ones as a gate does.

Two sessions are not interleaved, so times of then and now are not compared: each session compares the candidate with its baseline
at one moment, and it is these ratios that are. A session is one process, and processes of the same code differ by more than
their rounds show; by how much, only several sessions tell. So a session is the unit of evidence, and below three earlier sessions
nothing is shown.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from modbench.harness.core.errors import UnreadableError, UsageError, brief, in_short, in_words
from modbench.harness.core.files import now, write_atomically
from modbench.harness.core.labels import Label
from modbench.harness.core.units import counted
from modbench.harness.machine import certificate, environment
from modbench.harness.results import lock
from modbench.harness.timing import in_process_verdicts
from modbench.harness.timing.callables import Launch, working_device
from modbench.harness.timing.threads import working_threads
from modbench.reports.model import Estimate
from modbench.reports.questions.gate import non_inferiority
from modbench.reports.questions.gate.non_inferiority import Change, GateFinding, ratio
from modbench.reports.writers.number_format import plain

# How long a session waits for another one that writes the same file.
WAIT_S = 10.0
METRIC = "ratio"
# Least earlier sessions from which their variation is estimated.
FEWEST = 3
# Of an environment versions and processor are stored, no names.
RECORDED = ("python", "packages", "system", "cpu", "cores", "usable_cores")
DOUBTED = {in_process_verdicts.UNSTEADY, in_process_verdicts.DIFFERS, str(Label.CONTAMINATED)}


# Columns of samples by name.
Columns = dict[str, list[float]]


class Stored(BaseModel):
    """The samples of one comparison.

    Attributes:
        machine: fingerprint of the machine, with device and threads.
        baseline: name of the callable that was in every block.
        samples: name to columns, as in `harness/timing/callables.py`; times in s.
        blocks: what witnesses saw of each block.
        twin: name under which the baseline was timed a second time.
        one_thread: whether one thread did all the work.
        unsteady: name to a sentence, for callables that drifted.
        first_call_s: name to the seconds of its first call.
        environment: versions and processor, where they are not the file's: an earlier session made these samples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine: str
    baseline: str
    samples: dict[str, Columns]
    blocks: Columns
    twin: str | None
    one_thread: bool
    unsteady: dict[str, str]
    first_call_s: dict[str, float]
    environment: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check_complete(self) -> Self:
        for columns in (*self.samples.values(), self.blocks):
            if len({len(column) for column in columns.values()}) > 1:
                raise ValueError("columns of different lengths")
        names = {self.baseline, *({self.twin} - {None})}
        if not names < {*self.samples}:
            raise ValueError("samples of the baseline, or of what it is compared with, are missing")
        for columns in self.samples.values():
            times = columns.get("wall_s", [])
            if not {"round", "block"} <= columns.keys() or not times:
                raise ValueError("a callable has no samples")
            if not all(0 < value < math.inf for value in times):
                raise ValueError("a time is no number above 0")
        return self

    @classmethod
    def of(cls, launch: Launch, machine: str) -> Stored:
        """The samples of a launch."""
        return cls(
            machine=machine,
            baseline=launch.baseline,
            samples={name: dict(columns) for name, columns in launch.samples.items()},
            blocks=dict(launch.blocks),
            twin=launch.twin,
            one_thread=launch.one_thread,
            unsteady=dict(launch.unsteady),
            first_call_s=dict(launch.first_call_s),
        )

    def launch(self) -> Launch:
        """The same as a launch."""
        fields = self.model_dump(exclude={"machine", "environment"})
        return Launch(**fields)


class Samples(BaseModel):
    """The samples of one session, or of several that kept different comparisons in one file.

    Attributes:
        kind: what the file is.
        schema_number: of this format.
        made: when the last session ended, UTC.
        environment: versions and processor.
        comparisons: name to samples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["modbench samples of pytest"] = "modbench samples of pytest"
    schema_number: Literal[1] = 1
    made: str
    environment: dict[str, Any]
    comparisons: dict[str, Stored]

    def merged_with(self, earlier: Samples) -> Samples:
        """These, and the comparisons of earlier sessions that these do not have, each with the environment it was made in."""
        others = dict[str, Stored]()
        for name, each in earlier.comparisons.items():
            made_in = each.environment or earlier.environment
            others[name] = each.model_copy(update={"environment": None if made_in == self.environment else made_in})
        return self.model_copy(update={"comparisons": others | self.comparisons})


def read_samples(file: Path, advice: str = "Make it anew.") -> Samples:
    """Read a file.

    Raises:
        UsageError: if it cannot be read, or is none of `--modbench-store`.
    """
    try:
        return Samples.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UnreadableError(
            f"{file} cannot be read ({error.strerror}). Make one by --modbench-store {file}."
        ) from error
    except ValidationError as error:
        raise UnreadableError(
            f"{file} is no file of --modbench-store, or damaged ({brief(in_words(error), 200)}). {advice}"
        ) from error


class SessionStore:
    """Keeps the samples of this session, and compares them with those of earlier ones.

    Args:
        folder: the folder that relative paths start from.
        store: where to keep samples: a file if it ends in .json, else a folder; None: nowhere.
        earlier: files, or folders of files, of earlier sessions.

    Raises:
        UsageError: if a named file is none of ours, a folder holds none, or nothing can be kept in the place named.

    A file takes the comparisons of several sessions. Of one that it has, the samples are replaced by a later session's; not by
    those of a session that ran at the same time, since neither is the later one.
    """

    def __init__(self, folder: Path, store: str | None, earlier: Sequence[str]) -> None:
        self.path, self.notes = None if store is None else folder / store, list[str]()
        self.compares = bool(earlier)
        self.earlier = [each for path in earlier for each in self._read(folder / path)]
        self.kept = dict[str, Stored]()
        self.before = dict[str, Stored]()
        if self.path is not None:
            _make_folder(self.path.parent if self._one_file else self.path)
            self.before = self._read_store().comparisons if self._one_file else {}

    def keep_and_compare(self, name: str, launch: Launch, margin: float) -> GateFinding | None:
        """Keep samples; return how the ratio changed against earlier sessions, if there are any to compare with."""
        stored = Stored.of(launch, self._machine())
        self.kept[name] = stored
        return ratio_change(name, stored, self.earlier, margin) if self.compares else None

    def write(self) -> bool:
        """Write the stored samples, and note the path or the reason why not; return whether that worked."""
        if self.path is None or not self.kept:
            return True
        recorded = {key: self._environment[key] for key in RECORDED}
        mine = Samples(made=now(), environment=recorded, comparisons=self.kept)
        try:
            file, others = self._merge_into_file(mine) if self._one_file else self._write_new_file(mine)
        except (OSError, UsageError) as error:
            self.notes.append(f"--modbench-store {self.path}: nothing could be kept: {in_short(error, 600)}")
            return False
        beside = f", beside {others} of other sessions" if others else ""
        self.notes.append(f"samples of {counted(len(self.kept), 'comparison')} are kept in {file}{beside}")
        return True

    @property
    def _one_file(self) -> bool:
        return self.path is not None and self.path.suffix == ".json"

    def _write_new_file(self, mine: Samples) -> tuple[Path, int]:
        """Write a new file into the folder; returns it, and 0."""
        assert self.path is not None
        file = self.path / f"{mine.made.replace(':', '')}-{uuid4().hex[:8]}.json"
        write_atomically(file, mine.model_dump_json())
        return file, 0

    def _merge_into_file(self, mine: Samples) -> tuple[Path, int]:
        """Merge with what other sessions stored and write the file; return it and its number of comparisons."""
        file = self.path
        assert file is not None
        with lock.hold(file.parent, name=f".{file.name}.lock", wait_s=WAIT_S):
            stored = self._read_store()
            taken = [name for name in mine.comparisons if stored.comparisons.get(name) != self.before.get(name)]
            if taken:
                more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
                raise UsageError(
                    f"another session wrote samples of {taken[0]}{more} meanwhile. Name a folder: each session has a file in it."
                )
            whole = mine.merged_with(stored)
            write_atomically(file, whole.model_dump_json())
        return file, len(whole.comparisons) - len(mine.comparisons)

    def _read_store(self) -> Samples:
        """Read what the file holds now.

        Raises:
            UsageError: if it is something else, which stays as it is.
        """
        assert self.path is not None
        if not self.path.exists():
            return Samples(made="", environment={}, comparisons={})
        return read_samples(self.path, "Name another file, or a folder.")

    def _read(self, path: Path) -> Iterator[Samples]:
        """Yield the sessions of a file or folder; in a folder a damaged file is named and left out."""
        if not path.is_dir():
            yield read_samples(path)
            return
        files = sorted(path.glob("*.json"))
        if not files:
            raise UsageError(f"--modbench-against {path} holds no session. Make some by --modbench-store {path}.")
        for file in files:
            try:
                yield read_samples(file)
            except UsageError as error:
                self.notes.append(f"left out: {error}")

    @cached_property
    def _environment(self) -> dict[str, Any]:
        return environment.collect()

    def _machine(self) -> str:
        """Fingerprint of this machine, for the device and threads that the process uses now."""
        return certificate.fingerprint(self._environment, working_device(), working_threads())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--modbench-store: {folder} cannot be made ({error.strerror}). Name a folder that may be written."
        ) from error


def ratio_change(name: str, now: Stored, earlier: Sequence[Samples], margin: float) -> GateFinding:
    """Judge how a ratio changed, as the rules of a gate have it.

    The verdict is `worse`, `better`, `pass` or `cannot tell`; `not compared` where no session of this machine has the comparison.
    """
    known = [session.comparisons[name] for session in earlier if name in session.comparisons]
    same_machine = [each for each in known if each.machine == now.machine]
    if not same_machine:
        why = "it was stored on another machine only" if known else "no stored session has it"
        return GateFinding(name, metric=METRIC, verdict="not compared", reason=why)
    value, doubts = _log_ratio(now)
    if doubts:
        return _cannot_tell(name, f"now: {doubts}")
    ratios = [each for each, why in map(_log_ratio, same_machine) if not why]
    out = len(same_machine) - len(ratios)
    left_out = f"; {out} doubtful one{'s are' if out != 1 else ' is'} left out" if out else ""
    if not ratios:
        return _cannot_tell(
            name, "all its stored sessions are doubtful: disturbed, not steady, or the baseline differs from itself"
        )
    change = value - statistics.fmean(ratios)
    sessions = f"{counted(len(ratios), 'stored session')} of this machine"
    if len(ratios) < FEWEST:
        reason = f"how much sessions differ is not known from {sessions}; {FEWEST} tell{left_out}"
        return GateFinding(name, metric=METRIC, typical=ratio(math.exp(change)), verdict="cannot tell", reason=reason)
    sd, edge = statistics.stdev(ratios), math.log1p(margin)
    judged_change = Change(change, sd * math.sqrt(1 + 1 / len(ratios)), len(ratios) - 1, edge, edge)
    differ, allowed = (plain(Estimate(each, kind="share")) for each in (math.expm1(sd), margin))
    reason = f"{sessions} differ by {differ} (standard deviation), margin {allowed}{left_out}"
    raw = GateFinding(name, metric=METRIC, typical=judged_change.ratio, reason=reason, judged_by=judged_change)
    return non_inferiority.judge([raw])[0]


def _log_ratio(stored: Stored) -> tuple[float, str]:
    """The log-ratio of a session, above 0 where the candidate is faster, and why it is doubted; empty: it is not."""
    launch = stored.launch()
    (found,) = (each for name, each in in_process_verdicts.judge([launch]).items() if name != launch.twin)
    return found.decided.value, ", ".join(label for label in found.labels if label in DOUBTED)


def _cannot_tell(name: str, reason: str) -> GateFinding:
    return GateFinding(name, metric=METRIC, verdict="cannot tell", reason=reason)
