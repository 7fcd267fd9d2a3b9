"""Where the files of a run's units lie: side by side, or, of a run with many units, in 256 folders each, by a hash of the name.

Few file systems like folders of ten thousand files. A run that is spread says so in `run.json` (`layout`) and in a file
`layout.json` of its own, which a worker finds without reading the plan.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from modbench.harness.core.files import write_atomically

# Units up to which their files lie side by side.
MOST_TOGETHER = 1000
TOGETHER, SPREAD = "together", "spread"
MARK = "layout.json"
# Folders with a file for every unit, which are made before the first unit runs.
EVERY_UNIT = ("units", "logs")


def chosen(units: int) -> str:
    """The layout of a new run with so many units."""
    return SPREAD if units > MOST_TOGETHER else TOGETHER


def make(run: Path, layout: str) -> None:
    """Make the folders that every unit writes to; a copied run may lack the empty ones."""
    parts = [f"{i:02x}" for i in range(256)] if layout == SPREAD else [""]
    for folder in EVERY_UNIT:
        for part in parts:
            (run / folder / part).mkdir(parents=True, exist_ok=True)
    if layout == SPREAD:
        write_atomically(run / MARK, json.dumps({"layout": SPREAD}))


def of(run: Path) -> str:
    """The layout of a run."""
    return SPREAD if (run / MARK).is_file() else TOGETHER


def file_of(run: Path, folder: str, name: str, ending: str) -> Path:
    """Path of a file of a unit or series.

    Args:
        run: the run folder.
        folder: `units`, `logs`, `checkpoints` and so on.
        name: name of the unit or series.
        ending: what follows the name.
    """
    place = run / folder
    if of(run) == SPREAD:
        place /= hashlib.sha256(name.encode()).hexdigest()[:2]
    return place / f"{name}{ending}"
