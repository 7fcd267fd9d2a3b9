"""docs/formats.md: what it says of formats is true; tests/docs runs its commands."""

from __future__ import annotations

import re
from pathlib import Path

from modbench.harness.registry import catalogue

DOC = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def test_every_format_is_in_the_table() -> None:
    names = re.findall(r"^\| `([\w-]+)` \|", DOC, flags=re.MULTILINE)
    assert sorted(names) == sorted(name.replace("_", "-") for name in catalogue.entries("formats"))
