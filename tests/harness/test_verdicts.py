"""The only judge of two sides: what holds of it whatever the numbers are, each threshold, and the clock that decides."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from statistics import fmean, median
from typing import NamedTuple, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from present import present

from modbench.harness.core.labels import Label
from modbench.harness.stats import effects, noise, verdicts
from modbench.harness.stats.effects import Effect, over_processes
from modbench.harness.stats.interim import Analysis
from modbench.harness.stats.power import Ends
from modbench.harness.stats.reason import Reason, both
from modbench.harness.stats.verdicts import (
    APART,
    BETTER,
    BETTER_OPEN,
    EQUIVALENT,
    FAIL,
    INCONCLUSIVE,
    MIRRORED,
    NOT_RECORDED,
    NOT_TICKED,
    PASS,
    SEVERAL_THREADS,
    WORSE,
    WORSE_OPEN,
    ByClock,
    Contrast,
    Estimates,
    How,
    Rule,
    Seen,
    Side,
    contrast,
    counted,
    estimated,
    limited,
    together,
    verdict,
)

HOWS: tuple[How, ...] = get_args(How)
MARGIN = 0.02
EDGE = math.log1p(MARGIN)
TIME, LOSS, COUNT = Rule(margin=MARGIN), Rule("loss", 0.01), Rule("count", MARGIN)
RULES = (TIME, LOSS, replace(LOSS, analysis=Analysis(2, (0.25, 0.5, 0.75, 1.0), 16)))
# How much is known, from nothing to a size.
KNOWN = {INCONCLUSIVE: 0, BETTER_OPEN: 1, WORSE_OPEN: 1, BETTER: 2, WORSE: 2, EQUIVALENT: 2}
WHY = Reason("said", said="it keeps its outputs")


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
    return ByClock(numbers, {key: 1.5 * value for key, value in numbers.items()})


def sides(how: How, made: Planted) -> tuple[Side, Side]:
    """Base and new side of planted numbers; of blocks that alternate one number is known, their difference."""
    if how == "alternating":
        nothing = [0.0] * len(made.new)
        apart, waits = ([*np.subtract(*each)] for each in ((made.new, made.base), (made.new_waits, made.base_waits)))
        made = Planted(nothing, apart, nothing, waits)
    walls = (made.base, made.base_waits), (made.new, made.new_waits)
    base, new = (Side(clock(how, wall), clock(how, [*np.subtract(wall, waits)])) for wall, waits in walls)
    return base, new


def compared(how: How, made: Planted, rule: Rule = TIME, seen: Seen | None = None) -> Contrast:
    return contrast(*sides(how, made), how, rule, seen or Seen(unfit=None))


def same(one: Effect, other: Effect) -> bool:
    """Whether two effects are equal but for rounding."""
    names = ("value", "low", "high", "low90", "high90", "p", "sd")
    values = [(getattr(one, name), getattr(other, name)) for name in names]
    return all(
        b is None if a is None else b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in values
    )


def mirrored(found: Contrast, other: Contrast) -> bool:
    """Whether two contrasts say the same of swapped sides."""
    flags = (found.by_cpu, found.noisy, found.tail) == (other.by_cpu, other.noisy, other.tail)
    words = MIRRORED.get(found.verdict or "", found.verdict) == other.verdict
    return flags and words and same(found.effect.mirrored(), other.effect)


every_how = pytest.mark.parametrize("how", HOWS)
seeds = st.integers(0, 10**6)
rules = st.sampled_from(RULES)


@every_how
@given(seeds, rules)
def test_swapped_sides_are_mirrored(how: How, seed: int, rule: Rule) -> None:
    made = planted(seed)
    assert mirrored(compared(how, made, rule), compared(how, made.swapped(), rule))
    base, new = (round(1000 * math.exp(side[0])) for side in made[:2])
    assert mirrored(counted(base, new, COUNT), counted(new, base, COUNT))
    # Of what is better the higher it is, the other side is.
    higher = compared(how, made, replace(LOSS, better="higher"))
    assert (higher.verdict, higher.effect) == (
        compared(how, made.swapped(), LOSS).verdict,
        compared(how, made, LOSS).effect,
    )
    assert counted(base, new, replace(COUNT, better="higher")).verdict == counted(new, base, COUNT).verdict
    assert compared(how, made, replace(rule, better="neither")).verdict is None


@every_how
@given(seeds, rules, st.floats(-3, 3))
def test_neither_the_order_of_processes_nor_a_faster_machine_matters(
    how: How, seed: int, rule: Rule, faster: float
) -> None:
    made = planted(seed)
    order = random.Random(seed).sample(range(len(made.base)), len(made.base))
    ordered = made.each(lambda values: [values[i] for i in order])
    scaled = made._replace(base=[each + faster for each in made.base], new=[each + faster for each in made.new])
    found = compared(how, made, rule)
    for other in (compared(how, ordered, rule), compared(how, scaled, rule)):
        assert same(found.effect, other.effect)
        assert (found.verdict, found.by_cpu, found.tail) == (other.verdict, other.by_cpu, other.tail)


def reference(how: How, base: Mapping[int, float], new: Mapping[int, float], rule: Rule) -> Effect:
    """The effect of numbers, above 0 where the new side's are smaller; of losses where they are larger."""
    mine, theirs = (base, new) if rule.kind == "time" else (new, base)
    if how == "independent":
        return effects.welch([*mine.values()], [*theirs.values()], rule.analysis)
    return over_processes([mine[key] - theirs[key] for key in mine], analysis=rule.analysis)


