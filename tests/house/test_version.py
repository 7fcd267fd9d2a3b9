"""The version has one place, `modbench/version.py`: changelog, citation, tag, pages and records say the same."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

from modbench.cli import main
from modbench.harness.machine import environment
from modbench.version import __version__

ROOT = Path(__file__).parents[2]
PLACE = "src/modbench/version.py"
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEADINGS = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)


def released() -> dict[str, str]:
    """Days of releases, by version, newest first: the sections of the changelog below `## Unreleased`."""
    heads = HEADINGS[1:] if HEADINGS[:1] == ["Unreleased"] else HEADINGS
    read = {head: re.fullmatch(r"(\d+\.\d+\.\d+) - (\d{4}-\d{2}-\d{2})", head) for head in heads}
    assert [head for head, found in read.items() if not found] == [], "not `VERSION - YYYY-MM-DD`, below `Unreleased`"
    return {found[1]: found[2] for found in read.values() if found}


def test_the_changelog_has_the_version_and_none_above_it() -> None:
    assert HEADINGS, "begin it with `## Unreleased`"
    own, *numbers = [[int(part) for part in version.split(".")] for version in (__version__, *released())]
    assert numbers == sorted(numbers, reverse=True), "newest first"
    assert all(each <= own for each in numbers), f"{PLACE} is older than the newest release"


def test_the_citation_has_the_version_and_the_day_of_its_release() -> None:
    assert CITATION["version"] == __version__, f"CITATION.cff: set `version:` to that of {PLACE}"
    day = CITATION.get("date-released")
    assert (day and str(day)) == released().get(__version__), (
        "the day of CITATION.cff is that of the changelog's section"
    )


def test_a_tag_of_this_commit_is_of_the_version_and_released() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = [git, "-C", str(ROOT), "tag", "--points-at", "HEAD", "--list", "v[0-9]*"]
    for tag in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split():
        assert tag == f"v{__version__}", f"set {PLACE}, or move the tag"
        assert __version__ in released(), f"CHANGELOG.md: rename `## Unreleased` to `## {__version__} - YYYY-MM-DD`"


def test_the_command_line_and_the_records_say_the_version(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an older version was installed and the checkout has moved on: records name the code that ran."""
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.0.1")
    assert environment.collect()["packages"]["modbench"] == __version__
    monkeypatch.setattr("sys.argv", ["modbench", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().out) == (0, f"modbench {__version__}\n")


def test_the_citation_agrees_with_the_package_and_names_the_paper() -> None:
    assert (CITATION["cff-version"], CITATION["type"]) == ("1.2.0", "software")
    for key in ("license", "authors", "keywords"):
        assert CITATION[key] == PYPROJECT["project"][key]
    assert any("2404.02258" in reference["url"] for reference in CITATION["references"])


def test_bibtex_in_the_readme_is_what_the_citation_says() -> None:
    """Where there is some. The year is that of the release."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    entries = re.findall(r"^@software\{\w+,\n(.*?)^\}", readme, re.DOTALL | re.MULTILINE)
    for fields in (dict(re.findall(r"^ *(\w+) *= *\{+(.*?)\}+,?$", entry, re.MULTILINE)) for entry in entries):
        names = " and ".join(author["name"] for author in CITATION["authors"])
        assert (fields["author"], fields["title"]) == (names, CITATION["title"])
        assert fields["version"] == __version__
        assert str(released().get(__version__, fields["year"])).startswith(fields["year"])
