"""The packages of harness and reports, and the strings that name modules: a move must not break them without a word."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from modbench.harness.execution.launchers.local import PRELOAD
from modbench.harness.machine import environment

ROOT = Path(__file__).parents[2]
HARNESS = ROOT / "harness"
REPORTS = ROOT / "reports"
# Folders to which files are added, one for each question, section or format.
ADDITIONS = {"questions", "sections", "formats"}
PACKAGES = sorted(path for path in HARNESS.iterdir() if path.is_dir() and path.name != "__pycache__")


def test_no_module_lies_loose_in_the_harness() -> None:
    assert [path.name for path in HARNESS.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_package_says_what_it_is_and_stands_on_the_map(package: Path) -> None:
    assert ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
    assert f"`{package.name}/`" in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_map_names_files_that_exist() -> None:
    """A bare name lies in the folder that was named last on its line."""
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        folder = HARNESS / (re.findall(r"^\| `(\w+)/`", line) or [""])[0]
        for name in re.findall(r"`([\w/*]+\.py)`", line) if line.startswith("|") else ():
            if "/" in name:
                folder = next(
                    base / Path(name).parent for base in (HARNESS, ROOT, folder) if (base / name).parent.is_dir()
                )
            assert list(folder.glob(Path(name).name)) or (ROOT / "src/modbench" / name).exists(), (name, line)


def test_the_checkout_is_found_from_the_file_that_looks_for_it() -> None:
    """`run.json` records the commit of the folder that holds `harness/`, not of one above or below it."""
    assert (environment.CHECKOUT / "harness/machine/environment.py").samefile(environment.__file__)


@pytest.mark.parametrize("name", PRELOAD)
def test_the_fork_server_preloads_what_exists(name: str) -> None:
    """The fork server ignores a name that does not import: units would start slowly, without a word."""
    assert importlib.util.find_spec(name) is not None


def test_few_doors_lie_side_by_side_in_the_reports() -> None:
    """Contracts, data and vocabulary lie loose; a folder that additions do not grow has few files."""
    assert sorted(path.name for path in REPORTS.glob("*.py")) == [
        "__init__.py",
        "blocks.py",
        "data_table.py",
        "output_format.py",
        "reasons.py",
        "section.py",
        "wording.py",
    ]
    for folder in (path for path in REPORTS.rglob("*") if path.is_dir() and path.name not in ADDITIONS):
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= (24 if folder.name == "tables" else 16), folder
