"""Accuracy on tasks at equal training FLOPs, with that of rules that do not solve the tasks."""

from __future__ import annotations

from modbench.extend import Lead, Section
from modbench.plugins.tasks import question as tasks

SECTION = Section(
    title="What can they still do?",
    order=8,
    span=12,
    render=lambda loaded: filter(None, [tasks.table(loaded)]),
    told=True,
    reading=(
        "Each variant spent the same training FLOPs on small made-up tasks, and answers new questions. Only above the best "
        "shortcut has it learned something of the task; these tasks are no measure of language."
    ),
    tables=[tasks.TABLE],
    lead=Lead(answer=tasks.answer, warnings=tasks.doubts, table=tasks.table),
)
