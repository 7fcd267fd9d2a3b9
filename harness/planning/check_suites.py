"""Reads every suite that the user added, to say what is wrong with it."""

from __future__ import annotations

from dataclasses import replace

from modbench.harness.core import discovery
from modbench.harness.core.discovery import Entry
from modbench.harness.core.errors import UsageError
from modbench.harness.planning.suite import load_suite


def broken_suites() -> list[Entry]:
    """The user's suites that cannot be run as they are, with the reason."""
    found: list[Entry] = []
    for entry in discovery.every("suites"):
        if entry.problem:
            found.append(entry)
        elif not entry.shipped:
            try:
                load_suite(entry.name)
            except UsageError as error:
                found.append(replace(entry, problem=str(error).removesuffix(".")))
    return found
