"""The second clock: this process, which no user's model can reach, knows how long a unit lived."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.passes import Pass
from modbench.harness.process.clocks import disagreement, monotonic
from modbench.harness.registry import catalogue
from modbench.harness.results.record_files import edit

# What the end of a process may take after its record is complete, on a loaded machine.
ENDING_S = 2.0


def check_clock(file: Path, unit: UnitOfWork, ended_s: float) -> None:
    """Compare the unit's own duration with the time that it lived, and note in its record where they disagree.

    Only records that hold a user's model are read: ours change no clock, and a parent that works disturbs what is timed next.

    Args:
        file: the unit's record; there may be none.
        unit: the unit.
        ended_s: when its end was seen, on this process's monotonic clock.
    """
    own = {case.id for case in unit.comparison.arms if case.own}
    if not own or not file.exists():
        return
    made_in: Pass = catalogue.load("passes", unit.made_in)
    if "clock_changed" not in made_in.notes.model_fields:
        return
    body = json.loads(file.read_text(encoding="utf-8"))
    if body.get("began_s") is None:
        return
    lived_s = ended_s - body["began_s"]
    # A process may take long to end on a loaded machine: until when it measured, the file system knows as well.
    since_s = max(0.0, time.time() - file.stat().st_ctime)
    measured_s = monotonic() - since_s - body["began_s"]
    said, *others = (
        disagreement(body["wall_s"], each_s, "the process that started it", ENDING_S)
        for each_s in (lived_s, measured_s)
    )
    if said is None or None in others:
        return

    def note(body: dict[str, Any]) -> None:
        body["wall_s"] = lived_s  # what the unit says itself may be less than nothing
        for outcome in body["outcomes"]:
            if outcome["case"] in own and outcome["status"] == "ok":
                outcome["notes"]["clock_changed"] = said

    edit(file, note)
