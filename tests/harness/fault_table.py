"""What does a fault cost? Each is brought about at random moments of a run of stub jobs, which is then resumed to its end.

    python tests/harness/fault_table.py

Prints benchmarks/data/faults.csv: what was lost, run twice or wrong.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
os.environ["MODBENCH_PLUGINS"] = str(HERE / "stubs")
sys.path[:0] = [str(HERE)] * (str(HERE) not in sys.path)

import fault_injection  # noqa: E402  # what follows reads the variable
import pandas as pd  # noqa: E402
import stub_jobs  # noqa: E402
from fault_process import PATIENCE_S, Process, children, command_of, kill, runs, start  # noqa: E402

from modbench import api  # noqa: E402
from modbench.harness.domain.case import Job  # noqa: E402
from modbench.harness.execution.limits import Limits  # noqa: E402
from modbench.harness.planning.overrides import Overrides  # noqa: E402
from modbench.harness.planning.plan import Plan  # noqa: E402
from modbench.harness.registry import catalogue  # noqa: E402
from modbench.harness.results.workspace import Workspace  # noqa: E402

# A command may end before the moment: then another moment is drawn.
DRAWS = 24


def prepare() -> Plan:
    """Load what commands need, leave out the pass that builds real models, and plan the stub suite."""
    passes = catalogue.passes()
    passes["count"] = dataclasses.replace(passes["count"], runs_for_every_case=False)
    for room in ("sections", "warnings"):
        for name in catalogue.entries(room):
            catalogue.load(room, name)
    return api.make_plan("stubs", Overrides())


PLAN = prepare()


@dataclass
class Trial:
    """One fault at one moment.

    Attributes:
        beside: folder of the trial, which holds the run folder.
        moment: when the fault comes, as a share of the run.
        rng: random numbers of the trial.
        problems: what was wrong besides the three counts.
        kept: good records after the fault, by job: file identity and content.
        codes: exit codes of the commands that met the fault.
    """

    beside: Path
    moment: float
    rng: random.Random
    problems: list[str] = field(default_factory=list)
    kept: dict[str, tuple[int, int, bytes]] = field(default_factory=dict)
    codes: list[int] = field(default_factory=list)
    started: int = 0

    @property
    def run(self) -> Path:
        return self.beside / "run"

    @property
    def switch(self) -> Path:
        return self.beside / "switch"

    @property
    def job(self) -> Job:
        """The one that is at work at the moment, roughly."""
        return PLAN.jobs[min(int(self.moment * len(PLAN.jobs)), len(PLAN.jobs) - 1)]

    @property
    def begun(self) -> bool:
        """Whether there is a plan on disk."""
        return (self.run / "run.json").exists()

    @property
    def whole(self) -> bool:
        """Whether every job has a good record."""
        return all(stub_jobs.good(self.record(job)) for job in PLAN.jobs)

    def record(self, job: Job) -> Path:
        return self.run / "jobs" / f"{job.name}.json"

    def command(self, *arguments: str, fault: str = "", before: Callable[[], None] | None = None) -> Process:
        self.started += 1

        def prepared() -> None:
            if before is not None:
                before()
            if fault:
                fault_injection.install(fault, str(self.run), str(self.switch))

        return start(arguments, self.beside, self.started, prepared)

    def begin(self, fault: str = "", before: Callable[[], None] | None = None) -> Process:
        return self.command("run", "stubs", "--device", "cpu", "-o", "run", fault=fault, before=before)

    def journal(self) -> list[list[str]]:
        file = self.beside / "journal"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def running(self) -> list[int]:
        """Processes of jobs that have started and not ended."""
        found: dict[str, int] = {}
        for event, job, pid, _ in self.journal():
            found[job] = int(pid) if event == "start" else 0
        return [pid for pid in found.values() if pid]

    def reach(self, process: Process) -> bool:
        """Wait for the trial's moment; whether the command is still running then."""
        at = self.moment * (len(PLAN.jobs) + 2)
        wanted, rest = min(int(at), len(PLAN.jobs)), at - int(at)
        while process.alive and sum(line[0] == "start" for line in self.journal()) < wanted:
            time.sleep(0.001)
        time.sleep(rest * (0.25 if int(at) in {0, len(PLAN.jobs) + 1} else 0.03))
        return process.alive

    def ended(self, process: Process, expected: set[int], lines: int = 2) -> int:
        """Wait for a command; note a wrong exit code, a traceback or a long message."""
        code = process.wait()
        every = process.said.read_text(errors="replace").splitlines()
        said = [line for line in every if not line.startswith(("[", "stubs: "))]
        if code not in expected:
            self.problems.append(f"exit code {code}, not {sorted(expected)}: {' / '.join(said[-3:])}")
        # Where the command was killed, Python's fork server may say that it was cut off.
        if code != -signal.SIGKILL and (any("Traceback" in line for line in said) or len(said) > lines):
            self.problems.append(f"{len(said)} lines: {' / '.join([*said[:2], '…', *said[-2:]])}")
        return code

    def settle(self) -> None:
        """Wait until no process of the trial is left, and note which did not end; then see what was kept."""
        until = time.monotonic() + PATIENCE_S
        while left := [pid for pid in {int(line[2]) for line in self.journal()} if runs(pid)]:
            if time.monotonic() > until:
                self.problems.append(f"{len(left)} processes outlived the command by {PATIENCE_S:.0f} s")
                for pid in left:
                    kill(pid)
                break
            time.sleep(0.005)
        good = [job for job in PLAN.jobs if stub_jobs.good(self.record(job))]
        self.kept = {job.name: identity(self.record(job)) for job in good}

    def resume(self, options: tuple[str, ...], fault: str) -> None:
        """Continue to the end; where the fault came before there was a plan on disk, start anew."""
        if not self.begun:
            shutil.rmtree(self.run, ignore_errors=True)
        process = self.command("resume", *options, "run", fault=fault) if self.begun else self.begin(fault)
        self.ended(process, {0}, lines=9)

    def counts(self) -> tuple[int, int, int]:
        """Jobs lost, duplicated and silently wrong."""
        lost = [job.name for job in PLAN.jobs if not stub_jobs.good(self.record(job))]
        again = {line[1] for line in self.journal() if line[3] == "again"}
        again |= {name for name, was in self.kept.items() if identity(self.run / "jobs" / f"{name}.json") != was}
        wrong = 0
        for job in PLAN.jobs:
            outcomes = [] if job.name in lost else json.loads(self.record(job).read_bytes())["outcomes"]
            right = ([stub_jobs.value(job.made_in, each["case"])] for each in outcomes)
            wrong += any(each["samples"]["value"] != value for each, value in zip(outcomes, right, strict=True))
        return len(lost), len(again), wrong + self._wrong_in_table()

    def _wrong_in_table(self) -> int:
        file = self.run / "cases.csv"
        if not file.exists():
            self.problems.append("there is no report")
            return 0
        table = pd.read_csv(file)
        right = [
            stub_jobs.value(metric.replace("stub/", "stub_"), case)
            for metric, case in zip(table.metric, table.case_id, strict=True)
        ]
        if len(table) != 3 * len(PLAN.cases) or not (table.status == "ok").all():
            self.problems.append(f"the table has {len(table)} rows, {(table.status == 'ok').sum()} of them good")
        return int(((table.status == "ok") & (abs(table.value - right) > 1e-6)).sum())


