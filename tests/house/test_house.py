"""The structure of the repository: docs that are true, links to the packages."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from product import PACKAGES, SOURCES

from modbench.harness.core.labels import Label
from modbench.harness.registry import catalogue

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


def test_the_readme_has_two_commands_and_ci_calls_the_second() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).splitlines()
    job, tests = (line for line in lines if line.startswith("python3 -m venv"))
    assert job == lines[0]
    assert job.endswith("modbench run quick")
    assert "pip install -e ." in job  # a checkout: run.json then knows the commit
    assert tests.endswith("bin/tox")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert tests in ci


def test_the_readme_is_short() -> None:
    lines = README.splitlines()
    assert len(lines) <= 130
    assert [line for line in lines if len(line) > 120] == []


def test_pages_on_method_are_short_and_listed() -> None:
    overview = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    pages = [*(ROOT / "docs").glob("method-*.md")]
    assert pages
    for page in pages:
        assert page.read_text(encoding="utf-8").count("\n") <= 250, page.name
        assert f"]({page.name})" in overview


def test_docs_name_only_files_that_exist() -> None:
    for doc in DOCS:
        text = doc.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", text):
            assert (doc.parent / target).exists(), f"{doc.name}: {target}"
        for package, rest in re.findall(
            r"`(harness|models|plugins|reports|suites|tests)/([\w/.]+\.(?:py|toml))`", text
        ):
            assert "NAME" in rest or (ROOT / package / rest).exists(), f"{doc.name}: {package}/{rest}"


@pytest.mark.slow
def test_files_say_what_they_are() -> None:
    assert [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))] == []


def test_links_point_home() -> None:
    for package in PACKAGES:
        link = ROOT / "src" / "modbench" / package
        assert link.is_symlink()
        assert str(link.readlink()) == f"../../{package}"


def test_a_checkout_without_links_imports_the_same_names(tmp_path: Path) -> None:
    """Where git makes no links (the default on Windows) the project root is searched."""
    package = tmp_path / "src" / "modbench"
    shutil.copytree(ROOT / "src" / "modbench", package, ignore=shutil.ignore_patterns(*PACKAGES, "__pycache__"))
    for name in PACKAGES:
        (tmp_path / name).symlink_to(ROOT / name)  # stands for the real top-level folder
        (package / name).write_text(f"../../{name}", encoding="utf-8")  # what git leaves in a link's place
    code = "import modbench.harness.registry.catalogue as c; print(c.__file__, *c.entries('models'))"
    environment = {"PYTHONPATH": str(tmp_path / "src"), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert str(tmp_path) in done.stdout
    assert done.stdout.split()[1:] == list(catalogue.entries("models"))


def test_nothing_in_the_repository_names_this_machine() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    assert tracked
    for name in tracked:
        path = ROOT / name
        if (
            path.suffix in {".png", ".xz"} or not path.exists() or path.is_symlink()
        ):  # what is packed is checked in tests/cli/test_start.py
            continue
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.~])/(home|root|Users)/\w", text), name
        assert "--index-url" not in text or name.startswith("tests/"), name


def test_every_label_is_explained() -> None:
    page = (ROOT / "docs" / "method-labels.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE)
    assert explained == [*Label]


def test_questions_and_sections_read_no_record() -> None:
    """They start from the tables of a run (`reports/tables/`), which read records once."""
    reads = re.compile(r"\.cell\(\w+\.id|run\.records|loaded\.records|domain\.records")
    files = [path for folder in ("questions", "sections") for path in sorted((ROOT / "reports" / folder).rglob("*.py"))]
    assert len(files) > 20
    files += sorted(path for name in ("question", "section") for path in ROOT.glob(f"plugins/**/{name}.py"))
    assert {path.name for path in files if reads.search(path.read_text(encoding="utf-8"))} == set()
    assert reads.search("tables.cell(case.id, key)")
    assert reads.search("loaded.run.records")
