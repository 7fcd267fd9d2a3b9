"""One engine for all comparisons: what must hold of it whatever the numbers are, and closed forms of its intervals."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from statistics import fmean, median
from typing import NamedTuple, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from present import present
from scipy import stats as scipy_stats

from modbench.harness.stats.effects import Effect
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import (
    APART,
    BETTER,
    BETTER_OPEN,
    EQUIVALENT,
    FAIL,
    INCONCLUSIVE,
    MIRRORED,
    PASS,
    WORSE,
    WORSE_OPEN,
    ByClock,
    Contrast,
    How,
    Rule,
    Seen,
    Side,
    contrast,
    counted,
    estimated,
    limited,
    together,
)

HOWS: tuple[How, ...] = get_args(How)
MARGIN = 0.02
TIME, LOSS = Rule(margin=MARGIN), Rule("loss", 0.01)
# How much is known, from nothing to a size.
KNOWN = {INCONCLUSIVE: 0, BETTER_OPEN: 1, WORSE_OPEN: 1, BETTER: 2, WORSE: 2, EQUIVALENT: 2}


class Planted(NamedTuple):
    """Log times of a base and of a new side by process or round, and what CPU time lacks of each."""

    base: list[float]
    new: list[float]
    base_waits: list[float]
    new_waits: list[float]

    def swapped(self) -> Planted:
        return Planted(self.new, self.base, self.new_waits, self.base_waits)

    def each(self, change: Callable[[list[float]], list[float]]) -> Planted:
        return Planted(*map(change, self))


def planted(seed: int, processes: int | None = None) -> Planted:
    """Sides that differ by up to 6 %, on machines from calm to loud, of which one in two disturbs one side more."""
    rng = random.Random(seed)
    n = processes or rng.randrange(3, 16)
    apart, noise = rng.choice([0, 0.005, 0.02, 0.03, 0.06]) * rng.choice([-1, 1]), rng.choice([0.001, 0.005, 0.02])
    waits = rng.choice([0, 0.0005, 0.008, 0.05])
    return Planted(
        [rng.gauss(0, noise) for _ in range(n)],
        [rng.gauss(apart, noise) for _ in range(n)],
        [abs(rng.gauss(0, waits / 3)) for _ in range(n)],
        [abs(rng.gauss(0, waits)) for _ in range(n)],
    )


def clock(how: How, values: Sequence[float]) -> ByClock:
    """The numbers of a side: of one process its rounds, with their mean as the other estimand."""
    numbers = dict(enumerate(values))
    if how == "within":
        return ByClock({0: median(values)}, {0: fmean(values)}, {float(key): value for key, value in numbers.items()})
    return ByClock(numbers, {key: value + 0.001 * (key % 3) for key, value in numbers.items()})


def side(how: How, values: Sequence[float], waits: Sequence[float]) -> Side:
    return Side(clock(how, values), clock(how, [value - wait for value, wait in zip(values, waits, strict=True)]))


def compared(how: How, made: Planted, rule: Rule = TIME, seen: Seen | None = None) -> Contrast:
    """The contrast of planted sides; of blocks that alternate one number is known, their difference."""
    if how == "alternating":
        nothing = [0.0] * len(made.new)
        apart, waits = ([*np.subtract(*both)] for both in ((made.new, made.base), (made.new_waits, made.base_waits)))
        made = Planted(nothing, apart, nothing, waits)
    base, new = side(how, made.base, made.base_waits), side(how, made.new, made.new_waits)
    return contrast(base, new, how, rule, seen or Seen(unfit=None))


def same(one: Effect, other: Effect, sign: int = 1) -> bool:
    """Whether two effects are equal but for rounding, or each other's mirror image."""
    ends = ("low", "high", "low90", "high90") if sign > 0 else ("high", "low", "high90", "low90")
    mine = [one.value, one.low, one.high, one.low90, one.high90]
    theirs = [other.value, *(getattr(other, end) for end in ends)]
    return all(
        b is None if a is None else b is not None and math.isclose(a, sign * b, rel_tol=1e-9, abs_tol=1e-12)
        for a, b in zip(mine, theirs, strict=True)
    )