@every_how
@given(seeds, rules)
def test_each_clock_and_estimand_has_the_effect_of_its_own_numbers(how: How, seed: int, rule: Rule) -> None:
    made = planted(seed)
    base, new = sides(how, made)
    found = compared(how, made, rule)
    own = replace(rule, analysis=TIME.analysis)
    for said, mine, theirs in ((found.wall, base.wall, new.wall), (found.cpu, base.cpu, new.cpu)):
        if said is None or mine is None or theirs is None:
            assert (rule.kind, said, found.gap) == ("loss", None, None)
            continue
        tail, their_tail = ({key: side.other[key] - side.own[key] for key in side.own} for side in (mine, theirs))
        assert same(present(said.other), reference(how, mine.other, theirs.other, own))
        assert same(present(said.apart), reference(how, tail, their_tail, own))
        if how == "within":
            sign = 1 if rule.kind == "time" else -1
            apart = [sign * (mine.rounds[key] - theirs.rounds[key]) for key in mine.rounds]
            assert same(said.effect, effects.over_rounds(apart))
        else:
            assert same(said.effect, reference(how, mine.own, theirs.own, rule))
    if found.gap is not None and how != "within":
        waits, their_waits = (
            {key: side.wall.own[key] - present(side.cpu).own[key] for key in side.wall.own} for side in (base, new)
        )
        assert same(found.gap, reference(how, waits, their_waits, own))


def test_sides_are_compared_in_the_processes_that_both_have() -> None:
    base, new = ByClock({0: 1.0, 1: 1.0, 2: 1.5, 3: 1.25}), ByClock({1: 0.5, 2: 0.5, 3: 0.5, 4: 9.0})
    assert contrast(Side(base), Side(new), "interleaved", TIME).effect == over_processes([0.5, 1.0, 0.75])
    nine = ByClock({0: 0.0}, rounds={i: 0.01 * i for i in range(9)})
    eight = ByClock({0: 0.02}, rounds=dict.fromkeys(range(8), 0.0))
    alone = contrast(Side(nine), Side(eight), "interleaved", TIME)
    assert alone.effect == over_processes([-0.02], [0.01 * i for i in range(8)])
    assert alone.open == Reason("single_process")
    with pytest.raises(ValueError, match=r"^the two sides share no process$"):
        contrast(Side(ByClock({0: 1.0})), Side(ByClock({1: 1.0})), "interleaved", TIME)


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
    assert [(each.word, each.reason) for each in limited([found], [MARGIN])] == [(INCONCLUSIVE, found.reason)]


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
    assert [(limit.contrast, limit.reason) for limit in limited(dropped[:1], [MARGIN])] == [(dropped[0], why)]
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
            assert family[0].family == size
            assert (family[0].verdict != alone.verdict) == (alone.verdict in APART and size * p > 0.05)
        assert limited(family, [MARGIN] * size)[0].word in {limited([alone], [MARGIN])[0].word, INCONCLUSIVE}


