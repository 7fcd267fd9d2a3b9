"""Folders of the user's own, outside any run: the cache, and what is known of machines."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs


def cache() -> Path:
    """`MODBENCH_CACHE`, else the system's folder for caches (on Linux `$XDG_CACHE_HOME/modbench` or `~/.cache/modbench`).

    Raises:
        RuntimeError: if the user has no home.
    """
    return _folder("MODBENCH_CACHE", platformdirs.user_cache_path)


def state() -> Path:
    """`MODBENCH_STATE`, else the system's folder for state (`$XDG_STATE_HOME/modbench` or `~/.local/state/modbench`).

    Raises:
        RuntimeError: if the user has no home.
    """
    return _folder("MODBENCH_STATE", platformdirs.user_state_path)


def _folder(variable: str, standard: Callable[..., Path]) -> Path:
    named = os.environ.get(variable)
    if named:
        return Path(named)
    found = standard("modbench", appauthor=False)
    if not found.is_absolute():  # versions of platformdirs before 4.14 leave the ~ of a missing home there
        raise RuntimeError(f"the user has no home folder: set {variable}")
    return found