def identity(file: Path) -> tuple[int, int, bytes]:
    """What is another one for a file that was written anew."""
    if not file.exists():
        return 0, 0, b""
    return file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes()


# Strikes a command that runs, yields the exit codes that are documented for it, and when it has ended undoes what it did;
# yields nothing if there was nothing to harm.
Strike = Callable[[Trial, Process], Iterator[set[int]]]


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        name: as in the documented table.
        strike: brings it about.
        injected: what of `fault_injection` a command meets.
        resumed: and the one that resumes it, too.
        planted: makes what a command does before it begins; such a fault has its own moment.
        begun: whether it comes only when there is a plan on disk.
        options: of `resume`.
        lines: as many the command may say.
    """

    name: str
    strike: Strike
    injected: str = ""
    resumed: str = ""
    planted: Callable[[Trial], Callable[[], None]] | None = None
    begun: bool = False
    options: tuple[str, ...] = ()
    lines: int = 2

    def bring(self, trial: Trial) -> bool:
        """Bring it about, and resume; false if the command had ended before its moment."""
        process = trial.begin(self.injected, self.planted and self.planted(trial))
        reached = self.planted is not None or (trial.reach(process) and (trial.begun or not self.begun))
        strike = self.strike(trial, process)
        if not reached or (codes := next(strike, None)) is None:
            process.wait()
            return False
        trial.codes.append(trial.ended(process, codes, self.lines))
        next(strike, None)
        trial.settle()
        trial.resume(self.options, self.resumed)
        return True


def signalled(trial: Trial, process: Process, numbers: tuple[signal.Signals, ...]) -> Iterator[set[int]]:
    """Signals to the whole process group, as a terminal and a scheduler send them; SIGKILL to the runner alone."""
    for at, number in enumerate(numbers):
        time.sleep(0.03 * trial.rng.random() * bool(at))
        if process.alive:
            kill(process.pid, number, group=number != signal.SIGKILL)
    process.wait()
    codes = {-9} if signal.SIGKILL in numbers else {4}
    if not trial.begun:  # nothing is kept, and early on nobody listens yet
        codes |= {130, *(-number for number in numbers)}
    yield codes | {0} if trial.whole else codes  # the last jobs may end before they are asked to


def worker_killed(trial: Trial, process: Process) -> Iterator[set[int]]:
    while process.alive and not (running := trial.running()):
        time.sleep(0.0005)
    if process.alive:
        kill(trial.rng.choice(running))
        yield {0}


def helper_killed(trial: Trial, process: Process, said: tuple[str, ...]) -> Iterator[set[int]]:
    """The fork server or the minders are killed. The run goes on: jobs that this ended start again; all have records."""
    found = [pid for pid in children(process.pid) if any(each in command_of(pid) for each in said)]
    for pid in found:
        kill(pid)
    if found:
        yield {0}
        if process.code == 0 and not trial.whole:
            trial.problems.append("jobs were lost before anything was resumed")


def refused(trial: Trial, process: Process) -> Iterator[set[int]]:
    """The disk refuses from the moment on, until the command has ended."""
    trial.switch.touch()
    process.wait()
    codes = {0, 3} if trial.whole else {3}
    yield codes if trial.begun else {2, 3}  # a folder in which nothing can be begun is the wrong one to name
    trial.switch.unlink()


def taken(trial: Trial, _: Process) -> Iterator[set[int]]:
    """The folder is moved away, and back when the command has ended."""
    away = trial.run.rename(trial.beside / "away")
    yield {3} if trial.moment < 0.85 else {0, 3}
    if trial.run.exists():
        trial.problems.append(f"the folder was made again: {sorted(path.name for path in trial.run.iterdir())}")
        shutil.rmtree(trial.run)
    away.rename(trial.run)


def clock_back(trial: Trial, process: Process) -> Iterator[set[int]]:
    """The wall clock is set back by a day and an hour while jobs run, the command may be killed, and it stays back."""
    trial.switch.touch()
    if trial.rng.random() < 0.5:
        yield {0}
    else:
        time.sleep(0.1 * trial.rng.random())
        yield from killed(trial, process)


def killed(trial: Trial, process: Process) -> Iterator[set[int]]:
    kill(process.pid)
    process.wait()
    yield {-9, 0} if trial.whole else {-9}  # it may have been at its end


def cut(trial: Trial, process: Process, share: float) -> Iterator[set[int]]:
    """The command is killed and the latest record is cut, as by a power cut on a file system that renames before it writes."""
    yield from killed(trial, process)
    trial.settle()
    for file in sorted((trial.run / "jobs").glob("*.json"), key=lambda file: file.stat().st_mtime_ns)[-1:]:
        file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])


def three_at_once(trial: Trial, _: Process) -> Iterator[set[int]]:
    """A run and two resumes on one folder: one of them works, the others are refused and change nothing."""
    others = [trial.command("resume", "run") for _ in range(2)]
    trial.codes += [trial.ended(other, {0, 2}) for other in others]
    yield {0}


def stolen(trial: Trial, process: Process) -> Iterator[set[int]]:
    """A runner is stopped as if its machine slept; another steals the folder once, and the first wakes up."""
    kill(process.pid, signal.SIGSTOP, group=True)
    trial.codes.append(trial.ended(trial.command("resume", "--take-over", "run"), {0, 2}))
    kill(process.pid, signal.SIGCONT, group=True)
    yield {0, 2, 3, 4}


def hanging(trial: Trial) -> Callable[[], None]:
    """One job hangs until its limit of two seconds has passed; the others have the usual limit."""
    name, usual = trial.job.name, Limits.limit
    (trial.beside / f"hang-{name}").touch()

    def limited() -> None:
        Limits.limit = lambda limits, job: 2.0 if job.name == name else usual(limits, job)  # type: ignore[assignment, method-assign]

    return limited


def hangs(trial: Trial, process: Process) -> Iterator[set[int]]:
    """It then counts as failed, and is run again when asked for."""
    process.wait()
    (trial.beside / f"hang-{trial.job.name}").unlink()
    yield {0}


def dying(trial: Trial) -> Callable[[], None]:
    """One job's process is killed after it has written its record and before it tidies up."""
    name, tidy = trial.job.name, Workspace.tidy

    def tidied(here: Workspace) -> None:
        if here.job == name and here.run.parent == trial.beside and stub_jobs.good(here.record_of(name)):
            os.kill(os.getpid(), signal.SIGKILL)
        tidy(here)

    return lambda: setattr(Workspace, "tidy", tidied)


