"""In how many of the measured places an arm beats another on time: what a reader who has to choose would ask first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from modbench.harness.core.labels import OF_WORK, Label
from modbench.harness.domain.case import Case
from modbench.harness.stats import effects
from modbench.harness.stats.contrast import BETTER, BETTER_OPEN, EQUIVALENT, INCONCLUSIVE, MIRRORED, WORSE, WORSE_OPEN
from modbench.reports.model import Estimate, Finding, Sentence, Value
from modbench.reports.tables.findings import between, labels_of
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import WORKLOADS

# Words of a sentence in their order, and the verdict that each counts.
COUNTED = {
    "faster": BETTER,
    "slower": WORSE,
    "failed": "failed",
    "equal": EQUIVALENT,
    "faster (size open)": BETTER_OPEN,
    "slower (size open)": WORSE_OPEN,
    "undecided": INCONCLUSIVE,
}


def places(loaded: Loaded, case: Case, baseline: Case) -> list[Finding]:
    """Return what is found of an arm against another at every place and workload that was timed, favourable or not."""
    return [found for metric in WORKLOADS for found in between(loaded, metric, case, baseline)]


def doubts(found: Iterable[Finding]) -> str:
    """Return labels of any arm that say that its time may not be that of the work it claims, or may be the machine's."""
    labels = dict[str, None]()
    for each in found:
        wanted = OF_WORK | {Label.CONTAMINATED}
        labels |= dict.fromkeys(label for label in (*each.labels, *each.against_labels) if label in wanted)
    return ", ".join(labels)


def best(loaded: Loaded, metric: str, cases: Mapping[str, str]) -> str | None:
    """Return the arm that is shown to be better than every other one; None where none is, or a pair was not compared."""

    def beats(arm: str, other: str) -> bool:
        for row in loaded.between(metric, arm, other):
            if row.case_id in {cases[arm], cases[other]}:
                word = row.verdict if row.arm == arm else MIRRORED.get(row.verdict)
                return word == BETTER and not OF_WORK.intersection(labels_of(row))
        return False

    found = (arm for arm in cases if all(beats(arm, other) for other in cases if other != arm))
    return next(found, None) if len(cases) > 1 else None


def span(found: Sequence[Finding]) -> Estimate | None:
    """Return the smallest and the largest ratio; None where there is none."""
    ratios = [each.typical.value for each in found if each.typical.value is not None]
    if not ratios:
        return None
    return Estimate(ratios[0], kind="ratio") if len(ratios) == 1 else Estimate(None, min(ratios), max(ratios), "ratio")


def sentence(arm: Value, found: Sequence[Finding], base: Value) -> Sentence | None:
    """Say `MoD 0.125 is faster than dense in 5 of 6 places, failed in 1: 1.29× to 1.70×.`; None where nothing was compared.

    Args:
        arm: who.
        found: what is found at each place; places that a search left out do not count.
        base: what it is compared with.
    """
    found = [each for each in found if each.typical.value is not None or each.status == "failed"]
    if not found:
        return None
    ratios, doubted = span(found), doubts(found)
    if ratios is None:
        return Sentence("{arm} has no time to compare with {base}: one of the two failed.", arm=arm, base=base)
    verdicts = [each.verdict if each.typical.value is not None else "failed" for each in found]
    counts = {word: verdicts.count(verdict) for word, verdict in COUNTED.items()}
    first = next((word for word in ("faster", "slower") if counts[word]), "not shown to be faster")
    if all(verdict in {None, "failed"} for verdict in verdicts):
        said = "{arm} is {ratios} as fast as {base}, without a verdict"
    else:
        said = f"{{arm}} is {first} than {{base}} in {{first}} of {{all:place}}"
        said += "".join(f", {word} in {{{_key(word)}}}" for word, n in counts.items() if n and word != first)
        said += " (chance gives up to {chance})" * (0 < counts.get(first, 0) < len(found)) + ": {ratios}"
    said += " (but: {doubts})" * bool(doubted) + "."
    counts["first"], counts["chance"] = counts.get(first, len(found)), by_chance(found)
    return Sentence(
        said,
        arm=arm,
        base=base,
        ratios=ratios,
        doubts=doubted,
        all=len(found),
        **{_key(word): n for word, n in counts.items()},
    )


def _key(word: str) -> str:
    """The word as the name of a value."""
    return re.sub(r"\W+", "_", word).strip("_")


def by_chance(found: Sequence[Finding]) -> int:
    """Return in how many of these places chance alone gives a verdict in one direction, at most."""
    return effects.by_chance(sum(each.verdict is not None for each in found))
