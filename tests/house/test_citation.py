"""CITATION.cff is valid, by the parts of the Citation File Format 1.2.0 that it uses, and agrees with the package."""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it has no types
import yaml  # type: ignore[import-untyped]  # it has no types

ROOT = Path(__file__).parents[2]
TEXT = {"type": "string", "minLength": 1}
DATE = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"}
# A person or an entity, such as a group.
AUTHORS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "anyOf": [
            {
                "type": "object",
                "required": ["name"],
                "additionalProperties": False,
                "properties": {"name": TEXT, "website": TEXT},
            },
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["family-names"],
                "properties": {"family-names": TEXT, "given-names": TEXT},
            },
        ]
    },
}
IDENTIFIER = {
    "type": "object",
    "required": ["type", "value"],
    "additionalProperties": False,
    "properties": {"type": {"enum": ["doi", "url", "swh", "other"]}, "value": TEXT, "description": TEXT},
}
REFERENCE = {
    "type": "object",
    "required": ["authors", "title", "type"],
    "additionalProperties": False,
    "properties": {
        "authors": AUTHORS,
        "title": TEXT,
        "type": {"enum": ["article", "conference-paper", "generic", "report", "software"]},
        "year": {"type": "integer"},
        "url": {"type": "string", "pattern": "^https?://"},
        "identifiers": {"type": "array", "minItems": 1, "items": IDENTIFIER},
        "notes": TEXT,
    },
}
FORMAT = {
    "type": "object",
    "required": ["authors", "cff-version", "message", "title"],
    "additionalProperties": False,
    "properties": {
        "cff-version": {"const": "1.2.0"},
        "message": TEXT,
        "title": TEXT,
        "type": {"enum": ["software", "dataset"]},
        "version": TEXT,
        "date-released": DATE,
        "license": TEXT,
        "authors": AUTHORS,
        "abstract": TEXT,
        "keywords": {"type": "array", "minItems": 1, "uniqueItems": True, "items": TEXT},
        "references": {"type": "array", "minItems": 1, "items": REFERENCE},
    },
}


def read(text: str) -> dict[str, Any]:
    """The file, with dates as it writes them."""
    loaded: dict[str, Any] = yaml.safe_load(text)
    return {key: str(value) if isinstance(value, dt.date) else value for key, value in loaded.items()}


WRITTEN = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
CITATION = read(WRITTEN)


def test_the_citation_is_valid() -> None:
    jsonschema.validate(CITATION, FORMAT)
    jsonschema.validate(
        read(WRITTEN + "date-released: 2026-11-27\n") if "date-released" not in CITATION else CITATION, FORMAT
    )


def test_the_citation_agrees_with_the_package_and_names_the_paper() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert CITATION["license"] == project["license"]
    assert CITATION["authors"] == project["authors"]
    assert CITATION["keywords"] == project["keywords"]
    assert any("2404.02258" in reference["url"] for reference in CITATION["references"])
