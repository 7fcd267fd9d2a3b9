"""What a process says of its variants, against a slow and plain computation of the same; and what pairs of them are made of."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from statistics import fmean, median, variance

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from present import present

from modbench.harness.call.timing.interleave import deal
from modbench.harness.core.contracts import Estimand
from modbench.harness.stats import paired
from modbench.harness.stats.against_baseline import Process, Waits, waits
from modbench.harness.stats.paired import ProcessSamples
from modbench.harness.stats.reason import Reason
from modbench.harness.stats.verdicts import NOT_RECORDED, SEVERAL_THREADS, Contrast, Rule

MARGIN = 0.02
TIME = Rule(margin=MARGIN)
Samples = dict[str, list[float]]
# A variant's samples in a block: its input, times, and which of them were disturbed.
Cell = tuple[int, list[float], list[bool]]


def planted(seed: int, *, inputs: bool, quiet: bool) -> dict[str, Samples]:
    """A baseline and three variants, of which none need share a block with it, and of which some samples waited."""
    rng, found = random.Random(seed), dict[str, Samples]()
    for name in ("baseline", "a", "b", "c"):
        blocks = sorted(rng.sample(range(12), rng.randrange(1, 9)))
        rows = [
            (float(block), float(block // 2), float(block % 3)) for block in blocks for _ in range(rng.randrange(1, 4))
        ]
        n, calls = len(rows), float(rng.randrange(1, 5))
        walls = [math.exp(rng.gauss(0, 0.5)) for _ in range(n)]
        loud = 0.0 if quiet else rng.choice([0, 0.2, 0.6])
        found[name] = {
            **dict(zip(("block", "round", "input"), map(list, zip(*rows, strict=True)), strict=True)),
            "wall_s": walls,
            "cpu_s": [wall / 2 for wall in walls],
            "calls": [calls] * n,
            "wait_s": [0.5 * wall * calls * (rng.random() < loud) for wall in walls],
        }
        if not inputs:
            del found[name]["input"]
    return found


def cells_of(samples: Mapping[str, Samples], column: str) -> dict[str, dict[float, Cell]]:
    """The cells of each variant, by block."""
    found: dict[str, dict[float, Cell]] = {name: {} for name in samples}
    for name, each in samples.items():
        inputs = map(int, each.get("input", [0] * len(each["block"])))
        for block, at, value, wait in zip(each["block"], inputs, each[column], each["wait_s"], strict=True):
            _, values, bad = found[name].setdefault(block, (at, [], []))
            values.append(value)
            bad.append(wait > 0)
    return found


def log_mean(cells: Iterable[Cell], *, clean: bool) -> float:
    """Log of the mean over inputs of the mean of their samples, without the bias of its noise."""
    kept = [(at, [x for x, loud in zip(values, bad, strict=True) if not (clean and loud)]) for at, values, bad in cells]
    kept = [(at, values) for at, values in kept if values]
    visits = {at: sum(len(values) for other, values in kept if other == at) for at, _ in kept}
    weight = {at: 1 / (len(visits) * n) for at, n in visits.items()}
    mean = sum(weight[at] * sum(values) for at, values in kept)
    noise = sum(variance(values) * len(values) * weight[at] ** 2 for at, values in kept if len(values) > 1)
    return math.log(mean) + noise / mean**2 / 2


def reference(samples: Mapping[str, Samples], column: str, name: str, *, inputs: bool) -> dict[str, float]:
    """What a variant's process says of it by one clock."""
    cells = cells_of(samples, column)
    mine, base = cells[name], cells["baseline"]

    def visited(blocks: Iterable[float]) -> set[float]:
        return {mine[block][0] if inputs else block for block in blocks}

    def some(cell: Cell) -> bool:
        return not all(cell[2])

    shared = [block for block in mine if block in base]
    if name == "baseline" or not shared:
        clean = [block for block in mine if some(mine[block])]
        own = log_mean(mine.values(), clean=visited(clean) == visited(mine))
        typical = median(math.log(x) for _, values, _ in mine.values() for x in values)
        return {"typical": typical, "mean": own} | ({"medians": 0.0, "means": 0.0} if name == "baseline" else {})
    d = [fmean(map(math.log, mine[block][1])) - fmean(map(math.log, base[block][1])) for block in shared]
    clean = [block for block in shared if some(mine[block]) and some(base[block])]
    used = bool(clean) and (visited(clean) == visited(mine) or not any(any(bad) for _, _, bad in mine.values()))
    those = clean if used else shared
    # Each side at the inputs that it met there.
    means = log_mean([mine[block] for block in those], clean=used) - log_mean(
        [base[block] for block in those], clean=used
    )
    anchor = reference(samples, column, "baseline", inputs=inputs)
    mean, typical = anchor["mean"] + means, anchor["typical"] + median(d)
    return {"medians": median(d), "means": means, "typical": typical, "mean": mean}


