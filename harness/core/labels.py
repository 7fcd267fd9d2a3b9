"""Labels: short warnings shown with a number in every output."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Label(StrEnum):
    """A warning about a number. Its value is the word in the CSV files, the HTML report and the terminal."""

    NOT_AUTOREGRESSIVE = "not usable for generation"
    SAW_FUTURE = "non-causal routing"
    MASKS_COMPUTE = "computes what it claims to skip"
    REUSES_OUTPUT = "does not compute every call"
    IDLE_IN_TRAINING = "computes less in training"
    OTHER_PRECISION = "computes in another precision"
    FASTER = "faster than its FLOPs explain"
    UNCHECKED = "could not be checked"
    LOWER_BOUND = "FLOPs are a lower bound"
    NOISY = "noisy"
    BY_CPU = "by CPU time"
    NOT_ALTERNATED = "not alternated"
    INPUT_DEPENDENT = "cost depends on the input"
    TAIL = "tail"
    PROCESSES_CAPPED = "processes capped"
    SEVERAL_MACHINES = "several machines"
    DAMAGED = "damaged"
    SAME = "same as another setting"
    PROCESS_CHANGED = "process was changed"
    CODE_CHANGED = "code changed"
    ZEROES = "computes, then zeroes"
    ROWS_DEPEND = "rows depend on each other"
    RANDOM = "random in evaluation"
    DEVIATES = "deviates in its audit"


# A loss with one of these labels comes from a model that read later tokens.
LOOKED_AHEAD = frozenset({Label.NOT_AUTOREGRESSIVE, Label.SAW_FUTURE})

# These say what a number stands for and how well it was measured, not what is wrong with the model.
OF_PRECISION = frozenset(
    {Label.PROCESSES_CAPPED, Label.INPUT_DEPENDENT, Label.SEVERAL_MACHINES, Label.DAMAGED, Label.CODE_CHANGED}
)


# Of a model with one of these, a time is not that of the work it claims, as it runs elsewhere, or it is unknown whether it is.
OF_WORK = frozenset(
    {
        Label.MASKS_COMPUTE,
        Label.REUSES_OUTPUT,
        Label.IDLE_IN_TRAINING,
        Label.OTHER_PRECISION,
        Label.FASTER,
        Label.UNCHECKED,
        Label.PROCESS_CHANGED,
    }
)


# Of a model with one of these, work may be done where the time of its thread does not see it.
ESCAPED = frozenset({Label.REUSES_OUTPUT, Label.IDLE_IN_TRAINING, Label.FASTER, Label.PROCESS_CHANGED})


def joined(labels: Iterable[Label]) -> str | None:
    """Join labels into one table cell, each once; None if there are none."""
    return ";".join(dict.fromkeys(labels)) or None


def of_cell(cell: object) -> tuple[str, ...]:
    """Return the labels that a table cell joins; none where it holds none."""
    return tuple(cell.split(";")) if isinstance(cell, str) and cell else ()
