"""A margin is a share above 0 and below 1, wherever one is given: 5 for 5 % would let five times slower code pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from modbench import keywords
from modbench.harness.core.errors import UsageError
from modbench.harness.core.units import parse_share
from modbench.harness.planning.load_suite import parse_suite
from modbench.reports.questions.gate import fail_on

RIGHT = "0.05 is 5 %"
SUITE: dict[str, Any] = {
    "name": "s",
    "metrics": ["flops/forward"],
    "variants": [{"model": "dense"}],
}


@pytest.mark.plugin("sweeps")
@pytest.mark.parametrize("value", [1, 1.0, 2, 5, torch.inf, torch.nan, -0.1, 0, True, [0.05]])
def test_a_suite_takes_no_other_number(value: object) -> None:
    with pytest.raises(UsageError, match=RIGHT) as caught:
        parse_suite({**SUITE, "margin": value}, "s")
    assert len(str(caught.value).splitlines()) == 1


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


def test_a_suite_and_an_option_take_shares_in_per_cent() -> None:
    mod = {"model": "mod", "capacity": [0.125, 1]}
    numbers = parse_suite({**SUITE, "margin": 0.05, "detectable": 0.01, "variants": [mod]}, "s")
    assert numbers == parse_suite(
        {**SUITE, "margin": "5%", "detectable": "1 %", "variants": [mod | {"capacity": ["12.5%", 1]}]}, "s"
    )
    assert keywords.overrides({"capacity": "12.5%,0.5"}, {}) == keywords.overrides({"capacity": (0.125, 0.5)}, {})
