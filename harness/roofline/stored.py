"""The latest table of each machine, kept under the user's state folder beside its checks: from it runs are planned."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from modbench.harness.core import user_folders
from modbench.harness.core.files import write_atomically
from modbench.harness.roofline.table import Table


def keep(machine: str, table: Table) -> str | None:
    """Keep a table in place of an earlier one; returns why it could not be kept, or None.

    Args:
        machine: the fingerprint of machine, device and threads (`machine/certificate.py`).
        table: what was measured.
    """
    try:
        file = _file(machine, table.dtype)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, table.model_dump_json())
    except (OSError, RuntimeError) as error:
        return f"plans will not know it: {error}"
    return None


def latest(machine: str, dtype: str) -> Table | None:
    """The latest table of a machine; None if there is none, or one of another version."""
    try:
        return Table.model_validate_json(_file(machine, dtype).read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValidationError):
        return None


def _file(machine: str, dtype: str) -> Path:
    return user_folders.state() / "peaks" / f"{machine}-{dtype}.json"
