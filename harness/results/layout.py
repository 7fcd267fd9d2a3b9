"""Where runs lie, and the files of their jobs. The newest run, and the one that was meant, are found without reading any.

Files of jobs lie side by side, or, of a run with many jobs, in 256 folders each, by a hash of the name.
Few file systems like folders of ten thousand files. A run that is spread says so in `run.json` (`layout`) and in a file
`layout.json` of its own, which a worker finds without reading the plan.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
from pathlib import Path

from modbench.harness.core.atomic_files import write_atomically
from modbench.harness.core.errors import UnreadableError, UsageError, near_path, shown
from modbench.harness.core.plain_text import is_printable

# Where runs are written unless `--out` says otherwise, and the file that makes a folder a run.
RUNS, RUN_FILE = "runs", "run.json"
# Jobs up to which their files lie side by side.
MOST_TOGETHER = 1000
TOGETHER, SPREAD = "together", "spread"
MARK = "layout.json"
# Folders with a file for every job, which are made before the first job runs.
EVERY_JOB = ("jobs", "logs")
# A file system's limit is 255 bytes; endings such as `.died.log` and those of unfinished files take some of them.
MOST_NAME_BYTES = 230


def is_run(folder: Path) -> bool:
    """Whether a folder is a run."""
    return (folder / RUN_FILE).is_file()


def stored() -> list[Path]:
    """The runs in `runs/`, the newest first: that whose `run.json` was written last. Links to runs are left out."""
    files = [file for file in Path(RUNS).glob(f"*/{RUN_FILE}") if not file.parent.is_symlink()]
    return [file.parent for file in sorted(files, key=lambda file: (file.stat().st_mtime_ns, file), reverse=True)]


def newest() -> Path:
    """The newest run in `runs/`.

    Raises:
        UsageError: if there is none.
    """
    found = stored()
    if not found:
        raise UsageError(
            f"no RUN was named, and there is none in {RUNS}/ here. `modbench run quick` makes one; or name a run folder."
        )
    return found[0]


def unused(name: str) -> Path:
    """Default folder of a new run: the first `runs/<name>-<date>-<n>` that does not exist."""
    paths = (Path(RUNS) / f"{name}-{dt.datetime.now(dt.UTC):%Y%m%d}-{n}" for n in itertools.count(1))
    return next(path for path in paths if not path.exists())


def run_file(folder: str | Path) -> Path:
    """The `run.json` of a run folder.

    Raises:
        UsageError: if it is not a run folder.
    """
    path = Path(folder)
    if not is_run(path):
        near = near_path(path, is_run) or " `modbench run` creates one."
        raise UsageError(f"{str(folder)!r} is not a run folder: it has no {RUN_FILE}.{near}")
    return path / RUN_FILE


def chosen(jobs: int) -> str:
    """The layout of a new run with so many jobs."""
    return SPREAD if jobs > MOST_TOGETHER else TOGETHER


def make(run: Path, layout: str) -> None:
    """Make the folders that every job writes to; a copied run may lack the empty ones."""
    parts = [f"{i:02x}" for i in range(256)] if layout == SPREAD else [""]
    for folder in EVERY_JOB:
        for part in parts:
            (run / folder / part).mkdir(parents=True, exist_ok=True)
    if layout == SPREAD:
        write_atomically(run / MARK, json.dumps({"layout": SPREAD}))


def of(run: Path) -> str:
    """The layout of a run."""
    return SPREAD if (run / MARK).is_file() else TOGETHER


def file_of(run: Path, folder: str, name: str, ending: str) -> Path:
    """Path of a file of a job or series.

    Args:
        run: the run folder.
        folder: `jobs`, `logs`, `checkpoints` and so on.
        name: name of the job or series.
        ending: what follows the name.

    Raises:
        UsageError: if the name is not that of a plain file, and so may lead out of the folder.
    """
    if wrong := problem_of_name(name):
        raise UnreadableError(
            f"{run / RUN_FILE}: damaged: the name {shown(name)} {wrong}. modbench writes no such name."
        )
    place = run / folder
    if of(run) == SPREAD:
        place /= hashlib.sha256(name.encode()).hexdigest()[:2]
    return place / f"{name}{ending}"


def problem_of_name(name: str) -> str | None:
    """Why a name is not that of a plain file, in words; None if it is one."""
    if not name:
        return "is empty"
    if name.startswith("."):
        return "begins with a dot"
    if "/" in name or "\\" in name:
        return "holds a slash"
    if not is_printable(name):
        return "holds control characters"
    if len(name.encode(errors="surrogatepass")) > MOST_NAME_BYTES:
        return f"is longer than {MOST_NAME_BYTES} bytes"
    return None