def test_the_family_is_adjusted_by_holm() -> None:
    """Four p-values 0.01, 0.02, 0.03, 0.5 become 0.04, 0.06, 0.06, 0.5: three differences that stand alone, and one in four."""
    four = [
        estimated(Effect(0.05, 0.03, 0.07, 0.033, 0.067, p=p), TIME, "interleaved") for p in (0.03, 0.01, 0.5, 0.02)
    ]
    family = together(four)
    assert [each.p_adjusted for each in family] == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert [each.verdict for each in family] == [INCONCLUSIVE, BETTER, INCONCLUSIVE, INCONCLUSIVE]
    assert [each.among for each in family] == [True, False, True, True]
    assert family[0].open == Reason("not_significant_among", n=4, p=0.06)


# --- thresholds of verdicts


@pytest.mark.parametrize(
    ("low", "high", "low90", "high90", "time", "loss"),
    [
        (0.03, 0.05, 0.031, 0.049, BETTER, WORSE),
        (-0.01, 0.012, -0.008, 0.01, EQUIVALENT, EQUIVALENT),
        (0.005, 0.015, 0.006, 0.014, EQUIVALENT, EQUIVALENT),  # better by less than what matters
        (0.01, 0.05, 0.012, 0.048, BETTER_OPEN, WORSE),  # of a loss any difference matters
        (-0.01, 0.05, -0.005, 0.045, INCONCLUSIVE, INCONCLUSIVE),
        (0.0, 0.05, 0.005, 0.045, INCONCLUSIVE, INCONCLUSIVE),  # what touches 0 does not exclude it
        (EDGE, 0.05, 0.021, 0.049, BETTER_OPEN, WORSE),  # what touches the margin does not lie beyond it
        (-0.01, 0.05, -0.005, EDGE, INCONCLUSIVE, INCONCLUSIVE),  # nor inside
        (0.01, 0.05, None, None, BETTER_OPEN, WORSE),  # an exact test of two shares has one interval
    ],
)
def test_where_an_interval_lies_decides(
    low: float, high: float, low90: float | None, high90: float | None, time: str, loss: str
) -> None:
    effect, rule = Effect(0.0, low, high, low90, high90, p=0.5), Rule("loss", EDGE)
    for each, turned in ((effect, False), (effect.mirrored(), True)):
        wanted = [MIRRORED.get(word, word) if turned else word for word in (time, loss)]
        assert [verdict(each, asked, None) for asked in (TIME, rule)] == wanted
        # A difference stands if it is significant in its family; equivalence is no finding of a difference.
        at, above = ([verdict(each, asked, p) for asked in (TIME, rule)] for p in (0.05, 0.0501))
        assert (at, above) == (wanted, [word if word == EQUIVALENT else INCONCLUSIVE for word in wanted])
        assert verdict(replace(each, p=None), TIME, None) == INCONCLUSIVE  # within one process
        ends = Ends(*(math.nan if end is None else end for end in (each.low, each.high, each.low90, each.high90)))
        assert (TIME.decides(ends), TIME.sizes(ends)) == (KNOWN[wanted[0]] > 0, KNOWN[wanted[0]] > 1)


@pytest.mark.parametrize(
    ("base", "new", "value", "word"),
    [
        (103, 100, math.log(1.03), BETTER),
        (101, 100, math.log(1.01), EQUIVALENT),
        (102, 100, math.log(1.02), EQUIVALENT),  # at the margin
        (100, 102, -math.log(1.02), EQUIVALENT),
        (100, 103, -math.log(1.03), WORSE),
        (0, 0, 0.0, EQUIVALENT),
        (5, 5, 0.0, EQUIVALENT),
        (5, 0, math.inf, BETTER),
        (0, 5, -math.inf, WORSE),
    ],
)
def test_counts_are_compared_exactly(base: float, new: float, value: float, word: str) -> None:
    found = counted(base, new, COUNT)
    assert (found.verdict, found.counts, found.open, found.labels) == (word, (base, new), None, [])
    assert found.effect == Effect(pytest.approx(value))  # type: ignore[arg-type]
    assert found.how == "interleaved"
    turned = counted(base, new, replace(COUNT, better="higher"))
    assert turned.effect.value == pytest.approx(-value)
    assert turned.counts == (new, base)


