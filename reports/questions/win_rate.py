"""In how many of the measured places an arm beats another on time: what a reader who has to choose would ask first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from modbench.harness.core.labels import OF_WORK, Label
from modbench.harness.domain.case import Case
from modbench.harness.stats import effects
from modbench.harness.stats.contrast import BETTER, DIFFERENT, EQUIVALENT, INCONCLUSIVE, MIRRORED, WORSE
from modbench.reports.model import Estimate, Finding, Listed, PlaceAmong, Sentence, Value
from modbench.reports.tables.findings import between, labels_of
from modbench.reports.tables.load import Loaded
from modbench.reports.wording import WORKLOADS

# Verdicts in the order of a sentence, and the word for each.
WORDS = {
    WORSE: "slower",
    EQUIVALENT: "equal",
    DIFFERENT: DIFFERENT,
    INCONCLUSIVE: "undecided",
}
# More wins than this are counted, not listed.
MOST_LISTED = 2


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


def sentence(found: Sequence[Finding], subject: Value = "", pronoun: str = "") -> Sentence:
    """Say where it pays: `pays in 1 of 6 (train step at T = 512: 1.06×), slower in 4, undecided in 1; ratio 0.82× to 1.06×`.

    Args:
        found: what is found at each place.
        subject: who; empty: nobody is named.
        pronoun: what stands for the arm behind a subject that is none.
    """
    ratios = span(found)
    if ratios is None or all(each.verdict is None for each in found):
        said = "no time was measured" if ratios is None else "{ratios}, without a verdict"
        return Sentence(f"{{subject}}: {said}" if subject else said, subject=subject, ratios=ratios)
    won = [each for each in found if each.verdict == BETTER]
    unlike = 0 < len(won) < len(found)
    counts = [(word, sum(each.verdict == verdict for each in found)) for verdict, word in WORDS.items()]
    numbers = [each.typical.value for each in found]
    counts.append(("without a verdict", sum(each.verdict is None and each.typical.value is not None for each in found)))
    counts.append(("not measured", numbers.count(None)))
    rest = [Sentence(f"{word} in {{n}}", n=number) for word, number in counts if number]
    doubted = doubts(found)
    return Sentence(
        ("{subject} " + pronoun) * bool(subject)
        + "pays in {won} of {all}"
        + " ({where})" * (unlike and len(won) <= MOST_LISTED)
        + ", {rest}" * bool(rest)
        + " (chance gives up to {chance})" * unlike
        + "; ratio {ratios}"
        + " (but: {doubts})" * bool(doubted),
        subject=subject,
        won=len(won),
        all=len(found),
        where=Listed([_named(each, found) for each in won]),
        rest=Listed(rest),
        chance=by_chance(found),
        ratios=ratios,
        doubts=doubted,
    )


def by_chance(found: Sequence[Finding]) -> int:
    """Return in how many of these places chance alone gives a verdict in one direction, at most."""
    return effects.by_chance(sum(each.verdict is not None for each in found))


def all_in_short(found: Sequence[Finding]) -> bool:
    """Whether the answer in short says all that `sentence` would: the ratios alone, or one verdict."""
    if all(each.verdict is None for each in found):
        return True
    return len(found) == 1 and found[0].verdict in {BETTER, WORSE}


def _named(found: Finding, among: Sequence[Finding]) -> Sentence:
    """Name a place by what distinguishes it from the others."""
    every = [each.where for each in among if each.where is not None]
    ratio = Estimate(found.typical.value, kind="ratio")
    what, place = WORKLOADS[found.metric], PlaceAmong(found.place, every)
    return Sentence("{what} at {place}: {ratio}", what=what, place=place, ratio=ratio)
