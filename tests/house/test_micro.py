"""The micro benchmarks run: each once, untimed, in a process of its own, by the commands that their folder names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MICRO = ROOT / "suites" / "micro"
FILES = {path.name for path in MICRO.glob("bench_*.py")}
ANYWHERE = ("--pyargs", "modbench.suites.micro")


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", *arguments, "-p", "no:cacheprovider"]
    paths = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(each).resolve()) for each in paths)}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [pytest.param(("suites/micro",), marks=pytest.mark.proof), ANYWHERE])
def test_every_file_is_collected_and_every_benchmark_runs(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """In the checkout, and from any folder, beside a user's own files: whose `bench_*` are none of pytest's business."""
    assert " ".join(["pytest", *arguments]) in (MICRO / "__init__.py").read_text(encoding="utf-8")
    (tmp_path / "test_mine.py").write_text("def bench_mine():\n    raise SystemExit\ndef test_mine():\n    pass\n")
    (tmp_path / "bench_mine.py").write_text("raise SystemExit\n")
    here = ROOT if arguments == ("suites/micro",) else tmp_path
    mine = () if here == ROOT else (str(tmp_path),)
    # Once is enough to run them: the checkout's command collects the same ones.
    how = ("--collect-only", "-q") if here == ROOT else ("-v",)
    done = run(*arguments, *mine, "--benchmark-disable", *how, cwd=here)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"(bench_\w+\.py)::bench_\S+" + " PASSED" * (here != ROOT), done.stdout)
    assert set(found) == FILES
    assert f"{len(found) + len(mine)} {'tests collected' if here == ROOT else 'passed'}" in done.stdout


@pytest.mark.slow
def test_without_pytest_benchmark_every_file_says_what_is_missing(tmp_path: Path) -> None:
    done = run(*ANYWHERE, "-p", "no:benchmark", "-q", cwd=tmp_path)
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert len(re.findall(r"^bench_\w+\.py needs .*pytest-benchmark", done.stdout, re.MULTILINE)) == len(FILES)
    assert "Traceback" not in done.stdout
