"""`ab revisions` and `ab builds`: two sides of a suite, timed in blocks of four processes that take turns, round by round.

Each side is prepared by a whole `modbench run`, which plans, counts and checks; its times are not used. Each process of a block
works on a copy of a prepared folder. Processes have the limits that jobs of a run have, and one that died leaves a record.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from modbench.extend import (
    LONGEST_S,
    CannotWrite,
    Figure,
    Flags,
    Job,
    Limits,
    ModbenchError,
    Plan,
    RunFolder,
    Tables,
    UsageError,
    api,
    catalogue,
    certificate,
    environment,
    exit_codes,
    is_user_model,
    limits,
    local,
    lock,
    masked_command,
    parse_duration,
    progress_file,
    read_record,
    run_folder,
    run_layout,
    run_phase,
    shown,
    start_command,
)
from modbench.plugins.ab import blocks as measured_blocks
from modbench.plugins.ab import folder as ab_folder
from modbench.plugins.ab import sides, turn_taking
from modbench.plugins.ab.compared import Asked
from modbench.plugins.ab.flags import SuiteFlags
from modbench.plugins.ab.question import NAMES, Row
from modbench.plugins.ab.sides import Side
from modbench.plugins.ab.turn_taking import Start

# Rounds of a process: six inputs, twice each. Starting its processes takes about as long; with more rounds or fewer, the same
# time tells less where processes of equal code differ by 1.5 % and rounds by 5 %.
ROUNDS = 12
# Keys of a suite that are the same for all blocks.
FIXED = {"processes": 1, "rounds": ROUNDS, "aa_control": "false"}
# Run as a file: another revision may not have it.
SCRIPT = Path(__file__).resolve().with_name("one_process.py")
# The folders in which both sides are prepared.
PREPARED = ("base", "new")
# Beginning of the names of folders with the files of revisions.
COPIES = "modbench-ab-"


def words(flags: SuiteFlags) -> list[str]:
    """What both sides are to measure as words for `modbench run`, but for the suite and the models."""
    several = {"--set": flags.settings, "--option": flags.option, "--seq-len": flags.seq_len}
    single = {"-k": flags.select, "--timeout": flags.timeout}
    given = several | {flag: [value] for flag, value in single.items() if value}
    return [word for flag, values in given.items() for value in values or () for word in (flag, value)]


def planned(suite: str, models: tuple[str, ...], flags: SuiteFlags) -> Plan:
    """Plan here what a side measures, so that a mistake shows before anything runs.

    Raises:
        UsageError: if the suite or a flag is invalid, or the suite times nothing.
    """
    asked = Flags(
        model=[*models],
        only=bool(models),
        match="none",
        option=flags.option,
        seq_len=flags.seq_len,
        settings=flags.settings,
    ).overrides()
    if fixed := asked.settings.keys() & FIXED.keys():
        raise UsageError(f"--set {min(fixed)}: ab sets {', '.join(FIXED)} itself, the same on both sides.")
    if flags.timeout is not None:
        parse_duration(flags.timeout, "--timeout")
    plan = api.make_plan(suite, asked, flags.select)
    if not timed(plan):
        raise UsageError(f"{suite} times nothing: ab compares times. Name one: --set 'metrics=[\"latency/forward\"]'.")
    return plan


def timed(plan: Plan) -> list[str]:
    """The metrics of a plan that are times of calls."""
    known = catalogue.metrics()
    return [key for key in plan.suite.metrics if catalogue.pass_of(known[key]).times and not known[key].source]


@contextlib.contextmanager
def revisions(
    names: tuple[str, str], suite: str, models: tuple[str, ...], flags: SuiteFlags, *, own: bool
) -> Iterator[Suites]:
    """Two revisions of the repository that holds the models' file, or of modbench's own; the base first.

    Raises:
        UsageError: if a revision or a file does not exist, or a flag is invalid.
        SideFailsError: if the new side has no modbench that runs.
    """
    if own and models:
        raise UsageError(
            "--self compares modbench's own revisions, by models of the suite: leave out --model or --self."
        )
    plan = planned(suite, models, flags)
    theirs = [case.model for case in plan.cases if is_user_model(case.model)]
    if theirs and not models:
        raise UsageError(f"{suite} names {theirs[0]} itself: it is read from both revisions as --model {theirs[0]}.")
    apart = [Path(each) for each in (run_layout.RUNS, flags.out) if each]
    with _copies() as copies:
        base, new = (
            sides.revision(name, models, copies / str(i), own=own, apart=apart) for i, name in enumerate(names)
        )
        with _opened((base, replace(new, new=True)), (*names, *models), suite, plan, flags) as compared:
            yield compared


def builds(models: tuple[str, str], suite: str, flags: SuiteFlags) -> AbstractContextManager[Suites]:
    """Two builds of a model; the base first.

    Raises:
        UsageError: if they are one, one of them has several variants, or a flag is invalid.
    """
    if models[0] == models[1]:
        raise UsageError(f"{shown(models[0])} is named twice: name a copy, or compare two revisions of it.")
    plans = [planned(suite, (model,), flags) for model in models]
    for plan in plans:
        variants = list(dict.fromkeys(case.variant for case in plan.cases))
        if len(variants) > 1:
            raise UsageError(f"each side is one build; these are {', '.join(variants)}. Give each option one value.")
    base, new = map(sides.build, models)
    return _opened((base, replace(new, new=True)), models, suite, plans[0], flags, builds=True)


@contextlib.contextmanager
def _copies() -> Iterator[Path]:
    """A temporary folder for the files of revisions. One whose command was killed is removed."""
    for old in Path(tempfile.gettempdir()).glob(f"{COPIES}*"):
        with contextlib.suppress(OSError, UsageError):
            found = lock.find(old)
            if found is not None and found.state == "dead":
                shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=COPIES) as name, lock.hold(Path(name)):
        yield Path(name)


@contextlib.contextmanager
def _opened(
    both: tuple[Side, Side], typed: Sequence[str], suite: str, plan: Plan, flags: SuiteFlags, *, builds: bool = False
) -> Iterator[Suites]:
    if sys.platform == "win32":
        raise UsageError("ab revisions and ab builds need Linux or macOS: on Windows processes cannot hand on turns.")
    asked, file = flags.asked(plan.suite.margin), Path(suite)
    request: dict[str, Any] = {
        "typed": list(typed),
        "code": [each.identity() for each in both],
        "suite": file.read_text(encoding="utf-8") if file.is_file() else suite,
        "flags": masked_command(words(flags)),
        "machine": certificate.fingerprint(environment.collect(), plan.device, plan.suite.threads),
    }
    sides = ab_folder.Sides(kind="builds" if builds else "revisions", words=(both[0].label, both[1].label))
    with ab_folder.held(plan.suite.name, flags.out, sides, asked, request) as folder:
        yield Suites(suite, timed(plan), flags, asked, both, folder, builds)


class Prepared(NamedTuple):
    """A side that was prepared: its run folder, the jobs that are timed, by name, and the limits of these."""

    side: Side
    run: Path
    jobs: Mapping[str, Job]
    limits: Limits


class Process(NamedTuple):
    """A process of a block: its side, and its copy of that one's run folder, which gets new times."""

    of: Prepared
    run: RunFolder


