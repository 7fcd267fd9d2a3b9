"""Finds run folders: those in `runs/`, the newest of them, and the one that was probably meant. Reads none."""

from __future__ import annotations

from pathlib import Path

from modbench.harness.core.errors import UsageError, near_path

# Where runs are written unless `--out` says otherwise, and the file that makes a folder a run.
RUNS, RUN_FILE = "runs", "run.json"


def is_run(folder: Path) -> bool:
    """Whether a folder is a run."""
    return (folder / RUN_FILE).is_file()


def stored(folder: Path = Path(RUNS)) -> list[Path]:
    """The runs in a folder, the newest first: that whose `run.json` was written last. Links to runs are left out."""
    files = [file for file in folder.glob(f"*/{RUN_FILE}") if not file.parent.is_symlink()]
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
