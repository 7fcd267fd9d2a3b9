"""Puts another content into a file of a run, with the digest of that content, as its writer would have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modbench.harness.results.json_files import read_sealed, write_sealed


def reseal(file: Path, body: dict[str, Any]) -> None:
    """Let the file hold this."""
    write_sealed(file, json.dumps({key: value for key, value in body.items() if key != "digest"}))


def reseal_with(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a file, and let it have the digest of what it holds then."""
    body = read_sealed(file)
    change(body)
    write_sealed(file, json.dumps(body))
