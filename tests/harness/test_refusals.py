"""What the system refuses ends in one line that names the file, with the exit code that is documented; no litter is left."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modbench import api, cli
from modbench.harness.core import atomic_files
from modbench.harness.core.errors import IncompleteError
from modbench.harness.machine.process import graceful_stop

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
NO_SPACE = os.strerror(errno.ENOSPC)


def system_error(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), *([path] if path else []))


def refused_to_a_job() -> BaseException:
    """What a pass raises that cannot write, in a process of a command such as `train`."""
    try:
        with graceful_stop.writing():
            raise system_error(errno.ENOSPC, "run/jobs/a.json")
    except graceful_stop.CannotWrite as error:
        return error


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str]]:
    """The exit code and the words of a command that ends with an error."""

    def ended(error: BaseException) -> tuple[Any, str]:
        def refuse(**_: object) -> None:
            raise error

        monkeypatch.setattr(cli, "app", refuse)
        monkeypatch.setattr(sys, "argv", ["modbench"])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, capsys.readouterr().err

    return ended


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (system_error(errno.ENOSPC, "run/x"), 3, f"run/x: {NO_SPACE}. "),
        (system_error(errno.EMFILE, "run/x"), 3, "(ulimit -n)"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), 3, "No usable temporary"),
        (MemoryError(), 3, "(ulimit -v)"),
        (refused_to_a_job(), 3, f"run/jobs/a.json: {NO_SPACE}. Nothing that was finished"),
        (system_error(errno.ENOENT, "nowhere"), 2, f"nowhere: {os.strerror(errno.ENOENT)}. Check the path"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 0, ""),
        (KeyboardInterrupt(), 130, "interrupted."),
    ],
)
def test_what_the_system_refuses_ends_in_one_line(error: BaseException, code: int, said: str, main: Any) -> None:
    ended, shown = main(error)
    assert ended == code
    assert said in shown
    assert len(shown.splitlines()) == bool(said)


@pytest.mark.parametrize(
    ("errors", "code", "said"),
    [
        # typer takes any EOFError for an answer that the user did not give, and ends with 1.
        ([EOFError("planted")], 3, "EOFError: planted"),
        # A second Ctrl-C while the folder is given back: the exit code and what is kept are those of the first.
        ([IncompleteError("interrupted."), KeyboardInterrupt()], 4, "modbench: interrupted.\n"),
    ],
)
def test_what_ends_a_command_is_told_as_what_it_is(
    errors: list[BaseException], code: int, said: str, modbench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*_: Any, **__: Any) -> None:
        try:
            raise errors[0]
        finally:
            if errors[1:]:
                raise errors[1]

    monkeypatch.setattr(api, "report", ends)
    (tmp_path / "run.json").touch()
    done = modbench("report", str(tmp_path))
    assert done.returncode == code
    assert said in done.stderr


@FULL
@pytest.mark.slow
@pytest.mark.parametrize(("redirected", "code", "lines"), [("| true", 0, 0), ("> /dev/full", 3, 1)])
def test_output_that_nobody_takes(redirected: str, code: int, lines: int) -> None:
    """A reader that has gone away is no failure; a full disk is one of the tool's. Closed: tests/cli/test_closed_streams.py."""
    command = f"set -o pipefail; {sys.executable} -m modbench list models {redirected}"
    done = subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, lines), done.stderr


# --- files


CALLS = [(os, "fsync"), (os, "replace"), (tempfile, "mkstemp")]


@pytest.mark.parametrize(("module", "name"), CALLS, ids=[name for _, name in CALLS])
def test_a_refused_write_names_the_file_and_leaves_the_old_one(
    module: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    atomic_files.write_atomically(path, "old")

    def refuse(*_: object, **__: object) -> None:
        raise system_error(errno.ENOSPC)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, refuse)
        with pytest.raises(OSError, match="No space") as caught:
            atomic_files.write_atomically(path, "new")
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def of_torch(file: Path) -> None:
    """torch raises an error of its own about its archive."""
    with atomic_files.replacing(file, atomic_files.unfinished(file), sync=False) as stream:
        torch.save({"w": torch.zeros(100_000)}, stream)


def of_ours(file: Path) -> None:
    with atomic_files.replacing(file, atomic_files.unfinished(file), sync=False) as stream:
        stream.write(bytes(400_000))


def of_rust(file: Path) -> None:
    with atomic_files.naming(file):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")


@FULL
@pytest.mark.parametrize("save", [of_torch, of_ours, of_rust])
def test_a_full_disk_is_recognised_behind_a_library(save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_files, "new_file", lambda _: os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(OSError, match="No space") as caught:
        save(tmp_path / "file")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "file"))
    with pytest.raises(RuntimeError, match="another"), atomic_files.naming(tmp_path / "file"):
        raise RuntimeError("another (os error)")
