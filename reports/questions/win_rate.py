"""In how many of the measured places an arm beats another on time: what a reader who has to choose would ask first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modbench.harness.core.case import Place
from modbench.harness.core.labels import OF_WORK, Label
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.words import TIMED, is_number, times

# Verdicts in the order of a sentence, and the word for each.
WORDS = {"worse": "slower", "equivalent": "equal", "different": "different", "contaminated": "contaminated"}
_MIRRORED = {"better": "worse", "worse": "better"}
# More wins than this are counted, not listed.
MOST_LISTED = 2


@dataclass(frozen=True)
class Held:
    """One arm's time held against another's, at one place.

    Attributes:
        workload: in words, such as `training step`.
        place: where.
        ratio: above 1 the arm is faster; None where it was not measured.
        verdict: of the pair; None where none may be given.
        doubts: labels of either arm that say that its time may not be that of the work it claims, or may be the machine's.
        failed: whether one of the two has no time because it failed.
        ends: of the ratio's 95 % interval; None where there is none.
    """

    workload: str
    place: Place
    ratio: float | None
    verdict: str | None
    doubts: tuple[str, ...] = ()
    failed: bool = False
    ends: tuple[float, float] | None = None


def held(loaded: Loaded, arm: str, baseline: str) -> list[Held]:
    """Hold an arm against another at every place and workload that was timed, favourable or not.

    A pair is stored once, so that it may have to be mirrored.
    """
    places = {case.id: case.place for case in loaded.run.plan.cases}
    found = []
    for workload, metric in TIMED:
        for row in loaded.between(metric, arm, baseline):
            turned = row.arm != arm
            ratio = float(row.ratio) if row.status == "ok" else None
            word = row.verdict if isinstance(row.verdict, str) else None
            ends = (float(row.ci_low), float(row.ci_high)) if is_number(row.ci_low) else None
            if turned:
                ratio, word = (None if ratio is None else 1 / ratio), _MIRRORED.get(word or "", word)
                ends = None if ends is None else (1 / ends[1], 1 / ends[0])
            found.append(Held(workload, places[row.case_id], ratio, word, _doubts(row), row.status == "failed", ends))
    return found


def best(loaded: Loaded, metric: str, cases: Mapping[str, str]) -> str | None:
    """Return the arm that is shown to be better than every other one; None where none is, or a pair was not compared.

    Args:
        loaded: the run.
        metric: what is compared.
        cases: case ids by arm, of those that were measured at one place.
    """

    def beats(arm: str, other: str) -> bool:
        for row in loaded.between(metric, arm, other):
            if row.case_id in {cases[arm], cases[other]}:
                word = row.verdict if row.arm == arm else _MIRRORED.get(row.verdict)
                return word == "better" and not _doubts(row)
        return False

    found = (arm for arm in cases if all(beats(arm, other) for other in cases if other != arm))
    return next(found, None) if len(cases) > 1 else None


def _doubts(row: Any) -> tuple[str, ...]:  # noqa: ANN401  # a row of READ
    said = (each.split(";") for each in (row.labels, row.baseline_labels) if isinstance(each, str))
    # A verdict says `contaminated` itself.
    wanted = OF_WORK if isinstance(row.verdict, str) else OF_WORK | {Label.CONTAMINATED}
    return tuple(label for labels in said for label in labels if label in wanted)


def in_words(cells: Sequence[Held]) -> str:
    """Say where it pays: `pays in 1 of 6 (train step at T = 512: 1.06×), slower in 4, undecided in 1; ratios 0.82× to 1.06×`."""
    ratios = [cell.ratio for cell in cells if cell.ratio is not None]
    if not ratios:
        return "no time was measured"
    span = f"{times(min(ratios))} to {times(max(ratios))}" if len(ratios) > 1 else times(ratios[0])
    if all(cell.verdict is None for cell in cells):
        return f"{span}, without a verdict"
    won = [cell for cell in cells if cell.verdict == "better"]
    said = f"pays in {len(won)} of {len(cells)}"
    if 0 < len(won) <= MOST_LISTED and len(cells) > len(won):
        said += f" ({', '.join(_named(cell, cells) for cell in won)})"
    counts = [(word, sum(cell.verdict == verdict for cell in cells)) for verdict, word in WORDS.items()]
    counts.append(("undecided", sum(cell.verdict == "inconclusive" for cell in cells)))
    counts.append(("without a verdict", sum(cell.ratio is not None and cell.verdict is None for cell in cells)))
    counts.append(("not measured", sum(cell.ratio is None for cell in cells)))
    words = ", ".join([said, *(f"{word} in {number}" for word, number in counts if number)])
    doubts = dict.fromkeys(label for cell in cells for label in cell.doubts)
    return f"{words}; ratio{'s' * (len(ratios) > 1)} {span}" + (f" (but: {', '.join(doubts)})" if doubts else "")


def of(subject: str, cells: Sequence[Held], pronoun: str = "") -> str:
    """What `in_words` says, behind its subject: `MoD 0.5 pays in 1 of 6 …`, `dense: no time was measured`."""
    said = in_words(cells)
    return f"{subject} {pronoun}{said}" if said.startswith("pays ") else f"{subject}: {said}"


def all_in_short(cells: Sequence[Held]) -> bool:
    """Whether the answer in short (`first_screen.py`) says all that `in_words` would: the ratios alone, or one verdict."""
    if all(cell.verdict is None for cell in cells):
        return True
    return len(cells) == 1 and cells[0].verdict in {"better", "worse"}


def _named(cell: Held, cells: Sequence[Held]) -> str:
    """Name a place by what distinguishes it from the others."""
    places = [each.place for each in cells]
    parts = [f"T = {cell.place.seq_len:,}"]
    parts += [f"B = {cell.place.batch_size:,}"] * (len({place.batch_size for place in places}) > 1)
    parts += [cell.place.dtype] * (len({place.dtype for place in places}) > 1)
    parts += [cell.place.execution] * (len({place.execution for place in places}) > 1)
    ratio = times(cell.ratio) if cell.ratio is not None else ""
    return f"{cell.workload} at {', '.join(parts)}: {ratio}"
