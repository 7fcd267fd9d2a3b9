"""Stretches of a measured pool, and what each way of gating two revisions calls them (`tests/bench/gate_rivals.py`)."""

from __future__ import annotations

import math
import random

import gate_rivals
import pytest
from gate_rivals import Process


def test_a_block_compares_two_processes_of_the_head_with_two_of_the_base_which_change_places() -> None:
    """On a machine that becomes 10 % slower from process to process."""
    four = [([1.1**turn, 2 * 1.1**turn], [1.1**turn * 1.2, 2 * 1.1**turn * 1.2]) for turn in range(4)]
    found, control = gate_rivals.blocks([four, four])
    assert found == pytest.approx({0: -math.log(1.2), 1: -math.log(1.2)})
    assert control == pytest.approx({0: -3 * math.log(1.1), 1: -math.log(1.1)})


def stretch(slower: float, sd: float = 0.002, drift: float = 0.0, slots: int = 16) -> list[list[Process]]:
    """Processes that differ by `sd`, of a head that is slower, on a machine that becomes slower by `drift` half-way."""
    rng = random.Random(0)
    made: list[list[Process]] = []
    for number in range(slots):
        level = (1 + drift) ** (number >= slots / 2)
        four = [(rng.gauss(level, sd), (1 + slower) * rng.gauss(level, sd)) for _ in range(4)]
        made.append([([rng.gauss(a, sd) for _ in range(6)], [rng.gauss(b, sd) for _ in range(6)]) for a, b in four])
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


def test_few_or_noisy_blocks_are_inconclusive() -> None:
    assert gate_rivals.modbench(stretch(0.1, slots=2)) == gate_rivals.UNDECIDED
    assert gate_rivals.modbench(stretch(0.03, sd=0.05)) == gate_rivals.UNDECIDED