@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_numbers_of_a_process_are_those_of_a_plain_computation(seed: int, inputs: bool, quiet: bool) -> None:
    samples = planted(seed, inputs=inputs, quiet=quiet)
    process, walls = Process(samples, "baseline"), cells_of(samples, "wall_s")
    for name, at in process.number.items():
        for column in ("wall_s", "cpu_s"):
            wanted = reference(samples, column, name, inputs=inputs)
            found = {key: getattr(process.by(column), key).item(at) for key in wanted}
            assert found == pytest.approx(wanted, abs=1e-9), (name, column)
        shared = sorted(block for block in walls[name] if block in walls["baseline"]) if name != "baseline" else []
        assert process.shares(name) == (bool(shared) or name == "baseline")
        base, own = ([fmean(map(math.log, walls[side][block][1])) for block in shared] for side in ("baseline", name))
        assert process.of_blocks(name).tolist() == pytest.approx(np.subtract(own, base))
        logs = [fmean(map(math.log, walls[name][block][1])) for block in sorted(walls[name])]
        assert process.logs(name).tolist() == pytest.approx(logs)
        assert process.rounds(name, "wall_s").keys() == {block // 2 for block in shared}
        if inputs:
            assert process.inputs(name).tolist() == [block % 3 for block in shared]
        bad = {block: any(cell[2]) for block, cell in walls[name].items()}
        assert process.noisy[name] == pytest.approx(fmean(bad.values()))
        if name != "baseline":
            with_base = [bad[block] or any(walls["baseline"].get(block, (0, [], []))[2]) for block in sorted(bad)]
            assert [*process.bad_blocks[name].values()] == with_base
    assert process.quiet == (not any(any(each["wait_s"]) for each in samples.values()))


@given(st.integers(0, 10**6))
def test_a_pair_has_the_numbers_of_its_processes(seed: int) -> None:
    """Against the baseline of its blocks, by medians or means, in processes where both sides share blocks with it."""
    processes = {i: Process(planted(seed + i, inputs=True, quiet=False), "baseline") for i in range(4)}
    for case, other in (("a", "b"), ("a", "baseline"), ("baseline", "c")):
        both = {i: each for i, each in processes.items() if each.shares(case) and each.shares(other)}
        estimands: tuple[Estimand, ...] = ("median", "mean")
        for estimand in estimands:
            found = paired.between(processes, case, other, one_thread=True, estimand=estimand)
            for side, name in ((found.new, case), (found.base, other)):
                for clock, column in ((side.wall, "wall_s"), (present(side.cpu), "cpu_s")):
                    medians, means = (
                        {i: getattr(each.by(column), key).item(each.number[name]) for i, each in both.items()}
                        for key in ("medians", "means")
                    )
                    assert (clock.own, clock.other) == ((medians, means) if estimand == "median" else (means, medians))
                    assert clock.rounds == {}
            assert found.effects() == [found.base.wall.own[i] - found.new.wall.own[i] for i in both]
            assert found.effects(by_cpu=True) == pytest.approx(found.effects())
        seen: dict[tuple[int, int], bool] = {}
        for i, each in processes.items():
            for block, loud in chain(*(each.bad_blocks.get(name, {}).items() for name in (case, other))):
                seen[i, block] = seen.get((i, block), False) or loud
        assert found.seen.noisy == pytest.approx(fmean(seen.values()) if seen else 0.0)
        plain = paired.between(processes, case, other, one_thread=False, averaged=False, column="cpu_s")
        assert (plain.base.cpu, plain.new.cpu, plain.new.wall.other) == (None, None, {})
        assert plain.seen.unfit == SEVERAL_THREADS
        assert plain.new.wall.own == paired.between(processes, case, other, one_thread=True).new.cpu.own  # type: ignore[union-attr]
        moved = found.shifted(0.5)
        assert moved.effects() == pytest.approx([each + 0.5 for each in found.effects()])
        assert moved.effects(by_cpu=True) == pytest.approx([each + 0.5 for each in found.effects(by_cpu=True)])
        assert (moved.new.wall.other, moved.seen) == ({}, found.seen)


# Variants and what a call of each takes, in s.
TAKES = {"anchor": 0.010, **{f"variant{i}": 0.010 * 1.1**i for i in range(1, 7)}}


def process_of(takes: Mapping[str, float], rounds: int, rng: random.Random, noise: float = 0.0) -> dict[str, Samples]:
    """Samples of blocks as the harness deals them, on a machine that slows down all the while."""
    names = ("round", "block", "calls", "wall_s", "cpu_s", "others_s", "blocked_s")
    samples: dict[str, Samples] = {variant: {name: [] for name in names} for variant in takes}
    speed, block = 1.0, 0
    for round_ in range(rounds):
        for order in deal(list(takes), "anchor", rng):
            for variant in order:
                speed *= 1.002
                wall = takes[variant] * speed * math.exp(rng.gauss(0, noise))
                for name, value in zip(names, (round_, block, 1, wall, wall, 0.0, 0.0), strict=True):
                    samples[variant][name].append(value)
            block += 1
    return samples


@given(st.integers(0, 999), st.permutations(list(TAKES)))
def test_any_two_variants_are_a_pair_through_their_anchor(seed: int, variants: list[str]) -> None:
    """Seven variants never stand in one block; any two come out at their factor, whichever blocks they shared: drift cancels."""
    samples = process_of(TAKES, 3, random.Random(seed))
    first, second = variants[:2]
    case, baseline = (None if variant == "anchor" else samples[variant] for variant in (first, second))
    numbers = paired.numbers([ProcessSamples(case, baseline, samples["anchor"], {})], one_thread=True)
    found = numbers.contrast(TIME)
    assert found.effect.value == pytest.approx(math.log(TAKES[second] / TAKES[first]), abs=1e-9)
    assert found.effect.reason == Reason("few_blocks", n=3)
    # Drift of a whole block remains where two variants stood in different ones, but for its linear part.
    assert len(numbers.within()) == 3
    assert all(each == pytest.approx(found.effect.value, abs=0.05) for each in numbers.within())
    assert present(found.gap).value == 0


def together(rng: random.Random, factor: float, rounds: int = 6, noise: float = 0.01) -> ProcessSamples:
    samples = process_of({"anchor": 0.01, "variant": 0.01 * factor}, rounds, rng, noise)
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
        made = [together(random.Random(5), factor, rounds, noise=0.001) for factor in (1.0, 1.03, 0.98)]
        effect = paired.numbers(made, one_thread=True).contrast(TIME).effect
        return present(effect.high) - present(effect.low)

    assert width(60) == pytest.approx(width(6), rel=0.1)


# --- whether CPU time stands for the work


def columns(wall_ms: float, waits: float = 0.0, **more: float) -> Samples:
    """Twelve blocks of two samples of four calls, `waits` of whose wall time is spent waiting for a processor."""
    wall = [wall_ms / 1000 * (1 + 0.002 * (i % 5)) for i in range(24)]
    blocks, own = [float(i // 2) for i in range(24)], {"others_s": 0.0, "blocked_s": 0.0} | more
    return {
        "round": blocks,
        "block": blocks,
        "calls": [4.0] * 24,
        "wall_s": wall,
        "cpu_s": [each * (1 - waits) for each in wall],
        "wait_s": [4 * each * waits for each in wall],
        **{name: [share * 4 * each * (1 - waits) for each in wall] for name, share in own.items()},
    }


def pair_of(variant: Samples, base: Samples | None = None, *, one_thread: bool = True) -> Contrast:
    made = [ProcessSamples(variant, base, columns(10), {"block": [], "wall_s": []})] * 3
    return paired.numbers(made, one_thread=one_thread).contrast(TIME)


@pytest.mark.parametrize(
    ("more", "unfit"),
    [
        ({}, None),
        ({"blocked_s": 0.0099, "others_s": 0.0199}, None),
        ({"blocked_s": 0.0101}, "waits"),
        ({"others_s": 0.0201}, "other_threads"),
    ],
)
def test_cpu_time_decides_where_the_thread_did_the_work_and_did_not_wait_of_itself(
    more: dict[str, float], unfit: str | None
) -> None:
    """Half of a variant's wall time is spent waiting for a processor. The same holds of what it is compared with."""
    for found in (pair_of(columns(20, waits=0.5, **more)), pair_of(columns(20, waits=0.5), columns(10, **more))):
        share = pytest.approx(max(more.values(), default=0.0))
        assert found.seen.unfit == (unfit and Reason(unfit, share=share))  # type: ignore[arg-type]
        assert (found.by_cpu, found.noisy) == (unfit is None, unfit is not None)
        assert (found.verdict, found.seen.noisy) == ("equivalent" if unfit is None else "inconclusive", 1.0)
        assert present(found.cpu).effect.value == pytest.approx(0.0, abs=1e-9)
        assert present(found.gap).value == pytest.approx(found.wall.effect.value, abs=1e-9)


def test_shares_of_cpu_time_up_to_a_limit_move_no_verdict() -> None:
    """Of all processes of a side together; at the limit itself nothing is said."""
    at = Waits(1.0, paired.MOST_OTHERS, paired.MOST_BLOCKED)
    assert paired.unfit_of([[at], [at, Waits(0.0, 0.0, 0.0)]]) is None
    assert paired.unfit_of([[at], [at, Waits(0.0, 0.001, 0.0)]]) == Reason(
        "other_threads", share=paired.MOST_OTHERS + 0.001
    )
    assert waits(columns(10, blocked_s=0.5)) == pytest.approx((0.96 * 1.004, 0.0, 0.48 * 1.004), rel=0.01)
    assert present(paired.unfit([[columns(10)], [columns(10, others_s=1.0)]])).code == "other_threads"


def test_samples_without_these_columns_and_several_threads_decide_nothing_by_cpu_time() -> None:
    for name in ("blocked_s", "others_s"):
        variant = columns(20, waits=0.5)
        del variant[name]
        assert pair_of(variant).seen.unfit == NOT_RECORDED
    assert pair_of(columns(20), one_thread=False).seen == replace(pair_of(columns(20)).seen, unfit=SEVERAL_THREADS)
    coarse = {**columns(20), "cpu_s": [0.0] * 24}  # a clock that did not tick
    assert pair_of(coarse, columns(10)).cpu is None
