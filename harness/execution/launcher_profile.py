"""Reads a launcher's options from a file: lines of options as on a command line, or as in a batch script."""

from __future__ import annotations

import shlex
from pathlib import Path

from modbench.harness.core.errors import UnreadableError, UsageError, near_path

# An option in a batch script, such as `#SBATCH --partition=gpu`.
IN_A_SCRIPT = "#SBATCH"


def read_profile(file: str | Path) -> tuple[str, ...]:
    """Return a profile's options as they would stand on the command line: `--partition=gpu`, `--exclusive`.

    Args:
        file: lines of options, with or without `#SBATCH`, and comments.

    Raises:
        UsageError: if it cannot be read, or holds what is no option.
    """
    path = Path(file)
    if path.exists() and not path.is_file():  # a device may have no end
        raise UsageError(f"--launcher-profile {str(file)!r} is not a file.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        near = "" if path.exists() else near_path(path, Path.is_file)
        raise UnreadableError(f"--launcher-profile {str(file)!r} cannot be read: {why}.{near}") from error
    words: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        said = line.strip().removeprefix(IN_A_SCRIPT).strip()
        try:
            found = shlex.split(said, comments=True)
        except ValueError as error:
            raise UsageError(f"{path}: line {number}: {error}.") from error
        if found and not found[0].startswith("-"):
            raise UsageError(f"{path}: line {number} is no option: {said[:60]!r}. Write one as --partition=gpu.")
        words += found
    return tuple(words)
