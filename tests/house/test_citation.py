"""CITATION.cff is valid, by the parts of the Citation File Format 1.2.0 that it uses, and agrees with the package."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it has no types

ROOT = Path(__file__).parents[2]
# Keys that the format knows, of those that are used here: which must be there, and which may.
TOP = (
    {"authors", "cff-version", "message", "title"},
    {"type", "version", "date-released", "license", "abstract", "keywords", "references"},
)
REFERENCE = ({"authors", "title", "type"}, {"year", "url", "identifiers", "notes"})
IDENTIFIER = ({"type", "value"}, {"description"})
PERSON, GROUP = ({"family-names"}, {"given-names"}), ({"name"}, {"website"})


def read(text: str) -> dict[str, Any]:
    """The file, with dates as it writes them."""
    loaded: dict[str, Any] = yaml.safe_load(text)
    return {key: str(value) if isinstance(value, dt.date) else value for key, value in loaded.items()}


WRITTEN = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
CITATION = read(WRITTEN)


def check(part: dict[str, Any], keys: tuple[set[str], set[str]]) -> None:
    """A part has the keys that it must have and no unknown one; each is text, a list, or a year."""
    must, may = keys
    assert must <= part.keys() <= must | may, part
    for key, value in part.items():
        assert isinstance(value, int if key == "year" else (str, list)), key
        assert value, key


def test_the_citation_is_valid() -> None:
    check(CITATION, TOP)
    assert (CITATION["cff-version"], CITATION["type"]) == ("1.2.0", "software")
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", CITATION.get("date-released", "2026-11-27"))
    for each in CITATION["references"]:
        check(each, REFERENCE)
        assert each["type"] in {"article", "conference-paper", "generic", "report", "software"}
        assert re.match("https?://", each.get("url", "https://"))
        for identifier in each.get("identifiers", ()):
            check(identifier, IDENTIFIER)
            assert identifier["type"] in {"doi", "url", "swh", "other"}
    for author in (author for part in (CITATION, *CITATION["references"]) for author in part["authors"]):
        check(author, GROUP if "name" in author else PERSON)


def test_the_citation_agrees_with_the_package_and_names_the_paper() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert CITATION["license"] == project["license"]
    assert CITATION["authors"] == project["authors"]
    assert CITATION["keywords"] == project["keywords"]
    assert any("2404.02258" in reference["url"] for reference in CITATION["references"])