@dataclass
class Suites:
    """Two sides of a suite that take turns (a `Compared`).

    Attributes:
        suite: name or file.
        metrics: what is measured.
        flags: how.
        asked: of the comparison.
        both: the base and the new side.
        folder: of the prepared sides and the blocks.
        builds: whether the sides are two models, instead of two revisions.
    """

    suite: str
    metrics: Sequence[str]
    flags: SuiteFlags
    asked: Asked
    both: tuple[Side, Side]
    folder: Path
    builds: bool
    _prepared: Sequence[Prepared] = ()
    _read: dict[Path, Tables] = field(default_factory=dict)

    target: ClassVar[str] = ""

    @property
    def sides(self) -> tuple[str, str]:
        """Both sides in words."""
        return self.both[0].label, self.both[1].label

    def prepare(self) -> None:
        """Make the run folders of which processes get copies; again where blocks are there: the sides' files lie elsewhere now.

        Raises:
            UsageError: if the base does not run.
            SideFailsError: if the new side does not.
            ModbenchError: if a file cannot be written.
        """
        self._prepared = [self._prepare(*each) for each in zip(self.both, PREPARED, strict=True)]

    def _prepare(self, side: Side, name: str) -> Prepared:
        run = self.folder / name
        self._run(side, run.resolve())
        self._read.pop(run, None)
        plan = run_folder.read(str(run)).plan
        jobs = {job.name: job for job in plan.jobs if job.facts.times}
        longest_s = None if self.flags.timeout is None else parse_duration(self.flags.timeout, "--timeout")
        return Prepared(side, run, jobs, Limits(plan, longest_s))

    def command(self, side: Side, out: Path) -> list[str]:
        """The words that prepare a side."""
        suite = str(Path(self.suite).resolve()) if Path(self.suite).is_file() else self.suite
        made = [side.python, "-P", "-m", "modbench", "run", suite, "--effort", "draft", "-o", str(out), "--json"]
        fixed = {"metrics": json.dumps([*self.metrics]), **FIXED}
        made += [word for key, value in fixed.items() for word in ("--set", f"{key}={value}")]
        made += [word for model in side.models for word in ("--model", model)]
        # Two revisions of a model may differ in their FLOPs: their matched baselines would be two models.
        made += ["--only", "--match", "none"] if side.models else []
        return [*made, *words(self.flags)]

    def _run(self, side: Side, out: Path) -> None:
        shutil.rmtree(out, ignore_errors=True)
        log = out.with_suffix(".log")
        # A run has limits of its own for its units.
        with start_command(self.command(side, out), side.environment(), log, LONGEST_S, folder=side.folder) as run:
            run.join()
        if run.exitcode:
            said = log.read_text(encoding="utf-8", errors="replace").strip()
            _, names_it, why = f"\n{said}".rpartition("\nmodbench: ")
            why = why.partition("\n")[0] if names_it else f"exit code {run.exitcode}: {said[-300:]}"
            # A full disk is no fault of the side.
            if run.exitcode == ModbenchError.exit_code and exit_codes.BUG not in why:
                raise ModbenchError(f"{side.label}: {why}")
            raise side.fails(why)
        log.unlink()

    def measure(self, number: int, order: str) -> None:
        """Measure a block; where it is interrupted, nothing of it is left.

        Raises:
            ModbenchError: if a file cannot be written.
        """
        # Where a killed command left a part, it is removed.
        part = self.folder / "block.part"
        try:
            shutil.rmtree(part, ignore_errors=True)
            names = {"A": iter(NAMES[:2]), "B": iter(NAMES[2:])}
            processes = [
                _copied(self._prepared["AB".index(side)], (part / next(names[side])).resolve()) for side in order
            ]
            for name in self._timed(number):
                _time(name, processes)
            part.rename(ab_folder.block(self.folder, number))
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _timed(self, number: int) -> Iterator[str]:
        """The jobs of a block: those of both sides that no process died of in the block before, or that had no record there."""
        base, new = (each.jobs for each in self._prepared)
        last = self._block(number - 1) if number else []
        for name in [each for each in base if each in new]:
            made = [*zip(last, (base[name], base[name], new[name], new[name]), strict=False)]
            files = [(RunFolder(run).record(job), job) for run, job in made]
            if all(file.exists() and not read_record(file, job).died for file, job in files):
                yield name

    def _block(self, number: int) -> list[Path]:
        return [ab_folder.block(self.folder, number) / name for name in NAMES]

    def drawn(self) -> list[Figure]:
        """None."""
        return []

    def rows(self) -> list[Row]:
        """The numbers of every case and metric over all blocks."""
        blocks = [[*map(self._tables, self._block(number))] for number in range(ab_folder.blocks(self.folder))]
        base, new = (self._tables(self.folder / name) for name in PREPARED)
        return list(measured_blocks.measured(blocks, (base, new), builds=self.builds))

    def _tables(self, run: Path) -> Tables:
        """What a run folder holds, read once."""
        if run not in self._read:
            self._read[run] = Tables(run_folder.read(str(run)))
        return self._read[run]