def mirrored(found: Contrast, other: Contrast) -> bool:
    """Whether two contrasts say the same of swapped sides."""
    by = (found.by_cpu, found.noisy, found.tail) == (other.by_cpu, other.noisy, other.tail)
    return (
        by
        and same(found.effect, other.effect, -1)
        and MIRRORED.get(found.verdict or "", found.verdict) == other.verdict
    )


every_how = pytest.mark.parametrize("how", HOWS)
seeds = st.integers(0, 10**6)


@every_how
@given(seeds)
def test_swapped_sides_are_mirrored(how: How, seed: int) -> None:
    made = planted(seed)
    assert mirrored(compared(how, made), compared(how, made.swapped()))
    assert mirrored(compared(how, made, LOSS), compared(how, made.swapped(), LOSS))
    counts = [round(1000 * math.exp(side[0])) for side in made[:2]]
    rule = Rule("count", MARGIN)
    found, other = counted(counts[0], counts[1], rule), counted(counts[1], counts[0], rule)
    assert mirrored(found, other)


@every_how
@given(seeds)
def test_the_order_of_processes_does_not_matter(how: How, seed: int) -> None:
    made, rng = planted(seed), random.Random(seed)
    order = rng.sample(range(len(made.base)), len(made.base))

    def in_order(values: list[float]) -> list[float]:
        return [values[i] for i in order]

    for rule in (TIME, LOSS):
        found, other = compared(how, made, rule), compared(how, made.each(in_order), rule)
        assert same(found.effect, other.effect)
        assert (found.verdict, found.by_cpu) == (other.verdict, other.by_cpu)


@every_how
@given(seeds, st.floats(-3, 3))
def test_a_faster_machine_changes_no_ratio(how: How, seed: int, faster: float) -> None:
    made = planted(seed)
    scaled = made._replace(base=[each + faster for each in made.base], new=[each + faster for each in made.new])
    found, other = compared(how, made), compared(how, scaled)
    assert same(found.effect, other.effect)
    assert found.verdict == other.verdict


@every_how
@given(seeds)
def test_a_duplicate_is_equal_to_what_it_copies(how: How, seed: int) -> None:
    """Beside the base it has the variant's row; beside the variant it is equivalent, and as an A/A control it changes nothing."""
    made = planted(seed)
    one, copy = together([compared(how, made), compared(how, made)])
    assert one == copy
    beside = made._replace(base=made.new, base_waits=made.new_waits)
    own = compared("within" if how == "independent" else how, beside)
    assert own.effect.value == 0
    assert own.verdict == (EQUIVALENT if len(made.base) >= (6 if own.how == "within" else 3) else INCONCLUSIVE)
    known = compared(how, made, seen=Seen(unfit=None, control=own))
    assert replace(known, seen=Seen(unfit=None)) == compared(how, made)


@pytest.mark.parametrize("how", [how for how in HOWS if how != "independent"])
@given(seeds)
def test_where_the_control_differs_nothing_is_decided(how: How, seed: int) -> None:
    control = compared(how, Planted([0.0] * 9, [0.5] * 9, [0.0] * 9, [0.0] * 9))
    found = compared(how, planted(seed), seen=Seen(unfit=None, control=control))
    assert (control.verdict, found.verdict, found.fooled) == (WORSE, INCONCLUSIVE, True)
    assert (found.reason, found.open) == (Reason("baseline_differs", ratio=control.ratio), None)
    assert [each.word for each in limited([found], [MARGIN])] == [INCONCLUSIVE]


