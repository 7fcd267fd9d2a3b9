"""Reads a launcher's options from a file: TOML, or one option a line as on a command line or in a batch script."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

from modbench.harness.core.errors import UnreadableError, UsageError, near_path

# An option in a batch script, such as `#SBATCH --partition=gpu`.
IN_A_SCRIPT = "#SBATCH"


def read_profile(file: str | Path) -> tuple[str, ...]:
    """Return a profile's options as they would stand on the command line: `--partition=gpu`, `--exclusive`.

    Args:
        file: `NAME.toml` with a key for each option, true for one without a value and a list for one that is repeated; any other
            name: lines of options, with or without `#SBATCH`, and comments.

    Raises:
        UsageError: if it cannot be read; the message names the line or the key.
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
    return tuple(_from_toml(text, path) if path.suffix == ".toml" else _from_lines(text, path))


def _from_toml(text: str, path: Path) -> Iterator[str]:
    try:
        body = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UnreadableError(f"{path}: not TOML: {error}.") from error
    for key, value in body.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, bool):
                if each:
                    yield f"--{key.replace('_', '-')}"
            elif isinstance(each, str | int | float):
                yield f"--{key.replace('_', '-')}={each}"
            else:
                raise UsageError(
                    f"{path}: {key} = {each!r} is no option: write text, a number, true or a list of these."
                )


def _from_lines(text: str, path: Path) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        said = line.strip().removeprefix(IN_A_SCRIPT).strip()
        if not said or said.startswith("#"):
            continue
        if not said.startswith("-"):
            raise UsageError(f"{path}: line {number} is no option: {said[:60]!r}. Write one as --partition=gpu.")
        try:
            yield from shlex.split(said, comments=True)
        except ValueError as error:
            raise UsageError(f"{path}: line {number}: {error}.") from error
