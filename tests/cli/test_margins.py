"""A margin is a share above 0 and below 1, wherever one is given: 5 for 5 % would let five times slower code pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from modbench import keywords
from modbench.harness.core.errors import UsageError
from modbench.harness.core.units import parse_share
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.overrides import override
from modbench.reports.questions.gate import fail_on

RIGHT = "0.05 is 5 %"
SUITE: dict[str, Any] = {
    "name": "s",
    "metrics": ["flops/forward"],
    "variants": [{"model": "dense"}],
}
COMMANDS = {
    "gate": ("gate", "BASE", "NEW", "--margin"),
    "compare": ("compare", "BASE", "NEW", "--margin"),
}


@pytest.mark.plugin("sweeps")
@pytest.mark.parametrize("value", [1, 1.0, 2, 5, torch.inf, torch.nan, -0.1, 0, True, [0.05]])
def test_a_suite_takes_no_other_number(value: object) -> None:
    with pytest.raises(UsageError, match=RIGHT) as caught:
        parse_suite({**SUITE, "margin": value}, "s")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_take_no_other_number(command: str, modbench: Any) -> None:
    for value in ("1", "5", "inf", "nan", "-0.1", "0", "100%"):
        done = modbench(*COMMANDS[command], value)
        assert (done.returncode, done.stdout) == (2, "")
        assert RIGHT in done.stderr


def test_a_key_of_a_suite_takes_no_other_number(modbench: Any) -> None:
    for value in ("1", "nan", "500%"):  # the numbers above reach the same check
        done = modbench("plan", "quick", "--set", f"margin={value}")
        assert (done.returncode, done.stdout) == (2, "")
        assert RIGHT in done.stderr


@pytest.mark.parametrize("limit", ["100%", "500%"])
def test_limits_of_a_gate_and_of_a_recommendation_are_shares_below_1(limit: str) -> None:
    for word in (word for word, check in fail_on.CHECKS.items() if check.limited):
        with pytest.raises(UsageError, match=RIGHT):
            fail_on.parse([f"{word}:{limit}"])
    with pytest.raises(UsageError, match=RIGHT):
        parse_share(limit, "--max-loss-increase")


def test_a_share_is_taken_everywhere() -> None:
    for value in (0.05, "0.05", "5%", "5 %"):
        assert parse_suite({**SUITE, "margin": value}, "s").margin == 0.05
    assert fail_on.parse(["slower:99.9%"]).limits["slower"] is not None
    assert fail_on.parse(["slower:0.02"]) == fail_on.parse(["slower:2 %"]) == fail_on.parse(["slower:2%"])


def test_a_suite_takes_shares_in_per_cent() -> None:
    numbers, texts = ({"margin": 0.05, "detectable": 0.01}, 0.125), ({"margin": "5%", "detectable": "1 %"}, "12.5%")
    made = [
        parse_suite(
            {**SUITE, **top, "variants": [{"model": "dense"}, {"model": "mod", "capacity": [capacity, 1]}]}, "s"
        )
        for top, capacity in (numbers, texts)
    ]
    assert made[0] == made[1]
    asked = [
        override(parse_suite(SUITE | {"variants": [{"model": "mod"}]}, "s"), each)
        for each in (
            keywords.overrides({"capacity": "12.5%,0.5"}, {}),
            keywords.overrides({"capacity": (0.125, 0.5)}, {}),
        )
    ]
    assert asked[0] == asked[1]
