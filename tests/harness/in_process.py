"""The command line, run in this process, which loads torch once."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from modbench.cli import app, main
from modbench.commands._app import GROUPS
from modbench.harness.registry import user_code

Modbench = Callable[..., subprocess.CompletedProcess[str]]
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def command_line(*arguments: object, cwd: Path | None = None, columns: int = 120) -> subprocess.CompletedProcess[str]:
    """Run a command as `modbench` would, and put back what it changes in this process."""
    command = ["modbench", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    groups, registered = {group: [*names] for group, names in GROUPS.items()}, [*app.registered_commands]
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    with (
        pytest.MonkeyPatch.context() as patch,
        mock.patch.dict(os.environ, {"COLUMNS": str(columns)}),  # a launcher sets variables for its workers
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", command)
        patch.setattr(sys, "path", list(sys.path))
        patch.chdir(cwd or Path.cwd())
        with pytest.raises(SystemExit) as ended:
            main()
    app.registered_commands[:] = registered  # a plug-in may have added some
    for group, names in groups.items():
        GROUPS[group][:] = names
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for name in [name for name in sys.modules if name.startswith("modbench_user_")]:
        del sys.modules[name]
    for known in (user_code._MODULES, user_code._SOURCES, user_code._settled):
        known.clear()
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return subprocess.CompletedProcess(command, code or 0, out.getvalue(), err.getvalue())


def succeeded(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """A command that ended with 0; the test fails with what it said if it did not."""
    assert done.returncode == 0, done.stderr
    return done
