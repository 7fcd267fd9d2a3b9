"""Short launches for `compare --paired` and `gate --paired`: block by block, as many as the caller asks for.

Each side is prepared by a whole `modbench run`, which plans, counts and checks; its times are not used. A block of two revisions
is three processes, first, second and first again, that are alive together and take turns, round by round; a block of two builds
of a model is one process that times both. Each process works on a copy of a prepared folder. Launches have the limits that
units of a run have, and a launch that died leaves a record. Finished blocks are kept; the same command continues
after them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from modbench import api
from modbench.commands._flags import PairedFlags
from modbench.commands._paired import folder as paired_folder
from modbench.commands._paired import turn_taking
from modbench.commands._paired.folder import timed_units
from modbench.commands._paired.sides import Side, SideFailsError, builds, side
from modbench.commands._paired.turn_taking import End, Start
from modbench.harness.core import printable
from modbench.harness.core.errors import IncompleteError, ModbenchError, UsageError
from modbench.harness.core.model_specs import is_user_model
from modbench.harness.core.model_specs import listed as options_listed
from modbench.harness.core.units import counted, human_duration, parse_duration
from modbench.harness.domain.case import UnitOfWork
from modbench.harness.execution import command, limits, phase
from modbench.harness.execution.launch import local
from modbench.harness.execution.limits import Limits
from modbench.harness.execution.phase import cannot_write
from modbench.harness.execution.stopping import Stop, signals
from modbench.harness.execution.unit import ENDLESS_S
from modbench.harness.machine import certificate, environment
from modbench.harness.planning.overrides import Overrides, setting_of
from modbench.harness.process import exit_codes
from modbench.harness.process.graceful_stop import CannotWrite
from modbench.harness.registry import catalogue
from modbench.harness.results import lock, progress, run_folder
from modbench.harness.results.run_folder import RunFolder

# Launches of one block by the side that each is of: the two outer ones are of the same.
REVISIONS = {"first": 0, "second": 1, "again": 0}
# Of two builds, which one process times as two arms.
BUILDS = {"both": 0}
# Rounds of a launch: six inputs, twice each. Starting its processes takes about as long; with more rounds or fewer, the same time
# tells less where processes of equal code differ by 1.5 % and rounds by 5 %.
ROUNDS = 12
# Keys of a suite that a paired comparison sets.
FIXED = frozenset({"launches", "rounds", "twin"})
# Run as a file: another revision may not have it.
SCRIPT = Path(__file__).resolve().with_name("one_launch.py")


@dataclass(frozen=True)
class Request:
    """A comparison of two revisions, or of two builds of a model.

    Attributes:
        sides: the two revisions as named by the user; empty: the two models are compared, as they are.
        suite: a suite's name or file.
        given: what else was given.
        amount: how many blocks, in the caller's words: part of what makes two comparisons the same.
        metrics: timed metrics to measure.
        name: the suite's name.
        device: where the sides measure.
        threads: their CPU threads.
        margin: the suite's.
        only: whether the models are all that is measured.
    """

    sides: tuple[str, ...]
    suite: str
    given: PairedFlags
    amount: str = ""
    metrics: tuple[str, ...] = ()
    name: str = ""
    device: str = "cpu"
    threads: int = 1
    margin: float = 0.0
    only: bool = False

    @property
    def order(self) -> dict[str, int]:
        """The processes of a block, in their order, and the side that each is of."""
        return REVISIONS if self.sides else BUILDS

    def prepared(self, copies: Path) -> list[Side]:
        """The sides, with the files of revisions copied into a folder."""
        if not self.sides:
            return [builds(self.given.models)]
        found = [side(each, self.given.models, copies / "ab"[i]) for i, each in enumerate(self.sides)]
        return [replace(each, second=bool(i)) for i, each in enumerate(found)]

    def as_dict(self, sides: Sequence[Side]) -> dict[str, Any]:
        """The parts that all blocks of one comparison share: request, code of both sides, machine."""
        suite = Path(self.suite)
        return {
            "sides": list(self.sides),
            "code": [each.identity() for each in sides],
            "suite": hashlib.sha256(suite.read_bytes()).hexdigest() if suite.is_file() else self.suite,
            "asked": printable.masked_command([*self.given.models, self.given.select or "", *self.given.words]),
            "metrics": list(self.metrics),
            "blocks": self.amount,
            "machine": certificate.fingerprint(environment.collect(), self.device, self.threads),
        }


def request(sides: tuple[str, ...], suite: str, given: PairedFlags, *, only: bool = False) -> Request:
    """Return what is to be compared, planned here first, so that a mistake shows before anything runs.

    Raises:
        UsageError: if the suite or a flag is invalid, or the suite times nothing.
    """
    settings = dict(map(setting_of, given.settings))
    if fixed := settings.keys() & FIXED:
        raise UsageError(
            f"--set {min(fixed)}: --paired sets {', '.join(sorted(FIXED))} itself, the same on both sides."
        )
    if given.timeout is not None:
        parse_duration(given.timeout, "--timeout")
    wanted = Overrides(
        model=given.models,
        only=only,
        rival="none",
        option=options_listed(given.options),
        seq_len=given.lengths,
        settings=settings,
    )
    plan = api.make_plan(suite, wanted, given.select)
    own = {case.model for case in plan.cases if is_user_model(case.model)} if sides and not given.models else ()
    if own:
        named = min(own)
        raise UsageError(
            f"{suite} names {named} itself: both revisions have it only where it is given as --model {named}."
        )
    arms = {case.arm: case for case in plan.cases if case.is_user_model}
    if not sides and len(arms) > len({case.model for case in arms.values()}):
        raise UsageError(f"two builds are compared; these are {', '.join(arms)}. Give each option one value.")
    known = catalogue.metrics()
    timed = [key for key in plan.suite.metrics if catalogue.pass_of(known[key]).times and not known[key].source]
    if not timed:
        raise UsageError(
            f"{suite} times nothing: --paired compares times. Name one: --set 'metrics=[\"latency/forward\"]'."
        )
    place = plan.suite.name, plan.device, plan.suite.threads, plan.suite.margin
    return Request(sides, suite, given, "", tuple(timed), *place, only)


@dataclass(frozen=True)
class Compared:
    """The measured launches.

    Attributes:
        folder: the folder of all run folders.
        sides: the sides in words.
        prepared: the run folders that the sides were prepared in: what checks found there belongs to every block.
        blocks: the run folders block by block: first, second, again; of two builds one.
        block_s: seconds that each block took that was made now.
    """

    folder: Path
    sides: tuple[str, ...]
    prepared: list[Path]
    blocks: list[list[Path]]
    block_s: list[float]


class Goal(NamedTuple):
    """How many blocks there shall be.

    Attributes:
        blocks: before it is asked again; no more than there are: it is finished.
        at_most: in all; 0: that is not known yet.
    """

    blocks: int
    at_most: int = 0


# Given the blocks that are there; asked after each.
Wanted: TypeAlias = Callable[[Compared], Goal]


@dataclass(frozen=True)
class Supervision:
    """What decides how long the launches go on.

    Attributes:
        stop: what signals requested.
        limits: of a prepared folder, the limits of its units.
        died: units of which a launch died: they have no number any more, and are not measured again.
        hung: those of them that passed their limit, which a second try would take again.
    """

    stop: Stop
    limits: dict[Path, Limits] = field(default_factory=dict)
    died: set[str] = field(default_factory=set)
    hung: set[str] = field(default_factory=set)

    def refuse_if_stopped(self) -> None:
        """Check that no signal requested to stop.

        Raises:
            KeyboardInterrupt: if a signal requested to stop.
        """
        if self.stop.finishing or self.stop.ending:
            self.stop.ending = True
            raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def measure(request: Request, wanted: Wanted) -> Compared:
    """Run the blocks that are wanted, or those that an earlier try of the same comparison lacks.

    Raises:
        UsageError: if a side does not exist; if the folder holds something else; on Windows.
        SideFailsError: if a side does not run.
        IncompleteError: if it was interrupted; finished blocks are kept.
        ModbenchError: if a file cannot be written.
    """
    if sys.platform == "win32":
        raise UsageError("--paired needs Linux or macOS: processes cannot hand each other turns on Windows.")
    stop = Stop(lambda: _say("the launches that run are finished first. Press Ctrl-C again to stop now."))
    supervision = Supervision(stop)
    with signals(stop), paired_folder.revision_folder() as copies:
        sides = request.prepared(copies)
        same = request.as_dict(sides)
        supervision.refuse_if_stopped()
        folder = paired_folder.open_folder(request.name, request.given.out, same)
        labels = tuple(each.label for each in sides) if request.sides else request.given.models
        prepared = [folder / name for name, _ in zip(request.order, sides, strict=False)]
        done = Compared(folder, labels, prepared, paired_folder.finished(folder, list(request.order)), [])
        with lock.hold(folder):
            try:
                _run_blocks(request, sides, done, supervision, wanted)
                paired_folder.finish(folder)
            except KeyboardInterrupt:
                kept = len(paired_folder.finished(folder, list(request.order)))
                raise IncompleteError(
                    f"{stop.interrupted}. {_block_count(kept, 'kept')}: the same command continues."
                ) from None
    return done


def _run_blocks(
    request: Request, sides: Sequence[Side], done: Compared, supervision: Supervision, wanted: Wanted
) -> None:
    """Prepare the sides once there is something to measure, and add blocks for as long as more are wanted."""
    how = "three processes that take turns, the first side twice" if request.sides else "one process that times both"
    _say(f"{' against '.join(done.sides)}: blocks of {how}")
    if done.blocks:
        _say(f"{done.folder}: {_block_count(len(done.blocks), 'there')}; the others follow")
    prepared = list[Path]()
    while len(done.blocks) < (goal := wanted(done)).blocks:
        # Again for those that follow: the copies of the revisions lie elsewhere now, and a side runs in a folder of its own.
        prepared = prepared or [
            _prepare(each, request, out.resolve(), supervision) for each, out in zip(sides, done.prepared, strict=True)
        ]
        start = time.monotonic()
        block = paired_folder.block(done.folder, len(done.blocks), list(request.order))
        launches = [
            (sides[which], prepared[which], out.resolve())
            for which, out in zip(request.order.values(), block, strict=True)
        ]
        # In reverse in every other block: a steady drift then cancels in the A/A test too.
        launches = launches[::-1] if len(done.blocks) % 2 else launches
        before = {*supervision.died}
        units_left = _launch(launches, supervision)
        again = supervision.died - before - supervision.hung
        if again:  # as in a run: what died is tried once more
            supervision.died.difference_update(again)
            units_left = _launch(launches, supervision)
        done.blocks.append(block)
        done.block_s.append(time.monotonic() - start)
        most = goal.at_most or goal.blocks
        left = sum(done.block_s) / len(done.block_s) * (most - len(done.blocks))
        known = f" at most {human_duration(left)} left" if most > goal.blocks else f" about {human_duration(left)} left"
        _say(f"[{len(done.blocks)}/{most}]" + known * (left > 0))
        if not units_left:
            _say("nothing is left to measure: a launch of each unit died twice")
            break


def _block_count(number: int, word: str) -> str:
    return f"{counted(number, 'block')} {'is' if number == 1 else 'are'} {word}"


def preparing_command(one: Side, request: Request, out: Path) -> list[str]:
    """Return the words that prepare one side."""
    listed = ", ".join(f'"{metric}"' for metric in request.metrics)
    suite = request.suite if not Path(request.suite).is_file() else str(Path(request.suite).resolve())
    words = [one.python, "-P", "-m", "modbench", "run", suite, "--effort", "draft", "-o", str(out), "--json"]
    words += ["--only"] if request.only else []
    for setting in (f"metrics=[{listed}]", "launches=1", f"rounds={ROUNDS}", "twin=false"):
        words += ["--set", setting]
    for model in request.given.models:
        words += ["--model", one.models.get(model, model)]
    # Two revisions of a model may differ in their FLOPs: their rivals would be two models.
    words += ["--rival", "none"] if any(map(is_user_model, request.given.models)) else []
    words += ["-k", request.given.select] if request.given.select else []
    words += ["--timeout", request.given.timeout] if request.given.timeout else []
    return [*words, *request.given.words]


def _prepare(one: Side, request: Request, out: Path, supervision: Supervision) -> Path:
    """Make the run folder of a side that launches are copies of."""
    shutil.rmtree(out, ignore_errors=True)
    log = out.with_suffix(".log")
    log.unlink(missing_ok=True)
    # A run has limits of its own for its units.
    words, variables = preparing_command(one, request, out), one.environment()
    with command.started(words, variables, log, ENDLESS_S, folder=one.folder) as run:
        run.join()
    supervision.refuse_if_stopped()
    if run.exitcode:
        output = log.read_text(encoding="utf-8", errors="replace")
        last = [line for line in output.splitlines() if line.startswith("modbench: ")]
        why = last[-1].removeprefix("modbench: ") if last else f"exit code {run.exitcode}: {output.strip()[-300:]}"
        if run.exitcode == ModbenchError.exit_code and exit_codes.BUG not in why:  # a full disk is no fault of the side
            raise ModbenchError(f"{one.label}: {why}")
        raise SideFailsError(f"{one.label}: {why}", second=one.second)
    log.unlink()
    timeout = request.given.timeout
    longest_s = None if timeout is None else parse_duration(timeout, "--timeout")
    supervision.limits[out] = Limits(run_folder.read(str(out)).plan, longest_s)
    return out


def _launch(sides: Sequence[tuple[Side, Path, Path]], supervision: Supervision) -> bool:
    """Time all units once more; `sides` has each process's side, the folder of that side, and its copy that gets new times.

    Returns:
        Whether a unit is left of which no launch died.
    """
    units = [timed_units(prepared) for _, prepared, _ in sides]
    for (_, prepared, out), timed in zip(sides, units, strict=True):
        shutil.rmtree(out, ignore_errors=True)  # of a block that did not come to its end
        old = {RunFolder(prepared).record(unit) for unit in timed.values()}
        try:
            shutil.copytree(
                prepared,
                out,
                ignore=lambda where, names, old=old: [
                    each
                    for each in names
                    if Path(where, each) in old or each == progress.NAME or each.endswith((".html", ".csv"))
                ],
            )
        except OSError as error:  # of several files: a list of what each of them said
            why = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
            raise ModbenchError(f"{out} cannot be written: {why}. Finished blocks are kept.") from error
    for name in _units_left(units, supervision):
        supervision.refuse_if_stopped()
        launches = [
            (one, prepared, out, timed[name])
            for (one, prepared, out), timed in zip(sides, units, strict=True)
            if name in timed
        ]
        ends = turn_taking.run([_start(*each, supervision) for each in launches])
        for (_, prepared, out, unit), ended in zip(launches, ends, strict=True):
            _keep_record(RunFolder(out), unit, ended, supervision.limits[prepared], supervision)
    return any(_units_left(units, supervision))


def _units_left(units: Sequence[dict[str, UnitOfWork]], supervision: Supervision) -> Iterator[str]:
    return (name for name in dict.fromkeys(name for timed in units for name in timed) if name not in supervision.died)


def _start(one: Side, prepared: Path, out: Path, unit: UnitOfWork, supervision: Supervision) -> Start:
    variables = {**local.variables(unit.comparison.place.threads), **dict(unit.facts.environment)}
    with local.environment(variables):
        environ = dict(os.environ)
    environ |= {key: value for key, value in one.environment().items() if key == "PYTHONPATH"}
    log = RunFolder(out).log(unit)
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    words = [one.python, "-P", str(SCRIPT), str(out), unit.name]
    return Start(words, environ, one.folder, log, supervision.limits[prepared][unit.name])


def _keep_record(
    folder: RunFolder, unit: UnitOfWork, ended: End, unit_limits: Limits, supervision: Supervision
) -> None:
    """Take the record of a launch, or write one with the cause of its death."""
    record, log = folder.record(unit), folder.log(unit)
    if record.exists():
        return
    if ended.exitcode == CannotWrite.exit_code:
        raise cannot_write(folder, unit)
    why = phase.death(ended.exitcode, timed_out=ended.hung, log=log, limit=limits.in_words(unit_limits, unit.name))
    phase.keep_log(log)
    phase.write_failure(unit, folder, why)
    supervision.died.add(unit.name)
    if ended.hung:
        supervision.hung.add(unit.name)