FAULTS = [
    Fault("SIGKILL of the runner", partial(signalled, numbers=(signal.SIGKILL,))),
    Fault("SIGKILL of a worker", worker_killed),
    # A fork of this process, or Python's own.
    Fault("SIGKILL of the fork server", partial(helper_killed, said=(command_of(os.getpid()), "forkserver")), lines=4),
    Fault("SIGKILL of a job's supervisor", partial(helper_killed, said=("child.py\0mind",)), lines=4),
    Fault("SIGTERM", partial(signalled, numbers=(signal.SIGTERM,))),
    Fault("SIGHUP", partial(signalled, numbers=(signal.SIGHUP,))),
    Fault("one Ctrl-C", partial(signalled, numbers=(signal.SIGINT,))),
    Fault("two Ctrl-C", partial(signalled, numbers=(signal.SIGINT, signal.SIGINT))),
    *(Fault(name, refused, injected=name) for name in fault_injection.CODES),
    Fault("folder moved away", taken, begun=True),
    Fault("clock set back", clock_back, injected="clock", resumed="clock"),
    Fault("a run and two resumes at once", three_at_once, begun=True),
    Fault("a lock that is stolen", stolen, begun=True),
    Fault("a torn record", partial(cut, share=0.5)),
    Fault("a record of no bytes", partial(cut, share=0.0)),
    Fault("no HOME, no entry in passwd", killed, injected="no home", resumed="no home"),
    Fault("a job that hangs", hangs, planted=hanging, options=("--retry-failed",)),
    Fault("a job that dies after its record", lambda *_: iter([{0}]), planted=dying),
]


