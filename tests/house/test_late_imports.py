"""Nothing heavy is imported before it is needed: starts of the package and of commands, and what each may not load."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from modbench.planted_runs import planted_plan, planted_run

pytestmark = pytest.mark.slow

HEAVY = {"torch", "pandas", "numpy", "scipy", "matplotlib", "seaborn", "jinja2", "pynvml", "fvcore", "pytest_benchmark"}


def loaded(code: str, cwd: Path) -> set[str]:
    """Modules that a fresh process has loaded after some code, whatever exit code it raises."""
    code = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nsys.stderr.write('\\n'+' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    return {*done.stderr.splitlines()[-1].split()}


@pytest.mark.parametrize(
    ("code", "later"),
    [
        ("import modbench", {"pydantic", "typer", "rich", *HEAVY}),
        ("import modbench; modbench.load", {"torch", "typer"}),
        ("import modbench.plugins.pytest.fixtures", HEAVY - {"numpy", "scipy", "jinja2"}),
    ],
)
def test_an_import_loads_no_more_than_it_needs(code: str, later: set[str], tmp_path: Path) -> None:
    assert loaded(code, tmp_path) & later == set()


@pytest.mark.parametrize(
    ("command", "later"),
    [
        ("--help", {"pydantic", *HEAVY}),  # it checks no data yet
        ("--version", HEAVY),
        ("run --help", HEAVY),
        ("list", HEAVY),
        ("list models", HEAVY),
        ("list metrics --json", HEAVY),
        ("watch --once run", HEAVY),
        ("report run --format md", {"torch", "matplotlib"}),
    ],
)
def test_a_command_loads_no_more_than_it_needs(command: str, later: set[str], tmp_path: Path) -> None:
    if command.endswith(("run", "md")):
        planted_run(tmp_path, planted_plan("smoke"))
    code = f"sys.argv = {['modbench', *shlex.split(command)]!r}; from modbench.cli import main; main()"
    found = loaded(code, tmp_path)
    assert "modbench.cli" in found
    assert found & later == set()
