"""The structure of the repository: docs that are true, links to the packages, names in strings that a move would break."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from plant_faults import FAULTS, Fault
from product import PACKAGES, ROOT

from modbench.harness.core.labels import Label
from modbench.harness.execution.launchers.local import PRELOAD
from modbench.harness.machine import environment
from modbench.harness.registry import catalogue

DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_docs_name_only_files_that_exist() -> None:
    file = re.compile(r"`(harness|models|plugins|reports|suites|tests)/([\w/.]+\.(?:py|toml))`")
    for doc in DOCS:
        for package, rest in file.findall(doc.read_text(encoding="utf-8")):
            assert "NAME" in rest or (ROOT / package / rest).exists(), f"{doc.name}: {package}/{rest}"


@pytest.mark.parametrize("package", [path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")])
def test_every_package_of_the_harness_stands_on_the_map_with_files_that_exist(package: str) -> None:
    """A bare name lies in the package, or in the folder that was named last on its line."""
    (line,) = re.findall(rf"^\| `{package}/` \|.*", MAP, flags=re.MULTILINE)
    folder = ROOT / "harness" / package
    for name in re.findall(r"`([\w/]+\.py)`", line):
        folder = (ROOT / "harness" / package / name).parent if "/" in name else folder
        assert (folder / Path(name).name).exists(), name


def test_every_label_is_explained() -> None:
    page = (ROOT / "docs" / "reading-a-report.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE) == [*Label]


def test_the_checkout_is_found_from_the_file_that_looks_for_it() -> None:
    """`run.json` records the commit of the folder that holds `harness/`, not of one above or below it."""
    assert (environment.CHECKOUT / "harness/machine/environment.py").samefile(environment.__file__)


@pytest.mark.parametrize("name", PRELOAD)
def test_the_fork_server_preloads_what_exists(name: str) -> None:
    """The fork server ignores a name that does not import: units would start slowly, without a word."""
    assert importlib.util.find_spec(name) is not None


def test_links_point_home() -> None:
    for package in PACKAGES:
        assert str((ROOT / "src" / "modbench" / package).readlink()) == f"../../{package}"


def test_a_checkout_without_links_imports_the_same_names(tmp_path: Path) -> None:
    """Where git makes no links (the default on Windows) the project root is searched."""
    package = tmp_path / "src" / "modbench"
    shutil.copytree(ROOT / "src" / "modbench", package, ignore=shutil.ignore_patterns(*PACKAGES, "__pycache__"))
    for name in PACKAGES:
        (tmp_path / name).symlink_to(ROOT / name)  # stands for the real top-level folder
        (package / name).write_text(f"../../{name}", encoding="utf-8")  # what git leaves in a link's place
    code = "import modbench.harness.registry.catalogue as c; print(c.__file__, *c.entries('models'))"
    command, where = [sys.executable, "-c", code], {"PYTHONPATH": str(tmp_path / "src"), "PATH": ""}
    found, *models = subprocess.run(command, capture_output=True, text=True, check=True, env=where).stdout.split()
    assert found.startswith(str(tmp_path))
    assert models == list(catalogue.entries("models"))


def test_nothing_in_the_repository_names_this_machine() -> None:
    """What is packed: tests/cli/test_start.py."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in (name for name in listed if not name.endswith((".png", ".xz"))):
        path = ROOT / name
        text = "" if path.is_symlink() or not path.exists() else path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.~])/(home|root|Users)/\w", text), name
        assert "--index-url" not in text or name.startswith("tests/"), name


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.number))
def test_a_fault_can_be_planted_and_its_test_exists(fault: Fault) -> None:
    """`benchmarks/plant_faults.py` plants it and runs the test. Where its lines were changed, write them anew."""
    for change in fault.changes:
        folder = Path(*Path(change.file).parts[:2])
        if folder.parent.name == "plugins" and not (ROOT / folder).is_dir():
            pytest.skip(f"{folder} is absent")
        made = change.made()
        assert made is not None, change
        compile(made, change.file, "exec")
    file, _, name = fault.test.partition("::")
    assert f"\ndef {name.partition('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8")


def test_every_fault_is_there() -> None:
    assert {each.number for each in FAULTS} == {*range(1, 31)}
