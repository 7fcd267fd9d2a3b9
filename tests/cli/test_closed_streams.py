"""Daemons and wrappers of cron start programs with standard streams closed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="closes streams with a POSIX shell")
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_command_works_with_closed_streams(closed: str, tmp_path: Path) -> None:
    """A file that is opened next would otherwise get the number of the closed stream, and take what is printed."""
    inner = "import sys; from modbench import cli; cli._open_streams(); assert None not in (sys.stdin, sys.stdout, sys.stderr)"
    inner += (
        f"; file = open({str(tmp_path / 'file')!r}, 'w'); assert file.fileno() > 2; print('to nobody', file=sys.stderr)"
    )
    script = f'"{sys.executable}" -c "$INNER" {closed}'
    done = subprocess.run(["/bin/sh", "-c", script], env={**os.environ, "INNER": inner}, check=False)
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == ""
