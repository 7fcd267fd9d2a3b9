"""In how many comparisons of time one variant is faster than another: what a reader who has to choose would ask first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from modbench.harness.core.labels import OF_WORK, Label
from modbench.harness.domain.case import Case
from modbench.harness.stats.verdicts import BETTER, MIRRORED, WORSE
from modbench.reports.blocks import Estimate, Finding, Sentence, Value
from modbench.reports.tables.load import Loaded
from modbench.reports.tables.pairs import between, labels_of
from modbench.reports.wording import WORKLOADS


def grid_points(loaded: Loaded, case: Case, baseline: Case) -> list[Finding]:
    """Return what is found of a variant against another at every place and workload that was timed, favourable or not."""
    return [found for metric in WORKLOADS for found in between(loaded, metric, case, baseline)]


def doubts(found: Iterable[Finding]) -> str:
    """Return labels of any variant that say that its time may not be that of the work it claims, or may be the machine's."""
    labels = (label for each in found for label in (*each.labels, *each.against_labels))
    return ", ".join(dict.fromkeys(label for label in labels if label in OF_WORK | {Label.NOISY}))


def best(loaded: Loaded, metric: str, cases: Mapping[str, str]) -> str | None:
    """Return the variant that is shown to be better than every other one; None where none is, or a pair was not compared."""

    def beats(variant: str, other: str) -> bool:
        for row in loaded.between(metric, variant, other):
            if row.case_id in {cases[variant], cases[other]}:
                word = row.verdict if row.variant == variant else MIRRORED.get(row.verdict)
                return word == BETTER and not OF_WORK.intersection(labels_of(row))
        return False

    found = (variant for variant in cases if all(beats(variant, other) for other in cases if other != variant))
    return next(found, None) if len(cases) > 1 else None


def span(found: Sequence[Finding]) -> Estimate | None:
    """Return the smallest and the largest ratio; None where there is none."""
    ratios = [each.typical.value for each in found if each.typical.value is not None]
    if not ratios:
        return None
    return Estimate(ratios[0], kind="ratio") if len(ratios) == 1 else Estimate(None, min(ratios), max(ratios), "ratio")


def sentence(variant: Value, found: Sequence[Finding], base: Value) -> Sentence | None:
    """Say which of two is faster, the winner first: `MoD 0.125 is faster than dense in 4 of 6 comparisons, slower in 1`.

    Args:
        variant: who.
        found: what is found at each place; places that a search left out do not count.
        base: what it is compared with.

    Returns:
        None where nothing was compared.
    """
    found = [each for each in found if each.typical.value is not None or each.status == "failed"]
    if not found:
        return None
    if span(found) is None:
        return Sentence(
            "{variant} has no time to compare with {base}: one of the two failed.", variant=variant, base=base
        )
    won, lost = (sum(each.verdict == word for each in found) for word in (BETTER, WORSE))
    if not any(each.verdict for each in found):
        return ratios(variant, found, base)
    sides = {"variant": base, "base": variant} if lost > won else {"variant": variant, "base": base}
    several = len(found) > 1
    words = "{variant} is faster than {base}" + " in {won} of {all:comparison}" * several
    words += ", slower in {lost}" * bool(min(won, lost))
    if not won and not lost:
        words = "{variant} is neither faster nor slower than {base}" + " in any of {all:comparison}" * several
    doubted = doubts(found)
    words += " (but: {doubts})" * bool(doubted) + "."
    return Sentence(words, **sides, won=max(won, lost), lost=min(won, lost), all=len(found), doubts=doubted)


def ratios(variant: Value, found: Sequence[Finding], base: Value = None) -> Sentence:
    """Say how fast it is: `MoD 0.125 is 1.23× to 1.67× as fast as dense of the same shape`."""
    words = "{variant} is {ratios} as fast" + " as {base}" * (base is not None)
    words += ", without a verdict" * (not any(each.verdict for each in found)) + "."
    return Sentence(words, variant=variant, ratios=span(found), base=base)
