"""Folders of the user's own, outside any run: the cache, and what is known of machines."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from modbench.harness.core.errors import UsageError


class NoHomeError(UsageError, RuntimeError):
    """The user has no home folder: no HOME, and no entry in the password file (as in many containers)."""


def cache() -> Path:
    """`MODBENCH_CACHE`, else the system's folder for caches (on Linux `$XDG_CACHE_HOME/modbench` or `~/.cache/modbench`).

    Raises:
        NoHomeError: if the user has no home.
    """
    return _folder("MODBENCH_CACHE", platformdirs.user_cache_path)


def state() -> Path:
    """`MODBENCH_STATE`, else the system's folder for state (`$XDG_STATE_HOME/modbench` or `~/.local/state/modbench`).

    Raises:
        NoHomeError: if the user has no home.
    """
    return _folder("MODBENCH_STATE", platformdirs.user_state_path)


def _folder(variable: str, standard: Callable[..., Path]) -> Path:
    named = os.environ.get(variable)
    if named:
        return Path(named)
    missing = NoHomeError(f"the user has no home folder: set {variable} to a folder that may be written.")
    try:
        found = standard("modbench", appauthor=False)
    except RuntimeError as error:  # platformdirs from 4.14 on
        raise missing from error
    if not found.is_absolute():  # earlier versions leave the ~ of a missing home there
        raise missing
    return found
