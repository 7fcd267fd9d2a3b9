"""Models that were skipped as a whole, such as one whose package is not installed, and why."""

from __future__ import annotations

from collections.abc import Iterator

from modbench.reports.load import Loaded
from modbench.reports.style import name


def skipped(loaded: Loaded) -> Iterator[str]:
    """Yield `skipped: NAME (reason)` once per reason for every arm that has rows but was measured in none of them.

    An arm that lacks single metrics is not among them: it has other values, and those metrics have their reasons beside them.
    """
    for case in loaded.arms:
        rows = loaded.cases[loaded.cases.arm == case.arm]
        if not rows.empty and (rows.status == "skipped").all():
            for reason in dict.fromkeys(rows.reason.dropna()):
                yield f"skipped: {name(case)} ({reason})"
