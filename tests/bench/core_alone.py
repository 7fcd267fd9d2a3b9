"""The tests of the core where `plugins/` is absent: python tests/bench/core_alone.py FOLDER [PYTEST OPTIONS].

A copy of the checkout in FOLDER loses its plug-ins, its wheel is installed beside it, and its tests run there, but for those of
the repository's shape and of the docs, which speak of all plug-ins.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = (".*", "plugins", "__pycache__", "build", "dist", "*.egg-info", "runs")


def main(folder: Path, options: list[str]) -> int:
    """Copy, install and test; returns pytest's exit code."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    site = folder / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
        ".",
    ]
    subprocess.run(install, cwd=folder, check=True)
    tests = [sys.executable, "-m", "pytest", "tests", "--ignore=tests/house", "--ignore=tests/docs", *options]
    environment = os.environ | {"PYTHONPATH": str(site)}
    return subprocess.run(tests, cwd=folder, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute(), sys.argv[2:]))