@dataclass
class Row:
    """What a fault cost, all moments together."""

    fault: str
    moments: int = 0
    codes: list[int] = field(default_factory=list)
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)

    def cells(self) -> list[object]:
        codes = ", ".join("killed" if code < 0 else str(code) for code in sorted(set(self.codes)))
        return [self.fault, self.moments, codes, self.lost, self.duplicated, self.wrong]


def row_of(fault: Fault, moments: int, seed: int) -> Row:
    """Bring a fault about at random moments, spread over the run."""
    row, rng = Row(fault.name), random.Random(f"{seed} {fault.name}")
    for at in range(moments):
        for draw in range(DRAWS):
            # In some part of a run there may be nothing to harm, such as a worker at its end: then anywhere in it.
            moment = (at + rng.random()) / moments if draw < DRAWS // 4 else rng.random()
            # Not a `TemporaryDirectory`, which a fork of this process would remove at its end.
            trial = Trial(Path(tempfile.mkdtemp(prefix="modbench-fault-")), moment, rng)
            os.environ["MODBENCH_STATE"] = str(trial.beside / "state")
            met = fault.bring(trial)
            lost, duplicated, wrong = trial.counts() if met else (0, 0, 0)
            shutil.rmtree(trial.beside)
            if not met:
                continue
            row.moments += 1
            row.codes += trial.codes
            row.lost, row.duplicated, row.wrong = row.lost + lost, row.duplicated + duplicated, row.wrong + wrong
            if lost or duplicated or wrong:
                trial.problems.append(f"{lost} lost, {duplicated} duplicated, {wrong} wrong")
            row.problems += [f"moment {moment:.3f}: {problem}" for problem in trial.problems]
            break
    return row


def serve(seed: int) -> None:
    """For tests that share one process: say all names, then read a number of moments and a name a line, and answer with a row."""
    print(json.dumps([fault.name for fault in FAULTS]), flush=True)
    for line in sys.stdin:
        moments, _, name = line.strip().partition(" ")
        (fault,) = (each for each in FAULTS if each.name == name)
        print(json.dumps(asdict(row_of(fault, int(moments), seed))), flush=True)


def main() -> None:
    """Print the table; exit 1 if a fault cost something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help="part of the faults' names")
    parser.add_argument("--serve", action="store_true")
    given = parser.parse_args()
    if given.serve:
        return serve(given.seed)
    table, problems = csv.writer(sys.stdout, lineterminator="\n"), list[str]()
    table.writerow(["fault", "moments", "exit_codes", "lost", "duplicated", "wrong"])
    for fault in FAULTS:
        if given.only in fault.name:
            row = row_of(fault, given.moments, given.seed)
            table.writerow(row.cells())
            print(end="", flush=True)
            sys.stderr.writelines(f"{problem}\n" for problem in row.problems)
            problems += row.problems
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
