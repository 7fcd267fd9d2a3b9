"""Accuracy on tasks: one metric per task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modbench.extend import SHARE, Metric, catalogue

if TYPE_CHECKING:
    from modbench.plugins.tasks.notes import TaskNotes


def _metrics() -> tuple[Metric[TaskNotes, float], ...]:
    return tuple(
        Metric(
            key=f"task/{name}",
            unit="ratio",
            better="higher",
            measured_by="train_on_task",
            workload="train",
            about=f"Accuracy: {entry.about}",
            measure=lambda notes: notes.accuracy,
            scored_as="difference",
            range=SHARE,
            planned_by="tasks",
            entry=("tasks", name),
        )
        for name, entry in catalogue.entries("tasks").items()
    )


def __getattr__(name: str) -> object:
    """`METRICS`, made anew each time: a folder with more tasks may have been included meanwhile."""
    if name == "METRICS":
        return _metrics()
    raise AttributeError(name)
