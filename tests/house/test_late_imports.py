"""What every install has beside modbench, and that none of it is imported before it is needed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from product import SOURCES

ROOT = Path(__file__).parents[2]
# Packages of the default install, by the name that is imported.
PACKAGES = {
    "torch": "torch",
    "pytest_benchmark": "pytest-benchmark",
    "pandas": "pandas",
    "seaborn": "seaborn",
    "pynvml": "nvidia-ml-py",
    "fvcore": "fvcore",
}
STARTS = {
    # The package checks no data yet.
    "import modbench": ["pydantic", "numpy", "matplotlib", "typer", "rich", *PACKAGES],
    "import modbench; modbench.load": ["torch", "typer"],
    # What commands load: tests/cli/test_commands.py.
    "import modbench.plugins.pytest.fixtures": [*PACKAGES],
}


def test_the_default_install_has_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {re.split(r"[^\w-]", each)[0] for each in project["dependencies"]} >= {*PACKAGES.values()}


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_none_is_imported_before_it_is_needed(start: str) -> None:
    code = f"{start}\nimport sys\nprint('loaded', *{{*{STARTS[start]!r}}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded"


def test_nothing_imports_all_of_scipys_statistics() -> None:
    """They take a second of each process that trains or reports; `scipy.special` has what they are made of."""
    asks = re.compile(r"from scipy import .*\bstats\b|scipy\.stats")
    assert [path.name for path in SOURCES if asks.search(path.read_text(encoding="utf-8"))] == []
