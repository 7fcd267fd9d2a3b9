"""Puts another content into a record's file, as its writer would have: with the digest of that content."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modbench.harness.results.sealed_records import edit


def reseal(file: Path, body: dict[str, Any]) -> None:
    """Let the record be this, of any schema."""

    def replace(old: dict[str, Any]) -> None:
        old.clear()
        old.update({"digest": ""} | body)

    edit(file, replace)


def reseal_with(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a record, and let it have the digest of what it holds then, as a forger would."""
    edit(file, change)


def plainly(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a file by hand: its digest stays."""
    body = json.loads(file.read_text())
    change(body)
    file.write_text(json.dumps(body, separators=(",", ":")))