@pytest.mark.parametrize(
    ("own", "other", "apart", "tail"),
    [
        (0.04, -0.04, 0.08, True),
        (0.04, 0.0, 0.04, True),
        (0.04, 0.10, 0.06, False),  # the same word
        (0.04, 0.0, 0.001, False),  # apart by less than the margin
        (0.04, 0.0, EDGE, False),  # by no more than it
    ],
)
def test_a_tail_is_where_the_other_estimand_says_something_else(
    own: float, other: float, apart: float, tail: bool
) -> None:
    mine, theirs = (over_processes([value - 0.001, value, value + 0.001]) for value in (own, other))
    for estimand in ("median", "mean"):
        estimates = Estimates(mine, theirs, Effect(apart, apart / 2, 2 * apart))
        (found,) = together(
            [Contrast("interleaved", Rule(margin=MARGIN, estimand=estimand), Seen(), estimates, tail=not tail)]
        )
        assert (found.verdict, found.tail, found.labels) == (BETTER, tail, [Label.TAIL] * tail)
        said = {estimand: math.exp(mine.value), {"median": "mean", "mean": "median"}[estimand]: math.exp(theirs.value)}
        assert found.disagreement == (Reason("tail", medians=said["median"], means=said["mean"]) if tail else None)
        unknown = replace(found, wall=Estimates(mine, theirs, Effect(apart)))
        assert not together([unknown])[0].tail
        assert not together([replace(found, wall=Estimates(mine))])[0].tail


@given(seeds)
def test_times_that_took_no_turns_have_an_effect_and_no_verdict(seed: int) -> None:
    found = compared("independent", planted(seed))
    assert (found.verdict, found.labels[0], found.decided) == (None, Label.NOT_ALTERNATED, False)
    assert found.effect.low is not None
    (check,) = limited([found], [MARGIN])
    assert (check.word, check.reason) == (INCONCLUSIVE, Reason("not_alternated"))


def test_what_a_check_withholds_is_not_decided_and_says_why() -> None:
    for found in (
        compared("interleaved", planted(1), seen=Seen(unfit=None, withheld=WHY)),
        counted(1, 2, COUNT, Seen(withheld=WHY)),
        estimated(Effect(0.5, 0.4, 0.6, p=0.001), TIME, "interleaved", Seen(withheld=WHY)),
    ):
        assert (found.verdict, found.reason, found.decided, found.open) == (INCONCLUSIVE, WHY, True, None)
        assert [(held.word, held.reason) for held in limited([found], [MARGIN])] == [(INCONCLUSIVE, WHY)]
    known = {verdict: Seen(unsure=(frozenset({verdict}), WHY)) for verdict in (WORSE, BETTER)}
    found, other = (counted(1, 2, COUNT, seen) for seen in known.values())
    assert ((found.verdict, found.reason), other.verdict) == ((INCONCLUSIVE, WHY), WORSE)


def test_an_undecided_contrast_says_how_many_more_would_decide_it() -> None:
    """By its own estimand; more than were made, and fresh ones from nothing."""
    effect = over_processes([0.03, -0.03, 0.031, -0.029, 0.0, -0.001])
    noisier = over_processes([0.12, -0.15, 0.13, -0.12, 0.06, -0.06])
    (found,) = together([Contrast("interleaved", TIME, Seen(), Estimates(effect, noisier, Effect(0.0, -0.1, 0.1)))])
    n = present(found.needed)
    assert n > 6
    assert found.open == Reason("decides", n=n, what="processes")
    assert estimated(effect, TIME, "alternating").open == Reason("decides", n=n, what="blocks")
    assert estimated(effect, Rule("loss", EDGE), "interleaved").open == Reason("seeds_decide", n=n)
    assert found.would_decide(TIME.decides, least=3) == n  # not more because six were made
    assert present(found.would_decide(TIME.decides, wanted=0.95)) > n
    assert present(found.would_decide(TIME.decides, analyses=4)) >= n
    assert found.would_decide(TIME.decides, most=n - 1) is None
    assert replace(found, rule=replace(TIME, margin=0.0)).open == Reason("none_decide", most=1000, what="processes")
    assert estimated(effect, Rule("loss", 0.0), "interleaved").open == Reason("no_seeds_decide", most=1000)
    within = effects.over_rounds([0.03, -0.03] * 4)
    assert estimated(within, TIME, "within").open == Reason("more_rounds")
    assert replace(estimated(within, TIME, "within"), by_cpu=True).open is None
    few = effects.over_rounds([0.03, -0.03])
    assert estimated(few, TIME, "within").open == few.reason
    assert estimated(Effect(0.01), TIME, "interleaved").open == Reason("single_process")
    assert estimated(over_processes([0.5, 0.51, 0.52]), TIME, "interleaved").open is None