@pytest.mark.parametrize(
    ("how", "left", "why"),
    [
        ("interleaved", 2, Reason("few_values", n=2)),
        ("alternating", 2, Reason("few_values", n=2)),
        ("within", 5, Reason("few_rounds", n=5, needed=6)),
        ("independent", 2, Reason("few_processes_of_each")),
    ],
)
@given(seeds)
def test_too_few_processes_of_one_change_no_number_of_the_others(how: How, left: int, why: Reason, seed: int) -> None:
    three = [planted(seed + i, 9) for i in range(3)]
    few = [three[0].each(lambda values: values[:left]), *three[1:]]
    rule = LOSS if how == "independent" else TIME
    whole, dropped = (together([compared(how, made, rule) for made in those]) for those in (three, few))
    assert dropped[0].verdict == (None if rule is LOSS else INCONCLUSIVE)
    assert dropped[0].effect.reason == why
    assert [limit.reason for limit in limited(dropped[:1], [MARGIN])] == [why]
    for found, before in zip(dropped[1:], whole[1:], strict=True):
        assert (found.wall, found.cpu, found.gap) == (before.wall, before.cpu, before.gap)
        assert KNOWN[present(found.verdict)] >= KNOWN[present(before.verdict)]  # the family is smaller


@every_how
@given(seeds, st.floats(0, 1))
def test_less_noise_never_decides_less(how: How, seed: int, share: float) -> None:
    made, middle = planted(seed), median if how == "within" else fmean
    apart = [*np.subtract(made.new, made.base)]

    def calmer(values: list[float]) -> list[float]:
        return [middle(values) + share * (value - middle(values)) for value in values]

    def family(base: list[float], new: list[float]) -> list[Contrast]:
        rule = LOSS if how == "independent" else TIME
        return together([contrast(Side(clock(how, base)), Side(clock(how, new)), how, rule)] * 3)

    if how == "independent":
        loud, calm = family(made.base, made.new), family(calmer(made.base), calmer(made.new))
    else:
        nothing = [0.0] * len(apart)
        loud, calm = family(nothing, apart), family(nothing, calmer(apart))
    assert KNOWN[present(calm[0].verdict)] >= KNOWN[present(loud[0].verdict)]
    words = [[each.word for each in limited(those, [MARGIN] * 3)] for those in (loud, calm)]
    assert words[0] in (words[1], [INCONCLUSIVE] * 3)


@every_how
@given(seeds)
def test_a_family_of_copies_decides_no_more_than_one(how: How, seed: int) -> None:
    rule = LOSS if how == "independent" else TIME
    alone = compared(how, planted(seed), rule)
    for size in (2, 8, 34):
        family = together([alone] * size)
        assert all(each == family[0] for each in family)
        assert family[0].verdict in {alone.verdict, INCONCLUSIVE}
        if (p := alone.effect.p) is not None:
            assert family[0].p_adjusted == pytest.approx(min(1, size * p))
            assert (family[0].verdict != alone.verdict) == (alone.verdict in APART and size * p > 0.05)
        assert limited(family, [MARGIN] * size)[0].word in {limited([alone], [MARGIN])[0].word, INCONCLUSIVE}


@pytest.mark.parametrize("how", ["interleaved", "alternating"])
@pytest.mark.parametrize("rule", [TIME, LOSS], ids=["time", "loss"])
@given(seeds, st.floats(0.001, 0.1))
def test_what_fails_a_limit_passes_it_from_the_other_side(how: How, rule: Rule, seed: int, limit: float) -> None:
    made, opposite = planted(seed), -limit if rule.kind == "loss" else 1 / (1 + limit) - 1
    (found,), (other,) = (
        limited([compared(how, each, rule)], [at]) for each, at in ((made, limit), (made.swapped(), opposite))
    )
    assert (found.word == FAIL) == (other.word == PASS)
    assert (found.word == PASS) == (other.word == FAIL)
    (larger,) = limited([found.contrast], [limit + 0.01])
    order = [FAIL, INCONCLUSIVE, PASS]
    assert order.index(larger.word) >= order.index(found.word)
    if rule.kind == "time" and found.reason is None:
        assert (found.word == PASS) == (present(found.not_excluded) < limit)


def test_a_count_is_held_to_a_limit_exactly() -> None:
    """1 % more than 100 is 101, whatever rounding makes of it."""
    found = [counted(100, new, Rule("count", MARGIN)) for new in (99, 101, 102)]
    assert [each.word for each in limited(found, [Fraction(1, 100)] * 3)] == [PASS, PASS, FAIL]


