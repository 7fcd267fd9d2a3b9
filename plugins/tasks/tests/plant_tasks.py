"""Plants the golden of tasks, for `tests/goldens/plant.py`."""

from __future__ import annotations

from pathlib import Path

from planted_tasks import planted as planted_tasks


def tasks(folder: Path) -> None:
    """Plant answers on one task by three seeds; MoD's training fails."""
    planted_tasks(folder / "run", fails="mod[c0.125]")