# --- limits


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
        assert (found.word == FAIL) == (present(found.p) <= 0.05)


def test_a_limit_is_held_by_a_one_sided_test_and_what_touches_it_does_not_pass() -> None:
    values = [-0.031, -0.024, -0.035, -0.027]
    effect = over_processes(values)
    held = limited([estimated(effect, TIME, "interleaved")] * 2, [MARGIN] * 2)
    p = effects.t_below(effect.value + EDGE, present(effect.error), 3)
    assert [each.p for each in held] == pytest.approx([2 * p] * 2)  # the larger of two equal ones, by Holm
    assert [each.edges for each in held] == [(EDGE, EDGE)] * 2
    for low90, word in ((-EDGE, INCONCLUSIVE), (-EDGE + 1e-9, PASS)):
        (one,) = limited([estimated(replace(effect, low90=low90, error=1.0), TIME, "interleaved")], [MARGIN])
        assert one.word == word
    nothing = Effect(0.01, 0.0, 0.02, p=0.1)
    assert limited([estimated(nothing, TIME, "interleaved")], [MARGIN])[0].reason == Reason("no_interval")
    assert limited([estimated(Effect(0.01), LOSS, "interleaved")], [MARGIN])[0].reason == Reason("no_interval")


def test_a_count_is_held_to_a_limit_exactly() -> None:
    """1 % more than 100 is 101, whatever rounding makes of it."""
    found = [counted(100, new, COUNT) for new in (99, 101, 102)]
    held = limited(found, [Fraction(1, 100)] * 3)
    assert [(each.contrast, each.word) for each in held] == [*zip(found, (PASS, PASS, FAIL), strict=True)]


# --- the clock that decides


def near(percent: float, spread: float = 0.2) -> Effect:
    """An effect of so many percent over five processes that differ by `spread` percent."""
    return over_processes([(percent + spread * step) / 100 for step in (-1, -0.5, 0, 0.5, 1)])


SLOWER, FASTER, EQUAL, UNKNOWN = near(-4), near(4), near(0), near(0, 20)
# Gaps between the clocks: none, shown and too small to matter, shown and inside half the margin, not shown but wide, large.
NONE, TINY, SHOWN, WIDE, LARGE = near(0, 0.1), near(0.1, 0.02), near(0.5, 0.1), near(0, 3), near(-4)
WAITS = Reason("waits", share=0.5)
BY_CPU, BEYOND, NOISY, UNSEEN = "by CPU time", "beyond its margin", "noisy", "unseen"


def judged(wall: Effect, gap: Effect | None, cpu: Effect | None, seen: Seen, rule: Rule = TIME) -> Contrast:
    """The only contrast of its family."""
    clocks = Estimates(wall), None if cpu is None else Estimates(cpu)
    (found,) = together([Contrast("interleaved", rule, seen, *clocks, gap)])
    return found


def reason_of(why: str, gap: Effect | None, cpu: Effect | None, seen: Seen) -> Reason | None:
    """Why it is not wall time that decides."""
    differ = None if gap is None else Reason("clocks_differ", gap=gap.ratio)
    by_cpu = Reason("by_cpu", why=differ) if differ else None
    against = Reason("cpu_does_not_count", why=seen.unfit or Reason("cpu_not_recorded"))
    return {
        "": None,
        BY_CPU: by_cpu,
        BEYOND: both(
            by_cpu, Reason("cpu_undecided_beyond", ratio=(cpu or EQUAL).ratio, least=present(seen.least or 0.0))
        ),
        NOISY: both(Reason("noisy", share=seen.noisy), against),
        UNSEEN: both(differ, against),
    }[why]


KNOWS, FEW = Seen(0.9, unfit=None), Seen(0.9, unfit=None, least=0.05)


