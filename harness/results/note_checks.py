"""Checks the notes and findings of a record: shares, divisors and tables that others are computed from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from modbench.harness.core.case import UnitOfWork
from modbench.harness.core.contracts import AnyMetric
from modbench.harness.core.units import SECONDS, SHARE, TIME, Range
from modbench.harness.results.notes import Notes
from modbench.harness.results.notes.findings import PeakFinding, RooflineFinding, WithoutOwnFinding
from modbench.harness.results.notes.timing import TimeNotes
from modbench.harness.results.notes.training import TaskAnswers, TrainNotes
from modbench.harness.results.reading import Path_, Problem
from modbench.harness.results.records import Outcome
from modbench.harness.roofline.table import Table

POSITIVE, ANY_NOTE = Range(0, above=True), Range(0)
# Numbers in notes of which others are computed by division; all others are at least 0.
POSITIVE_NOTES = {
    **dict.fromkeys(("tokens", "inputs", "per", "counted_inputs"), Range(1, 1e18)),
    **dict.fromkeys(("power_W", "rule", "lr"), POSITIVE),
}
# More inputs than anybody times; a loop runs over them.
MOST_INPUTS = 1e6


def of_notes(notes: Notes, place: Path_) -> Iterator[Problem]:
    """Numbers that others are divided by, or that make a share, are what they can be."""
    for name, value in notes:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and (said := POSITIVE_NOTES.get(name, ANY_NOTE).lacks(value)):
            yield Problem((*place, name), said)
    if isinstance(notes, TimeNotes) and notes.inputs is not None and notes.inputs > MOST_INPUTS:
        yield Problem((*place, "inputs"), f"{notes.inputs} is over 1,000,000")
    if isinstance(notes, TrainNotes):
        for name in ("curve", "looks"):
            columns = getattr(notes, name)
            if columns is not None and len({len(values) for _, values in columns}) > 1:
                yield Problem((*place, name), "its columns are not equally long")
        if notes.answers is not None:
            yield from _of_answers(notes.answers, (*place, "answers"))


def of_protocol(outcome: Outcome, metric: AnyMetric, unit: UnitOfWork, place: Path_) -> Iterator[Problem]:
    """What notes say of seed and size is what was planned."""
    notes = outcome.notes
    if isinstance(notes, TrainNotes) and notes.seed != unit.protocol.seed:
        yield Problem((*place, "seed"), f"{notes.seed}, where {unit.protocol.seed} was planned")
    if isinstance(notes, TimeNotes) and notes.tokens is not None:
        at = unit.comparison.place
        planned = at.batch_size * (1 if metric.workload == "decode" else at.seq_len)
        if notes.tokens != planned:
            yield Problem((*place, "tokens"), f"{notes.tokens}, where {planned} were planned")


def _of_answers(answers: TaskAnswers, place: Path_) -> Iterator[Problem]:
    as_trained = answers.correct if answers.correct_as_trained is None else answers.correct_as_trained
    shares = {"correct": answers.correct, "whole": answers.whole, "correct_as_trained": as_trained}
    pairs: dict[tuple[str, ...], tuple[int, int]] = {("by_kind", kind): pair for kind, pair in answers.by_kind.items()}
    pairs |= {(name,): (answers.n, correct) for name, correct in shares.items()}
    for where, (n, correct) in pairs.items():
        if not 0 <= correct <= n or (n < 1 and len(where) == 1):
            yield Problem((*place, *where), f"{correct} of {n} questions")
    for name, share in answers.shortcuts.items():
        if said := SHARE.lacks(share):
            yield Problem((*place, "shortcuts", name), said)


def of_findings(found: Notes | None) -> Iterator[Problem]:
    """Findings about the machine: peaks above 0, and tables without holes."""
    if isinstance(found, PeakFinding):
        for name in ("flop_per_s", "bytes_per_s"):
            if said := POSITIVE.lacks(getattr(found, name)):
                yield Problem(("findings", name), said)
    if isinstance(found, RooflineFinding):
        yield from _of_table(found.table, ("findings", "table"))
    if isinstance(found, WithoutOwnFinding):
        for metric, arms in found.samples.items():
            for case, columns in arms.items():
                yield from _of_launch(columns, ("findings", "samples", metric, case))


def _of_launch(columns: dict[str, list[float]], place: Path_) -> Iterator[Problem]:
    for name in ("block", "calls", "wall_s"):
        if not columns.get(name):
            yield Problem((*place, name), "missing")
    if len({*map(len, columns.values())}) > 1:
        yield Problem(place, "its columns are not equally long")
    for name, values in columns.items():
        allowed = TIME if name == "wall_s" else ANY_NOTE
        for i, value in enumerate(values):
            if said := allowed.lacks(value):
                yield Problem((*place, name, i), said)
                break


def _of_table(table: Table, place: Path_) -> Iterator[Problem]:
    sizes: dict[str, set[tuple[int, ...]]] = {}
    for i, point in enumerate(table.points):
        if said := TIME.lacks(point.seconds):
            yield Problem((*place, "points", i, "seconds"), said)
        sizes.setdefault(point.kind, set()).add(point.size)
    for kind, here in sizes.items():
        axes = [{*values} for values in itertools.zip_longest(*here)]
        if len({*map(len, here)}) > 1 or math.prod(map(len, axes)) != len(here):
            yield Problem((*place, "points"), f"{kind} lacks a size")
    for name in ("launch_s", "view_s", "training_launch_s", "training_view_s", "tensor_s"):
        if said := SECONDS.lacks(getattr(table, name)):
            yield Problem((*place, name), said)