def _copied(prepared: Prepared, out: Path) -> Process:
    """Copy the run folder of a side, but for the records that a process is to make, and what is made of records."""
    try:
        shutil.copytree(prepared.run, out, ignore=shutil.ignore_patterns(progress_file.NAME, "*.html", "*.csv"))
    except OSError as error:  # of several files: a list of what each of them said
        why = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
        raise ModbenchError(f"{out} cannot be written: {why}. Finished blocks are kept.") from error
    for job in prepared.jobs.values():
        RunFolder(out).record(job).unlink(missing_ok=True)
    return Process(prepared, RunFolder(out))


def _time(name: str, processes: Sequence[Process]) -> None:
    """Time a job in all processes of a block; where one dies, once more, as in a run."""
    for _ in range(2):
        for each in processes:
            each.run.record(each.of.jobs[name]).unlink(missing_ok=True)
        ends = turn_taking.run([_start(name, *each) for each in processes])
        died = [_keep_record(name, *each, end) for each, end in zip(processes, ends, strict=True)]
        if not any(died) or None in ends:  # one that hung would hang again
            break


def _start(name: str, prepared: Prepared, run: RunFolder) -> Start:
    side, job = prepared.side, prepared.jobs[name]
    with local.environment(local.variables(job.comparison.grid_point.threads) | dict(job.facts.environment)):
        environ = dict(os.environ) | {"PYTHONPATH": side.environment()["PYTHONPATH"]}
    log = run.log(job)
    log.parent.mkdir(exist_ok=True)
    told = [side.python, "-P", str(SCRIPT), str(run.path), name]
    return Start(told, environ, side.folder, log, prepared.limits[name])


def _keep_record(name: str, prepared: Prepared, run: RunFolder, exitcode: int | None) -> bool:
    """Take the record of a process, or write one with the cause of its death; whether it died."""
    job, log = prepared.jobs[name], run.log(prepared.jobs[name])
    if run.record(job).exists():
        return False
    if exitcode == CannotWrite.exit_code:
        raise run_phase.cannot_write(run, job)
    limit = limits.in_words(prepared.limits, name)
    why = run_phase.death(exitcode, timed_out=exitcode is None, log=log, limit=limit)
    run_phase.keep_log(log)
    run_phase.write_failure(job, run, why)
    return True