@pytest.mark.parametrize(
    ("wall", "gap", "cpu", "seen", "word", "why"),
    [
        (SLOWER, NONE, SLOWER, KNOWS, WORSE, ""),  # the clocks agree, whatever else happened
        (SLOWER, NONE, UNKNOWN, KNOWS, WORSE, ""),
        (UNKNOWN, NONE, SLOWER, KNOWS, INCONCLUSIVE, ""),
        (SLOWER, TINY, SLOWER, KNOWS, WORSE, ""),
        (SLOWER, SHOWN, EQUAL, KNOWS, EQUIVALENT, BY_CPU),
        (SLOWER, WIDE, EQUAL, KNOWS, EQUIVALENT, BY_CPU),
        (SLOWER, LARGE, EQUAL, Seen(0.1, unfit=None), EQUIVALENT, BY_CPU),
        (SLOWER, LARGE, FASTER, KNOWS, BETTER, BY_CPU),
        (UNKNOWN, LARGE, SLOWER, KNOWS, WORSE, BY_CPU),
        (SLOWER, LARGE, UNKNOWN, KNOWS, INCONCLUSIVE, BY_CPU),
        (SLOWER, LARGE, near(-2, 1), KNOWS, WORSE_OPEN, BY_CPU),
        (near(-2, 1), LARGE, UNKNOWN, KNOWS, INCONCLUSIVE, BY_CPU),  # that wall time is worse is not kept
        # Whether CPU time stands for the work is not known: nothing else could decide, so half the margin is enough.
        (SLOWER, NONE, EQUAL, Seen(0.9), WORSE, ""),
        (SLOWER, SHOWN, EQUAL, Seen(0.9), WORSE, ""),
        (SLOWER, LARGE, EQUAL, Seen(0.0), INCONCLUSIVE, UNSEEN),  # something moved wall time, and nobody knows what
        # It does not: the variant waits of itself, that is its time; but most of the blocks decide.
        (SLOWER, LARGE, EQUAL, Seen(0.4, WAITS), WORSE, ""),
        (near(-2, 1), LARGE, EQUAL, Seen(0.4, WAITS), WORSE_OPEN, ""),
        (EQUAL, LARGE, EQUAL, Seen(0.4, WAITS), EQUIVALENT, ""),
        (SLOWER, LARGE, EQUAL, Seen(noise.MOST, WAITS), WORSE, ""),
        (SLOWER, LARGE, EQUAL, Seen(0.6, WAITS), INCONCLUSIVE, NOISY),
        (SLOWER, NONE, EQUAL, Seen(0.6, WAITS), WORSE, ""),
        (SLOWER, None, None, Seen(0.4, SEVERAL_THREADS), WORSE, ""),
        (SLOWER, None, None, Seen(0.6, SEVERAL_THREADS), INCONCLUSIVE, NOISY),
        (SLOWER, None, None, Seen(0.6, None), INCONCLUSIVE, NOISY),
        # One process is judged by CPU time beyond a margin of its own, by wall time at the user's.
        (SLOWER, NONE, near(-3), FEW, WORSE, ""),
        (SLOWER, SHOWN, near(-3), FEW, WORSE, ""),
        (SLOWER, SHOWN, EQUAL, replace(FEW, least=MARGIN), EQUIVALENT, BY_CPU),
        (EQUAL, NONE, UNKNOWN, FEW, EQUIVALENT, ""),
        (SLOWER, LARGE, UNKNOWN, FEW, INCONCLUSIVE, BEYOND),
        (SLOWER, LARGE, EQUAL, FEW, INCONCLUSIVE, BEYOND),  # beyond 5 %, nothing is equivalent
        (SLOWER, LARGE, near(-4), FEW, INCONCLUSIVE, BEYOND),
        (SLOWER, LARGE, near(-8), FEW, WORSE, BY_CPU),
        (SLOWER, LARGE, near(-8), replace(FEW, least=0.01), WORSE, BY_CPU),  # never a smaller one
    ],
)
def test_wall_time_decides_where_cpu_time_agrees_with_it(
    wall: Effect, gap: Effect | None, cpu: Effect | None, seen: Seen, word: str, why: str
) -> None:
    for turned in (False, True):
        own, apart, other = (each.mirrored() if turned and each else each for each in (wall, gap, cpu))
        found = judged(present(own), apart, other, seen)
        assert found.verdict == (MIRRORED.get(word, word) if turned else word)
        assert (found.by_cpu, found.noisy) == (why in {BY_CPU, BEYOND}, why in {NOISY, UNSEEN})
        assert found.reason == reason_of(why, apart, other, seen)
        assert found.p_adjusted == present(other if found.by_cpu else own).p
        assert found.labels == [Label.BY_CPU] * found.by_cpu + [Label.NOISY] * found.noisy
        assert found.open is None or word == INCONCLUSIVE


