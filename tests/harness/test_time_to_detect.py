"""Time to decide: processes and seconds until a true +3 % is called worse, from a machine's spread."""

from __future__ import annotations

import math

import numpy as np
import pytest
from present import present

from modbench.commands.doctor import checkup
from modbench.commands.doctor.aa_comparisons import AAControl
from modbench.harness.machine.certificate import Certificate
from modbench.harness.stats.effects import over_processes
from modbench.harness.stats.power import above_0, prospect
from modbench.harness.stats.time_to_detect import Spread, time_to_decide
from modbench.harness.stats.verdicts import WORSE, Rule, estimated


def chance(sd: float, processes: int) -> float:
    """Of a true +3 % being called worse at a margin of 2 %."""
    return prospect(above_0, math.log1p(0.03) - math.log1p(0.02), sd, (processes,)).power


@pytest.mark.parametrize(("sd", "processes"), [(0.005, 3), (0.01, 10)])
def test_the_chance_is_that_of_the_verdict(sd: float, processes: int) -> None:
    rows = np.random.default_rng(0).normal(-math.log1p(0.03), sd, (1000, processes)).tolist()
    made = [estimated(over_processes(row), Rule("time", 0.02), "interleaved").verdict for row in rows]
    assert chance(sd, processes) == pytest.approx(made.count(WORSE) / 1000, abs=0.04)


def test_no_slowdown_beyond_the_margin_is_not_worse() -> None:
    assert prospect(above_0, 0.0, 0.01, (100,)).power == pytest.approx(0.025, abs=1e-3)
    assert time_to_decide(Spread(0.01, 0.01, 0.1, 0.01), slowdown=0.02) is None


def test_the_decision_is_the_cheapest_that_has_the_power() -> None:
    spread = Spread(between_sd=0.007, block_sd=0.02, start_s=0.4, round_s=0.05)
    found = present(time_to_decide(spread))
    assert found.seconds == pytest.approx(found.processes * (0.4 + found.rounds * 0.05))
    assert chance(spread.process_sd(found.rounds), found.processes) >= 0.8
    assert chance(spread.process_sd(found.rounds), found.processes - 1) < 0.8
    for rounds in (6, 12, 24, 48):
        processes = next(n for n in range(3, 1000) if chance(spread.process_sd(rounds), n) >= 0.8)
        assert found.seconds <= processes * (0.4 + rounds * 0.05) + 1e-9


def test_processes_are_short_where_they_differ_and_long_where_blocks_do() -> None:
    differ, noisy = Spread(0.01, 0.005, 0.2, 0.05), Spread(0.001, 0.05, 2.0, 0.01)
    assert present(time_to_decide(differ)).rounds < 10 < present(time_to_decide(noisy)).rounds
    assert time_to_decide(Spread(0.3, 0.01, 0.1, 0.01)) is None  # processes that differ by a third decide nothing


@pytest.mark.parametrize(
    ("spread", "words"),
    [
        ({"between_sd": 0.005, "block_sd": 0.01, "start_s": 0.4, "round_s": 0.01}, "processes of"),
        ({"between_sd": 0.3, "block_sd": 0.01, "start_s": 0.4, "round_s": 0.01}, "not even 1,000 processes"),
        ({}, "not known"),
    ],
)
def test_the_doctor_says_how_long_it_takes(spread: dict[str, float], words: str) -> None:
    known = Certificate("m", 100, 1, 0.0, 0.05, 0.01, None, 0.02, 0.0, 1, "", processes=6, process_sd=0.01, **spread)
    aa_control = AAControl(estimated(over_processes([0.0, 0.01, -0.01]), Rule("time", 0.02), "interleaved"), {})
    text = checkup.as_text(checkup.Checkup([aa_control], known, [], "a machine", 1.0))
    (line,) = (line for line in text.splitlines() if line.startswith("time to decide"))
    assert words in line
    kept = known.as_dict()["time_to_decide"]
    assert (kept is not None) == ("processes of" in words)
    if kept is not None:
        assert f"{kept['processes']} processes of {kept['rounds']} rounds" in line
