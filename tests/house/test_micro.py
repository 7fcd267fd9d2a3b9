"""The micro benchmarks run: each once, untimed, in a process of its own, by the command that their folder names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MICRO = ROOT / "suites" / "micro"


@pytest.mark.slow
def test_every_file_is_collected_and_every_benchmark_runs() -> None:
    command = [sys.executable, "-m", "pytest", "suites/micro", "-p", "benchmark"]
    assert " ".join(command[2:]) in (MICRO / "__init__.py").read_text(encoding="utf-8")
    once = [*command, "--benchmark-disable", "-v", "-p", "no:cacheprovider"]
    done = subprocess.run(once, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.findall(r"^(suites/micro/bench_\w+\.py)::bench_\S+ PASSED", done.stdout, flags=re.MULTILINE)
    assert set(passed) == {str(path.relative_to(ROOT)) for path in MICRO.glob("bench_*.py")}
    assert f"{len(passed)} passed" in done.stdout
