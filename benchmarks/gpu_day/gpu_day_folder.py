"""What a first day leaves: one folder of at most eight files and 16 MiB, from which it can also be continued elsewhere."""

from __future__ import annotations

import json
import platform
import shutil
import signal
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpu_day_steps import STEPS, Mode

MOST_FILES, MOST_BYTES = 8, 16 * 2**20
# Raw samples beyond this are left out of the folder.
MOST_ARCHIVE_BYTES = 10 * 2**20
TAIL = 30


@dataclass(frozen=True)
class Done:
    """How a step ended.

    Attributes:
        name: the step.
        mode: at which size it ran.
        code: exit code; negative: the signal that ended it.
        seconds: how long it took.
        limit_s: its limit.
        command: its command line, without the interpreter.
    """

    name: str
    mode: Mode
    code: int
    seconds: float
    limit_s: float
    command: str = ""

    @property
    def in_words(self) -> str:
        """One line."""
        if self.code == 0:
            how = "done"
        elif self.code == -signal.SIGINT:
            how = "interrupted at its limit"
        else:
            how = f"died of {signal.Signals(-self.code).name}" if self.code < 0 else f"failed with {self.code}"
        return f"{how} after {self.seconds:.0f} s"


@dataclass(frozen=True)
class Day:
    """The folder that is carried away, and the working folder beside it.

    Attributes:
        out: what is carried away.
        work: run folders, outputs and logs of the steps.
    """

    out: Path
    work: Path

    @property
    def site(self) -> Path:
        """Where missing packages are installed."""
        return self.work / "site"

    def emptied(self, step: str, mode: Mode) -> Path:
        """The run folder of a step, without what an attempt that failed left there."""
        folder = self.work / mode / step
        folder.parent.mkdir(parents=True, exist_ok=True)
        for each in (folder, self.beside(folder, "-first")):
            if each.exists() and not self.is_done(step, mode):
                shutil.rmtree(each)
        return folder

    @staticmethod
    def beside(folder: Path, ending: str) -> Path:
        """A file of a step: `STEP.out`."""
        return folder.with_name(folder.name + ending)

    @property
    def _state(self) -> Path:
        return self.work / "steps.json"

    def all_done(self) -> list[Done]:
        """How each step ended the last time, in the order of the day."""
        if not self._state.exists():
            return []
        found = [Done(**row) for row in json.loads(self._state.read_text(encoding="utf-8"))]
        order = {step.name: i for i, step in enumerate(STEPS)}
        return sorted(found, key=lambda done: (done.mode, order.get(done.name, len(order))))

    def is_done(self, step: str, mode: Mode) -> bool:
        """Whether a step has ended well at this size."""
        return any(done.name == step and done.mode == mode and done.code == 0 for done in self.all_done())

    def keep(self, done: Done) -> None:
        """Note how a step ended."""
        rows = [each for each in self.all_done() if (each.name, each.mode) != (done.name, done.mode)]
        new = self.beside(self._state, ".new")  # another step may be reading the old one
        new.write_text(json.dumps([asdict(each) for each in (*rows, done)], indent=1), encoding="utf-8")
        new.replace(self._state)

    def write(self) -> str:
        """Write the folder that is carried away; returns what it holds, in words."""
        from gpu_day_page import collected, csv_of, page_of, summary_of

        self.out.mkdir(parents=True, exist_ok=True)
        facts = collected(self) | {"python": platform.python_version(), "machine": platform.machine()}
        texts = {
            "day.json": json.dumps(facts, indent=1),
            "summary.txt": summary_of(facts),
            "gpu-and-clusters.md": page_of(facts),
            "cases.csv": csv_of(self, "cases.csv"),
            "comparisons.csv": csv_of(self, "comparisons.csv"),
            "logs.txt": self._logs(),
        }
        for name, text in texts.items():
            if text:
                (self.out / name).write_text(text, encoding="utf-8")
        report = next(
            (f for mode in ("day", "look", "rehearse") if (f := self.work / mode / "gpu/report.html").exists()), None
        )
        if report is not None:
            shutil.copy(report, self.out / "report.html")
        self._archive()
        files = sorted(self.out.iterdir())
        size = sum(file.stat().st_size for file in files)
        too_much = "" if len(files) <= MOST_FILES and size <= MOST_BYTES else "; MORE THAN CAN BE CARRIED AWAY"
        return f"{self.out}: {', '.join(file.name for file in files)}; {size / 2**20:.1f} MiB{too_much}"

    def _logs(self) -> str:
        """The ends of all logs, those of failed steps first."""
        parts = []
        for done in sorted(self.all_done(), key=lambda each: each.code == 0):
            log = self.beside(self.work / done.mode / done.name, ".log")
            if log.exists():
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
                parts.append("\n".join([f"=== {done.mode} {done.name}: {done.in_words}", done.command, *lines]))
        return "\n\n".join(parts)

    def _archive(self) -> None:
        """Pack what another machine needs to go on: how steps ended, their outputs, and the records of runs.

        Only of steps that have ended: the files of one that still runs beside them come and go.
        """
        target, kept = self.out / "steps.tar.gz", [self._state] if self._state.exists() else []
        for done in self.all_done():
            folder = self.work / done.mode / done.name
            of_step = [self.beside(folder, ending) for ending in (".log", ".out", ".xml")]
            of_step += [file for ending in ("", "-first") for file in sorted(self.beside(folder, ending).rglob("*"))]
            for file in of_step:
                records = file.suffix in {".json", ".csv", ".html", ".out", ".log", ".xml"}
                if records and file.is_file() and not {"logs", "weights"} & {*file.relative_to(self.work).parts}:
                    kept.append(file)
        for leave_out in ((), ("jobs",), ("jobs", "report.html")):
            with tarfile.open(target, "w:gz") as archive:
                for file in kept:
                    if not {*leave_out} & {*file.parts}:
                        archive.add(file, file.relative_to(self.work))
            if target.stat().st_size <= MOST_ARCHIVE_BYTES:
                return


def open_day(out: Path, work: Path | None) -> Day:
    """Open a day: a new one, or one that was begun here or carried here."""
    day = Day(out.resolve(), (work or out.with_name(out.name + ".work")).resolve())
    day.work.mkdir(parents=True, exist_ok=True)
    carried = day.out / "steps.tar.gz"
    if carried.exists() and not (day.work / "steps.json").exists():
        with tarfile.open(carried) as archive:
            archive.extractall(day.work, filter="data")
    return day


def read_json(file: Path) -> dict[str, Any] | None:
    """A file's JSON object; None if there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