@pytest.mark.parametrize(
    ("seen", "cpu", "why"),
    [
        (KNOWS, SLOWER, None),
        (KNOWS, None, Reason("cpu_not_recorded")),
        (Seen(), SLOWER, NOT_RECORDED),
        (Seen(unfit=SEVERAL_THREADS), None, SEVERAL_THREADS),
    ],
)
def test_where_cpu_time_is_asked_for_no_other_clock_decides(seen: Seen, cpu: Effect | None, why: Reason | None) -> None:
    found = judged(FASTER, None if cpu is None else NONE, cpu, seen, replace(TIME, by_cpu=True))
    assert (found.verdict, found.by_cpu, found.noisy) == (INCONCLUSIVE if why else WORSE, not why, why is not None)
    assert found.reason == (why and Reason("cpu_does_not_count", why=why))


@pytest.mark.parametrize(
    ("low", "high", "at_zero", "agree"),
    [
        (-0.1, 0.49, True, True),
        (-0.49, 0.1, True, True),
        (-0.1, 0.5, True, False),  # at half the margin
        (0.2, 0.4, True, False),  # a gap that is shown
        (0.2, 0.4, False, True),
        (0.01, 0.09, True, True),  # shown, and inside a tenth
        (0.01, 0.1, True, False),
        (None, 0.1, False, False),
        (-0.1, None, False, False),
    ],
)
def test_clocks_agree_within_half_the_margin(low: float | None, high: float | None, at_zero: bool, agree: bool) -> None:
    """The ends of the gap's interval, as shares of the margin."""
    gap = Effect(0.0, None if low is None else 4 * low, None if high is None else 4 * high)
    assert verdicts._agree(gap, 4.0, at_zero=at_zero) is agree


EVERY, ALL_BUT_ONE = range(6), range(1, 6)


@pytest.mark.parametrize(
    ("rule", "base", "new", "unfit", "wanted"),
    [
        (TIME, EVERY, EVERY, None, None),
        (TIME, None, EVERY, None, SEVERAL_THREADS),
        (TIME, EVERY, None, NOT_RECORDED, SEVERAL_THREADS),
        (TIME, None, None, WAITS, WAITS),
        (TIME, ALL_BUT_ONE, EVERY, None, NOT_TICKED),
        (TIME, EVERY, ALL_BUT_ONE, None, NOT_TICKED),
        (TIME, ALL_BUT_ONE, ALL_BUT_ONE, WAITS, NOT_TICKED),
        (LOSS, EVERY, EVERY, None, None),
        (LOSS, None, None, NOT_RECORDED, NOT_RECORDED),
    ],
)
def test_cpu_time_counts_where_both_sides_have_it_in_every_process_that_is_compared(
    rule: Rule, base: range | None, new: range | None, unfit: Reason | None, wanted: Reason | None
) -> None:
    made = sides("interleaved", planted(3, 6))
    with_cpu = [
        side._replace(cpu=ByClock({key: present(side.cpu).own[key] for key in known}) if known else None)
        for side, known in zip(made, (base, new), strict=True)
    ]
    more = ByClock({**made[0].wall.own, 9: 0.0})  # of a process in which the other side was not
    found = contrast(with_cpu[0]._replace(wall=more), with_cpu[1], "interleaved", rule, Seen(0.2, unfit))
    assert (found.seen, found.how, found.rule) == (Seen(0.2, wanted), "interleaved", rule)
    assert (found.cpu is None) == (found.gap is None) == (rule is LOSS or wanted is not None)
    assert found.wall.effect == reference("interleaved", made[0].wall.own, made[1].wall.own, rule)
