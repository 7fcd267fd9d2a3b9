"""Statistics against closed forms, published tables and simulation."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from present import present
from scipy import stats as scipy_stats

from modbench.harness.call.timing.interleave import deal
from modbench.harness.stats import paired
from modbench.harness.stats.against_baseline import Process
from modbench.harness.stats.contrast import Rule, counted, verdict
from modbench.harness.stats.effects import (
    Effect,
    InputSpread,
    adjusted,
    by_chance,
    input_spread,
    median_interval,
    over_processes,
    share_interval,
)
from modbench.harness.stats.noise import Columns
from modbench.harness.stats.paired import ProcessSamples
from modbench.harness.stats.reason import Reason

MARGIN = 0.02
TIME = Rule(margin=MARGIN)


def test_t_interval_of_three_processes_by_hand() -> None:
    """Values 1, 2, 3: mean 2, s = 1, t(0.975, 2) = 4.302653 and t(0.8, 2) = 1.060660 from tables."""
    effect = over_processes([1.0, 2.0, 3.0])
    assert effect.value == 2
    assert effect.high == pytest.approx(2 + 4.302653 / math.sqrt(3), rel=1e-6)
    assert effect.low == pytest.approx(2 - 4.302653 / math.sqrt(3), rel=1e-6)
    assert effect.high90 == pytest.approx(2 + 2.919986 / math.sqrt(3), rel=1e-6)
    assert effect.detectable == pytest.approx((4.302653 + 1.060660) / math.sqrt(3), rel=1e-5)


def test_two_processes_give_no_interval_and_say_why() -> None:
    effect = over_processes([0.1, 0.2])
    assert (effect.low, effect.high, effect.detectable) == (None, None, None)
    assert effect.reason == Reason("few_values", n=2)


def test_one_process_is_labelled_within_process_only() -> None:
    effect = over_processes([0.5], within=[0.1 * i for i in range(12)])
    assert effect.low == pytest.approx(0.2)  # third of twelve: the binomial interval of the median
    assert effect.high == pytest.approx(0.9)
    assert effect.reason == Reason("one_process")
    assert over_processes([0.5], within=[0.1, 0.2, 0.3]).reason == Reason("few_blocks", n=3)


@pytest.mark.parametrize("n", [6, 9, 12, 20, 33])
def test_median_interval_holds_its_level_by_the_binomial(n: int) -> None:
    """P(interval holds the median) is a binomial sum: at least 95 %, and not without need."""
    interval = present(median_interval(list(range(n))))
    rank = int(interval[0]) + 1
    assert 1 - 2 * scipy_stats.binom.cdf(rank - 1, n, 0.5) >= 0.95
    assert 1 - 2 * scipy_stats.binom.cdf(rank, n, 0.5) < 0.95


def test_block_difference_cancels_linear_drift() -> None:
    """A machine that slows by 1 % a visit: variant and anchor, there and back, still differ by exactly their factor."""
    order = ["anchor", "variant", "variant", "anchor"]
    drift = [1.01**i for i in range(4)]
    samples: dict[str, dict[str, list[float]]] = {n: {"block": [], "wall_s": []} for n in ("anchor", "variant")}
    for name, factor in zip(order, drift, strict=True):
        samples[name]["block"].append(0)
        samples[name]["wall_s"].append(factor * (1.3 if name == "variant" else 1.0))
    (d,) = Process(samples, "anchor").of_blocks("variant")
    assert d == pytest.approx(math.log(1.3))


def test_only_shared_blocks_are_paired() -> None:
    anchor: dict[str, list[float]] = {"block": [0, 0, 1, 1], "wall_s": [1.0, 1.0, 2.0, 2.0]}
    variant: dict[str, list[float]] = {"block": [1, 1], "wall_s": [4.0, 4.0]}
    assert Process({"variant": variant, "anchor": anchor}, "anchor").of_blocks("variant").tolist() == [
        pytest.approx(math.log(2))
    ]


@pytest.mark.parametrize(
    ("low", "high", "low90", "high90", "word"),
    [
        (0.03, 0.05, 0.031, 0.049, "better"),
        (-0.05, -0.03, -0.049, -0.031, "worse"),
        (-0.01, 0.012, -0.008, 0.01, "equivalent"),
        (0.005, 0.015, 0.006, 0.014, "equivalent"),
        (0.01, 0.05, 0.012, 0.048, "better_open"),
        (-0.05, -0.01, -0.048, -0.012, "worse_open"),
        (-0.01, 0.05, -0.005, 0.045, "inconclusive"),
    ],
)
def test_verdicts(low: float, high: float, low90: float, high90: float, word: str) -> None:
    assert verdict(Effect((low + high) / 2, low, high, low90, high90, p=0.5), TIME, None) == word


def test_no_interval_is_no_verdict() -> None:
    assert verdict(Effect(0.5), TIME, None) == "inconclusive"


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=12))
def test_swapping_the_variants_mirrors_effect_and_verdict(values: list[float]) -> None:
    """better and worse are symmetric on the log scale."""
    here, there = over_processes(values), over_processes([-v for v in values])
    assert here.value == pytest.approx(-there.value, abs=1e-12)
    swap = {"better": "worse", "worse": "better"}
    word = verdict(here, TIME, None)
    assert verdict(there, TIME, None) == swap.get(word, word)


@pytest.mark.parametrize(
    ("ratio", "word"), [(1.03, "better"), (1.01, "equivalent"), (0.99, "equivalent"), (0.9, "worse")]
)
def test_exact_verdicts(ratio: float, word: str) -> None:
    assert counted(ratio, 1.0, Rule("count", MARGIN)).verdict == word


# Variants and what a call of each takes, in s.
TAKES = {"anchor": 0.010, **{f"variant{i}": 0.010 * 1.1**i for i in range(1, 7)}}


def process_of(
    takes: dict[str, float], rounds: int, rng: random.Random, *, noise: float = 0.0
) -> dict[str, dict[str, list[float]]]:
    """Samples of blocks as the harness deals them, on a machine that slows down all the while."""
    samples: dict[str, dict[str, list[float]]] = {
        variant: {name: [] for name in ("round", "block", "calls", "wall_s", "cpu_s")} for variant in takes
    }
    speed, block = 1.0, 0
    for round_ in range(rounds):
        for order in deal(list(takes), "anchor", rng):
            for variant in order:
                speed *= 1.002
                wall = takes[variant] * speed * math.exp(rng.gauss(0, noise))
                row = {"round": round_, "block": block, "calls": 1, "wall_s": wall, "cpu_s": wall}
                for name, value in row.items():
                    samples[variant][name].append(value)
            block += 1
    return samples


@given(st.integers(0, 999), st.permutations(list(TAKES)))
def test_any_two_variants_are_a_pair_through_their_anchor(seed: int, variants: list[str]) -> None:
    """Seven variants never stand in one block; any two come out at their factor, whichever blocks they shared."""
    samples = process_of(TAKES, 3, random.Random(seed))
    first, second = variants[:2]
    case, baseline = (None if variant == "anchor" else samples[variant] for variant in (first, second))
    made = [ProcessSamples(case, baseline, samples["anchor"], {"block": [], "wall_s": []})]
    found = paired.numbers(made, one_thread=True).contrast(TIME).effect
    # Drift of a whole block remains where two variants stood in different ones, but for its linear part.
    assert found.value == pytest.approx(math.log(TAKES[second] / TAKES[first]), abs=1e-9)
    assert found.reason == Reason("few_blocks", n=3)


def test_variants_that_share_nothing_are_no_pair() -> None:
    samples = process_of(TAKES, 1, random.Random(0))
    elsewhere = {**samples["variant1"], "block": [99.0, 99.0]}
    assert not Process(samples | {"variant1": elsewhere}, "anchor").shares("variant1")


def together(rng: random.Random, factor: float, rounds: int = 6, noise: float = 0.01) -> ProcessSamples:
    samples = process_of({"anchor": 0.01, "variant": 0.01 * factor}, rounds, rng, noise=noise)
    return ProcessSamples(samples["variant"], None, samples["anchor"], {"block": [], "wall_s": []})


@pytest.mark.slow
@pytest.mark.parametrize("processes", [3, *(pytest.param(processes, marks=pytest.mark.proof) for processes in (5, 10))])
def test_coverage_from_samples_on(processes: int) -> None:
    """Drift, noise and process effects planted in raw samples: the interval of the whole path holds the truth 95 times of 100."""
    rng = random.Random(processes)
    held, repeats = 0, 600
    for _ in range(repeats):
        made = [together(rng, 1.2 * math.exp(rng.gauss(0, 0.013))) for _ in range(processes)]
        effect = paired.numbers(made, one_thread=True).contrast(TIME).effect
        held += present(effect.low) <= -math.log(1.2) <= present(effect.high)
    assert 0.93 <= held / repeats <= 0.97


def test_more_samples_of_the_same_processes_do_not_narrow_the_interval() -> None:
    """The process is the unit of evidence: ten times the rounds leave what processes differ by."""

    def width(rounds: int) -> float:
        rng = random.Random(5)
        factors = [1.0, 1.03, 0.98]
        made = [together(rng, factor, rounds, noise=0.001) for factor in factors]
        effect = paired.numbers(made, one_thread=True).contrast(TIME).effect
        return present(effect.high) - present(effect.low)

    assert width(60) == pytest.approx(width(6), rel=0.1)


@pytest.mark.parametrize(("processes", "sd"), [(5, 0.012), (10, 0.012), (10, 0.006)])
def test_planted_three_percent_is_found_where_the_printed_detectable_says_so(processes: int, sd: float) -> None:
    """3 % more work: told from none in 80 % where detectable effect <= 3 %, called worse in 80 % where detectable effect <= 1
    % (margin 2 %).
    """
    rng = np.random.default_rng(processes)
    told, called, small, tiny = 0, 0, 0, 0
    for _ in range(1500):
        effect = over_processes([float(x) for x in rng.normal(-math.log(1.03), sd, processes)])
        assert effect.detectable is not None
        if effect.detectable <= 0.03:
            small += 1
            told += present(effect.high) < 0
        if effect.detectable <= 0.01:
            tiny += 1
            called += verdict(effect, TIME, None) == "worse"
    assert small > 300
    assert told / small >= 0.8
    if sd <= 0.006:
        assert tiny > 300
        assert called / tiny >= 0.8


@pytest.mark.slow
def test_the_printed_detectable_is_what_80_percent_of_repetitions_find() -> None:
    """A true effect of exactly the (true) detectable effect is detected in 80 % of the repetitions, no more and no less."""
    rng = np.random.default_rng(0)
    processes, sd = 5, 0.013
    true_detectable = (scipy_stats.t.ppf(0.975, 4) + scipy_stats.t.ppf(0.8, 4)) * sd / math.sqrt(processes)
    told = 0
    for _ in range(4000):
        effect = over_processes([float(x) for x in rng.normal(true_detectable, sd, processes)])
        told += present(effect.low) > 0
    assert told / 4000 == pytest.approx(0.8, abs=0.03)


def test_holm_by_hand() -> None:
    """Four p-values 0.01, 0.02, 0.03, 0.5: adjusted 0.04, 0.06, 0.06, 0.5 (times what is left, made monotone from below)."""
    found = adjusted({3: 0.01, 1: 0.02, 2: 0.03, 0: 0.5})
    assert found == {3: pytest.approx(0.04), 1: pytest.approx(0.06), 2: pytest.approx(0.06), 0: pytest.approx(0.5)}
    assert adjusted({0: 0.6, 1: 0.7}) == {0: 1.0, 1: 1.0}
    assert adjusted({}) == {}


@pytest.mark.parametrize("families", [1, 2, 4, 6, 7, 16, 40])
def test_what_chance_gives_is_a_quantile_of_the_binomial_distribution(families: int) -> None:
    assert by_chance(families) == scipy_stats.binom.ppf(0.99, families, 0.025)


def test_chance_gives_nothing_where_nothing_was_judged() -> None:
    assert by_chance(0) == 0


def test_a_finding_that_the_list_does_not_let_stand_is_inconclusive() -> None:
    effect = Effect(0.05, 0.03, 0.07, 0.033, 0.067, sd=0.01, p=0.01, n=3)
    assert verdict(effect, TIME, 0.04) == "better"
    assert verdict(effect, TIME, 0.06) == "inconclusive"
    loss, rule = Effect(-0.05, -0.07, -0.03, p=0.01), Rule("loss", 0.0)
    assert (verdict(loss, rule, 0.04), verdict(loss, rule, 0.06)) == ("better", "inconclusive")
    # Equivalence is no finding of a difference: it does not depend on the list.
    assert verdict(Effect(0.0, -0.01, 0.01, -0.008, 0.008, p=0.9), TIME, 1.0) == "equivalent"


def test_noisy_samples_are_kept_and_seen_through() -> None:
    """A variant waits for the processor in half of its blocks: wall time sees a difference, undisturbed samples none."""
    made = []
    for process in range(3):
        samples = process_of({"anchor": 0.01, "variant": 0.01}, 12, random.Random(process))
        for columns in samples.values():
            columns["wait_s"] = [0.0] * len(columns["wall_s"])
        variant = samples["variant"]
        for i, block in enumerate(variant["block"]):
            if block % 10 < 4:
                variant["wait_s"][i] = variant["wall_s"][i]
                variant["wall_s"][i] *= 6.0
        made.append(ProcessSamples(samples["variant"], None, samples["anchor"], {"block": [], "wall_s": []}))
    numbers = paired.numbers(made, one_thread=True)
    found = numbers.contrast(TIME)
    assert found.seen.noisy == pytest.approx(0.5)  # blocks 0 to 3, 10 and 11 of 12
    assert present(found.cpu).effect.value == pytest.approx(0.0, abs=1e-9)
    assert present(found.gap).value == pytest.approx(found.effect.value, abs=1e-9)
    assert found.effect.value < -0.5
    # Whether it waited of itself was not recorded.
    assert (found.verdict, found.noisy) == ("inconclusive", True)
    known = numbers._replace(seen=replace(numbers.seen, unfit=None)).contrast(TIME)
    assert (known.verdict, known.by_cpu) == ("equivalent", True)


def test_a_time_turned_into_a_rate_keeps_its_evidence() -> None:
    effect = over_processes([0.1, 0.2, 0.4])
    rate = effect.mirrored().shifted(math.log(512))
    assert rate.value == pytest.approx(math.log(512) - effect.value)
    assert rate.high == pytest.approx(math.log(512) - present(effect.low))
    assert rate.detectable == effect.detectable
    back = rate.shifted(-math.log(512)).mirrored()
    assert back.value == pytest.approx(effect.value)
    assert back.p == pytest.approx(effect.p)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"), [(4, 100, 0.011, 0.099), (0, 20, 0.0, 0.168), (2, 20, 0.012, 0.317)]
)
def test_share_intervals_are_clopper_and_pearsons(hits: int, n: int, low: float, high: float) -> None:
    """Ends from the published tables of the exact binomial interval."""
    assert share_interval(hits, n) == pytest.approx((low, high), abs=5e-4)


def spread_of(processes: Sequence[tuple[Columns, Columns]]) -> InputSpread | None:
    """The spread between inputs of a variant beside its anchor."""
    made = [Process({"variant": variant, "anchor": anchor}, "anchor") for variant, anchor in processes]
    return input_spread([(each.of_blocks("variant"), each.inputs("variant")) for each in made])


def test_two_rounds_of_many_processes_are_not_called_input_dependent() -> None:
    """Centred, two blocks of a process are mirror images: taken for independent, a quarter of all cells would look dependent."""
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(400):
        processes = []
        for _ in range(8):
            anchor = {"block": [0.0, 1.0], "input": [0.0, 1.0], "wall_s": [0.01] * 2}
            variant = anchor | {"wall_s": [float(0.02 * math.exp(x)) for x in rng.normal(0, 0.02, 2)]}
            processes.append((variant, anchor))
        found = present(spread_of(processes))
        called += found.p < 0.05
    assert called / 400 == pytest.approx(0.05, abs=0.025)


@pytest.mark.parametrize("planted", [0.0, 0.03, 0.1])
def test_the_spread_between_inputs_is_recovered(planted: float) -> None:
    """Each of 16 inputs has its own cost: the spread comes back with the noise taken out; without one there is none."""
    rng = np.random.default_rng(3)
    cost = rng.normal(0, planted, 16)
    processes = []
    for _ in range(4):
        n = 64
        noise = rng.normal(0, 0.02, n)
        inputs = [float(i % 16) for i in range(n)]
        anchor = {"block": [float(i) for i in range(n)], "input": inputs, "wall_s": [0.01] * n}
        variant = {**anchor, "wall_s": [float(0.02 * math.exp(cost[i % 16] + noise[i])) for i in range(n)]}
        processes.append((variant, anchor))
    found = present(spread_of(processes))
    assert found.inputs == 16
    if planted:
        assert found.p < 1e-4
        assert found.sd == pytest.approx(float(np.std(cost, ddof=1)), rel=0.15)
    else:
        assert found.p > 0.01
        assert found.sd < 0.005
    one = {"input": [0.0] * 64}
    assert (
        spread_of([(variant | one, anchor | one) for variant, anchor in processes]) is None
    )  # one input has no spread
