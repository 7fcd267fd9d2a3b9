"""What a run expects its units to take, in `predicted.json`: from it others who watch the folder tell the time left."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

from modbench.harness.core.files import write_atomically
from modbench.harness.core.safe_paths import read_plain
from modbench.harness.results.reading import load

NAME = "predicted.json"


def write(run: Path, seconds: Mapping[str, float], at_once: Mapping[str, int]) -> None:
    """Write, or extend, the predictions of a run.

    Args:
        run: the run folder; one that cannot be written is left as it is.
        seconds: what each unit adds to the run.
        at_once: how many units run beside each other there.
    """
    units = read(run) | {name: (value, at_once[name]) for name, value in seconds.items()}
    with contextlib.suppress(OSError):
        write_atomically(run / NAME, json.dumps(units), sync=False)


def read(run: Path) -> dict[str, tuple[float, int]]:
    """Seconds that each unit adds to the run, and how many run at once; empty if there is no such file, or it is damaged."""
    try:
        body = load(run / NAME, read_plain(run / NAME))
        found = {name: (float(seconds), int(number)) for name, (seconds, number) in body.items()}
    except (OSError, ValueError, TypeError, OverflowError):
        return {}
    return {name: (s, n) for name, (s, n) in found.items() if math.isfinite(s) and s >= 0 and n >= 1}