@given(seeds)
def test_times_that_took_no_turns_have_an_effect_and_no_verdict(seed: int) -> None:
    found = compared("independent", planted(seed))
    assert (found.verdict, found.labels[0]) == (None, "not alternated")
    assert found.effect.low is not None
    (check,) = limited([found], [MARGIN])
    assert (check.word, check.reason) == (INCONCLUSIVE, Reason("not_alternated"))


def test_what_a_check_withholds_is_not_decided_and_says_why() -> None:
    why = Reason("said", said="it keeps its outputs")
    for found in (
        compared("interleaved", planted(1), seen=Seen(unfit=None, withheld=why)),
        counted(1, 2, Rule("count", MARGIN), Seen(withheld=why)),
        estimated(Effect(0.5, 0.4, 0.6, p=0.001), TIME, "interleaved", Seen(withheld=why)),
    ):
        assert (found.verdict, found.reason, found.decided) == (INCONCLUSIVE, why, True)
    known = {verdict: Seen(unsure=(frozenset({verdict}), why)) for verdict in (WORSE, BETTER)}
    found, other = (counted(1, 2, Rule("count", MARGIN), seen) for seen in known.values())
    assert ((found.verdict, found.reason), other.verdict) == ((INCONCLUSIVE, why), WORSE)


# --- closed forms


@given(seeds)
def test_the_interval_over_processes_is_that_of_the_paired_t_test(seed: int) -> None:
    made = planted(seed)
    effect = compared(
        "interleaved", made._replace(base_waits=[0.0] * len(made.base), new_waits=[0.0] * len(made.new))
    ).effect
    published = scipy_stats.ttest_rel(made.base, made.new)
    for level, ends in ((0.95, (effect.low, effect.high)), (0.9, (effect.low90, effect.high90))):
        assert published.confidence_interval(level) == pytest.approx(ends)
    assert effect.p == pytest.approx(published.pvalue)


@given(seeds)
def test_the_interval_between_independent_processes_is_welchs(seed: int) -> None:
    made, others = planted(seed), planted(seed + 1)
    for rule, sign in ((TIME, 1), (LOSS, -1)):
        base, new = Side(clock("independent", made.base)), Side(clock("independent", others.new))
        effect = contrast(base, new, "independent", rule).effect
        published = scipy_stats.ttest_ind(made.base, others.new, equal_var=False)
        low, high = sorted(sign * end for end in published.confidence_interval(0.95))
        assert (effect.low, effect.high, effect.p) == pytest.approx((low, high, published.pvalue))


@given(seeds)
def test_the_interval_over_rounds_is_that_of_the_sign_test(seed: int) -> None:
    made = planted(seed, 20)
    apart = np.subtract(made.base, made.new)
    effect = contrast(Side(clock("within", made.base)), Side(clock("within", made.new)), "within", TIME).effect
    assert effect.p == pytest.approx(scipy_stats.binomtest(int((apart > 0).sum()), 20).pvalue)
    assert effect.excludes_0 == (present(effect.p) < 0.05)
    # Of 20 values the sixth smallest and the sixth largest: 95.9 %.
    assert (effect.value, effect.low, effect.high) == pytest.approx((np.median(apart), *np.sort(apart)[[5, -6]]))


def test_the_family_is_adjusted_by_holm() -> None:
    """Four p-values 0.01, 0.02, 0.03, 0.5 become 0.04, 0.06, 0.06, 0.5: three differences that stand alone, and one in four."""
    four = [
        estimated(Effect(0.05, 0.03, 0.07, 0.033, 0.067, p=p), TIME, "interleaved") for p in (0.03, 0.01, 0.5, 0.02)
    ]
    family = together(four)
    assert [each.p_adjusted for each in family] == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert [each.verdict for each in family] == [INCONCLUSIVE, BETTER, INCONCLUSIVE, INCONCLUSIVE]
    assert family[0].open == Reason("not_significant_among", n=4, p=0.06)
