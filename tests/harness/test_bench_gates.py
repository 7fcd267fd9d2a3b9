"""Stretches of a measured pool, and what each way of gating two revisions calls them (`tests/bench/gate_rivals.py`)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import gate_rivals
import pytest
from gate_rivals import BASE, HEADS, Decide, Pool, Process, Slot

from modbench.commands._paired.measure import ROUNDS
from modbench.harness.execution.log_supervisor import Keeper


def slot(took_s: float, level_s: float = 0.1) -> Slot:
    """Three processes, each with two rounds in which the base takes `level_s`, and every other work in proportion."""
    times = {calls: [level_s * calls / BASE] * 2 for calls in HEADS.values()}
    return Slot(took_s, [{"wall": times, "cpu": times}] * 3)


def test_a_stretch_has_no_gap_and_its_minutes_without_the_works_that_a_gate_does_not_need() -> None:
    extra_s = 3 * 2 * 0.1 * (1.02 + 1.03 + 1.10)
    slots = [slot(30 + extra_s), slot(30 + extra_s), slot(60 + extra_s), slot(30 + extra_s)]
    assert [each.minutes() for each in slots] == pytest.approx([0.5, 0.5, 1.0, 0.5])
    assert gate_rivals.stretches(slots, 1 - 1e-9) == [slice(0, 2), slice(1, 3), slice(2, 3)]
    assert gate_rivals.stretches(slots, 3) == []


def test_each_tool_takes_the_processes_in_the_order_in_which_it_would_have_run_them() -> None:
    stretch = [[([10.0 * s + p], [100 + 10.0 * s + p]) for p in range(3)] for s in range(3)]
    assert gate_rivals.halves(stretch) == ([[0], [1], [2], [10]], [[111], [112], [120], [121]])
    assert gate_rivals.in_turn(stretch) == ([[1], [10], [12], [21]], [[100], [102], [111], [120]])


def test_a_block_compares_the_head_in_the_middle_with_the_base_on_both_sides() -> None:
    first, second, again = ([1.0, 2.0], [9.0, 9.0]), ([9.0, 9.0], [1.1 * 1.1, 2.2 * 1.1]), ([1.21, 2.42], [9.0, 9.0])
    assert gate_rivals.blocks([[first, second, again]]) == pytest.approx([-math.log(1.1)])


def stretch(slower: float, sd: float = 0.002, drift: float = 0.0, slots: int = 16) -> list[list[Process]]:
    """Processes that differ by `sd`, of a head that is slower, on a machine that becomes slower by `drift` half-way."""
    rng = random.Random(0)
    made: list[list[Process]] = []
    for number in range(slots):
        level = (1 + drift) ** (number >= slots / 2)
        three = [(rng.gauss(level, sd), (1 + slower) * rng.gauss(level, sd)) for _ in range(3)]
        made.append([([rng.gauss(a, sd) for _ in range(6)], [rng.gauss(b, sd) for _ in range(6)]) for a, b in three])
    return made


SAID = {
    "equal": (stretch(0.0), dict.fromkeys(gate_rivals.WAYS, "pass")),
    "5 % faster": (stretch(-0.05), dict.fromkeys(gate_rivals.WAYS, "pass")),
    "the machine became slower": (
        stretch(0.0, drift=0.05),
        {way: "worse" if way.startswith(("pyperf", "benchstats")) else "pass" for way in gate_rivals.WAYS},
    ),
    "3 % slower": (
        stretch(0.03),
        {way: "pass" if way.endswith("factor 1.1") else "worse" for way in gate_rivals.WAYS},
    ),
    "15 % slower": (stretch(0.15), dict.fromkeys(gate_rivals.WAYS, "worse")),
    "1 % slower": (
        stretch(0.01),
        {
            way: "worse" if way == "pyperf `compare_to`" or way.startswith("benchstats") else "pass"
            for way in gate_rivals.WAYS
        },
    ),
}


@pytest.mark.parametrize("way", gate_rivals.WAYS)
@pytest.mark.parametrize("case", SAID)
def test_every_way_decides_planted_times_by_its_own_rule(case: str, way: str) -> None:
    try:
        decide = gate_rivals.WAYS[way][1]()
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")
    planted, said = SAID[case]
    assert decide(planted) == said[way]


def test_a_gate_of_few_or_noisy_blocks_cannot_tell() -> None:
    assert gate_rivals.modbench(stretch(0.1, slots=4)) == gate_rivals.UNDECIDED
    assert gate_rivals.modbench(stretch(0.05, sd=0.05)) == gate_rivals.UNDECIDED


def test_the_table_has_the_shares_of_gates_and_why_a_tool_has_none() -> None:
    def absent() -> Decide:
        raise ImportError(name="absent")

    def by_ratio() -> Decide:
        return lambda seen: {1.0: "pass", 1.03: gate_rivals.UNDECIDED}.get(
            round(seen[0][1][1][0] / seen[0][1][0][0], 2), "worse"
        )

    ways: dict[str, tuple[str, Callable[[], Decide]]] = {"ratio": ("wall", by_ratio), "absent": ("cpu", absent)}
    pools = [Pool(0, {}, [slot(61.9)] * 4), Pool(4, {}, [slot(61.9)])]
    assert gate_rivals.table(pools, [2.0], ways).splitlines() == [
        (
            "| beside | minutes | gates (apart) | way | equal: *worse* / passes | +2 %: *worse* / passes "
            "| +3 %: *worse* / passes | +10 %: *worse* / passes |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| nothing | 2 | 3 (2) | ratio | 0% / 100% | 100% / 0% | 0% / 0% | 100% / 0% |",
        "| nothing | 2 | 3 (2) | absent | not installed (absent) | – | – | – |",
        "| 4 processes | 2 | 0 (0) | ratio | – / – | – / – | – / – | – / – |",
        "| 4 processes | 2 | 0 (0) | absent | not installed (absent) | – | – | – |",
    ]


@pytest.mark.proof
def test_three_processes_measure_every_work_in_every_round() -> None:
    made = gate_rivals.slot(Keeper())
    assert len(made.processes) == 3
    for times in (each[clock] for each in made.processes for clock in gate_rivals.CLOCKS):
        assert {calls: len(rounds) for calls, rounds in times.items()} == dict.fromkeys(HEADS.values(), ROUNDS)
        assert min(map(min, times.values())) > 0
    assert 0 < made.minutes() < made.seconds / 60
