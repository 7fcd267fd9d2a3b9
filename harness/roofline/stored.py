"""The latest table of each machine, kept under the user's state folder beside its checks: from it runs are planned."""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import ValidationError

from modbench.harness.core import user_folders
from modbench.harness.core.files import write_atomically
from modbench.harness.roofline.table import Table

DAY_S = 24 * 3600.0


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


def recent(machine: str, dtype: str, torch_version: str, within_s: float = DAY_S) -> Table | None:
    """The latest table, if it was measured with this version of torch within a day; else None."""
    table = latest(machine, dtype)
    if table is None or table.torch != torch_version:
        return None
    try:
        age_s = time.time() - _file(machine, dtype).stat().st_mtime
    except OSError:
        return None
    return table if 0 <= age_s <= within_s else None


def _file(machine: str, dtype: str) -> Path:
    return user_folders.state() / "peaks" / f"{machine}-{dtype}.json"
