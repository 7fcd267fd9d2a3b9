"""The version has one place, `modbench/version.py`; what repeats it says the same, and what a release needs is named."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

import modbench
from modbench.cli import main
from modbench.harness.machine import environment

ROOT = Path(__file__).parents[2]
PLACE = "__version__ in src/modbench/version.py"
RELEASE = re.compile(r"(\d+\.\d+\.\d+) - (\d{4}-\d{2}-\d{2})")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def faults(version: str, changelog: str, citation: dict[str, Any], tag: str | None = None) -> Iterator[str]:
    """What to change where version, changelog, citation and the tag of this commit disagree; nothing where they agree.

    The changelog may begin with `## Unreleased`; below are releases, newest first, as `## 0.2.0 - 2026-11-27`. A version is
    released when it has such a section: CITATION.cff then has that date.
    """
    if citation["version"] != version:
        yield f"CITATION.cff: version {citation['version']} is not {version} ({PLACE}): set `version: {version}`"
    headings = re.findall(r"^## (.+?)\s*$", changelog, flags=re.MULTILINE)
    heads = headings[1:] if headings[:1] == ["Unreleased"] else headings
    releases = [RELEASE.fullmatch(heading) for heading in heads]
    for heading, read in zip(heads, releases, strict=True):
        if read is None:
            yield f"CHANGELOG.md: `## {heading}` is no release: write `## {version} - YYYY-MM-DD` (`## Unreleased` only on top)"
    dates = {read[1]: read[2] for read in releases if read}
    if [*dates] != sorted(dates, key=numbers, reverse=True):
        yield f"CHANGELOG.md: releases {', '.join(dates)} are not newest first"
    newest = max(dates, key=numbers, default="0.0.0")
    if numbers(newest) > numbers(version):
        yield f"CHANGELOG.md: its newest release is {newest}: set {PLACE} to it, or correct the heading"
    if not heads and headings != ["Unreleased"]:
        yield "CHANGELOG.md: no section: begin it with `## Unreleased`"
    said = citation.get("date-released")
    said = said.isoformat() if isinstance(said, dt.date) else said
    dated = dates.get(version)
    if said and not dated:
        yield f"CHANGELOG.md: CITATION.cff has a date: {version} is released. Rename `## Unreleased` to `## {version} - {said}`"
    if dated and said != dated:
        yield f"CITATION.cff: date-released is {said}, the changelog's {version} of {dated}: set `date-released: {dated}`"
    if tag and tag != f"v{version}":
        yield f"the tag {tag} of this commit is not v{version}: set {PLACE}, or move the tag"
    elif tag and not dated:
        yield f"CHANGELOG.md: this commit has the tag {tag}: rename `## Unreleased` to `## {version} - YYYY-MM-DD`"


def test_changelog_citation_and_tag_agree_with_the_version() -> None:
    git = shutil.which("git")
    tags = list[str | None]()
    if git and (ROOT / ".git").exists():
        command = [git, "-C", str(ROOT), "tag", "--points-at", "HEAD", "--list", "v[0-9]*"]
        tags += subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    for tag in tags or [None]:
        assert [*faults(modbench.__version__, CHANGELOG, CITATION, tag)] == []


OPEN, DONE = "## Unreleased\n### Added\n", "## 0.2.0 - 2026-11-27\n## 0.1.0 - 2026-10-01\n"
DAY = dt.date(2026, 11, 27)  # as YAML reads it


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"citation": {"version": "0.1.0", "date-released": DAY}}, "set `version: 0.2.0`"),
        ({"citation": {"version": "0.2.0"}}, "set `date-released: 2026-11-27`"),
        ({"citation": {"version": "0.2.0", "date-released": "2026-11-26"}}, "set `date-released: 2026-11-27`"),
        ({"changelog": OPEN}, "Rename `## Unreleased` to `## 0.2.0 - 2026-11-27`"),
        ({"changelog": OPEN, "citation": {"version": "0.2.0"}, "tag": "v0.2.0"}, "to `## 0.2.0 - YYYY-MM-DD`"),
        ({"changelog": DONE + OPEN}, "(`## Unreleased` only on top)"),
        ({"changelog": DONE + "## 0.0.9\n"}, "`## 0.0.9` is no release"),
        ({"changelog": "## 0.1.0 - 2026-10-01\n## 0.2.0 - 2026-11-27\n"}, "not newest first"),
        ({"changelog": "## 0.3.0 - 2026-12-01\n" + DONE}, f"release is 0.3.0: set {PLACE}"),
        ({"changelog": "", "citation": {"version": "0.2.0"}}, "begin it with `## Unreleased`"),
        ({"tag": "v0.1.9"}, f"is not v0.2.0: set {PLACE}"),
    ],
)
def test_what_disagrees_is_named_with_what_to_change(changed: dict[str, Any], what: str) -> None:
    agreeing: dict[str, Any] = {"changelog": DONE, "citation": {"version": "0.2.0", "date-released": DAY}, "tag": None}
    (fault,) = faults("0.2.0", **agreeing | changed)
    assert what in fault


def test_the_package_has_its_version_from_the_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "modbench.version.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", modbench.__version__)


def test_the_command_line_and_the_records_say_the_version(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an older version was installed and the checkout has moved on: records name the code that ran."""
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.0.1")
    assert environment.collect()["packages"]["modbench"] == modbench.__version__
    monkeypatch.setattr("sys.argv", ["modbench", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"modbench {modbench.__version__}\n"


def test_pages_that_name_the_version_name_this_one() -> None:
    for page in PAGES:
        named = {*re.findall(r"\bmodbench[ -](\d+\.\d+\.\d+)", page.read_text(encoding="utf-8"))}
        assert page.name == "CHANGELOG.md" or named <= {modbench.__version__}, page
