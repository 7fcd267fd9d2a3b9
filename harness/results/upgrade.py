"""Reads files of earlier schemas: one function converts their JSON to the current one. Files before schema 9 are refused.

To change the schema: raise `SCHEMA` and describe the change in `records.py`; convert what changed in `_from_earlier`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modbench.harness.core.errors import UsageError
from modbench.harness.results.records import SCHEMA

# What release 0.2.0 writes.
EARLIEST = 9


def upgraded(body: dict[str, Any], file: object) -> dict[str, Any]:
    """Convert a file's JSON to the current schema.

    Args:
        body: content of `run.json` or of a unit's file.
        file: its path, for messages.

    Raises:
        UsageError: if its schema is not one that can be read.
    """
    version = body.get("schema_version")
    if not isinstance(version, int) or not EARLIEST <= version <= SCHEMA:
        which = "newer" if isinstance(version, int) and version > SCHEMA else "older"
        raise UsageError(
            f"{file}: schema {version!r} cannot be read by this modbench, which reads {EARLIEST} to {SCHEMA}. "
            f"Use the {which} modbench that wrote it, or measure again."
        )
    return body if version == SCHEMA else _from_earlier(body) | {"schema_version": SCHEMA}


def _from_earlier(body: dict[str, Any]) -> dict[str, Any]:
    """Convert schema 9 or 10: all fields that later schemas added have defaults."""
    return body


def refuse_earlier(version: int, run: Path) -> None:
    """Refuse to add records to a run of an earlier schema: a run has one.

    Raises:
        UsageError: if its schema is not the current one.
    """
    if version != SCHEMA:
        raise UsageError(
            f"{run}: a run of schema {version} is read by this modbench, but not continued. "
            "Use the older modbench that wrote it, or measure again."
        )
