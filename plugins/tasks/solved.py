"""What it means that a run solved a task, and what a number of seeds can decide where such runs are counted.

On a task with one rule to find, a training run finds it or stays on a plateau. A mean over seeds then says how many found it, and
an interval of Student's t around it means nothing: the suite may say that runs are counted (`tasks.counted`), which are compared
by an exact test (`exact_two_proportions.py`). Results never choose that: it would be a second test.
"""

from __future__ import annotations

from dataclasses import dataclass

from modbench.extend import LEVEL, ONE, POWER, SOLVED, Analysis, Estimate, Listed, Sentence, plain
from modbench.plugins.tasks import exact_two_proportions

# Pairs of rates of success for which the number of seeds is told beforehand.
FORESEEN = ((0.0, 1.0), (0.1, 0.9), (0.2, 0.8))


def solved_from(shortcut: float, way: float = SOLVED) -> float:
    """Accuracy from which a run has solved a task.

    Args:
        shortcut: accuracy of the best rule that does not solve it, a share.
        way: share of the way from there to every answer right.
    """
    return shortcut + way * (1 - shortcut)


def level_among(pairs: int) -> float:
    """P-value at which one of so many pairs is significant even if no other is (Holm)."""
    return (1 - LEVEL) / max(1, pairs)


@dataclass(frozen=True)
class Decidable:
    """What counts of solved tasks can decide.

    Attributes:
        seeds: seeds of each variant.
        pairs: variants that are compared with the baseline.
        smallest_p: p-value of none against all.
        level: p-value at which one pair alone is significant.
        symmetric: the largest share q <= 0.5 such that q against 1 - q is significant with 80 % power; None if not even 0.
        from_none: the smallest share that is significantly different from 0 with 80 % power; None if not even 1.
        needed: seeds that decide each pair of rates in `FORESEEN`.
    """

    seeds: int
    pairs: int
    smallest_p: float
    level: float
    symmetric: float | None
    from_none: float | None
    needed: dict[tuple[float, float], int | None]


def decidable(seeds: int, pairs: int, analysis: Analysis = ONE) -> Decidable:
    """Say what so many seeds can decide, if one of so many pairs differs.

    Args:
        seeds: of each variant.
        pairs: variants that are compared with the baseline.
        analysis: which interim analysis of their seeds it is.
    """
    level = analysis.level_at(level_among(pairs))
    steps = [step / 100 for step in range(51)]
    symmetric = [each for each in steps if exact_two_proportions.power(seeds, each, 1 - each, level) >= POWER]
    above = [
        each / 100 for each in range(1, 101) if exact_two_proportions.power(seeds, 0.0, each / 100, level) >= POWER
    ]
    return Decidable(
        seeds=seeds,
        pairs=pairs,
        smallest_p=float(exact_two_proportions.p_values(seeds, seeds)[0, seeds]),
        level=level,
        symmetric=max(symmetric, default=None),
        from_none=min(above, default=None),
        needed={rates: exact_two_proportions.seeds_needed(*rates, level) for rates in FORESEEN},
    )


def in_words(found: Decidable) -> str:
    """Say which shares of runs that solve a task are decided, and what others take."""
    words = "Tasks that a run solves or not: {n:seed} decide {what} (80 % power); {others}."
    shares = [] if found.from_none is None else [Sentence("0 % against {least}", least=_share(found.from_none))]
    takes = "{low} against {high} takes {n}"
    most = f"over {exact_two_proportions.MOST_SEEDS}"
    others = [
        Sentence(takes, low=_share(low), high=_share(high), n=most if n is None else n)
        for (low, high), n in found.needed.items()
    ]
    return plain(Sentence(words, n=found.seeds, what=Listed(shares) if shares else "nothing", others=Listed(others)))


def _share(value: float) -> Estimate:
    return Estimate(value, kind="share")
