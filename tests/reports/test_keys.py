"""Keys of figures: marks and names of arms."""

from __future__ import annotations

import re
from collections.abc import Mapping

from planted import planted_suite

from modbench.reports.writers.html import _key as key_of


def said(*arms: Mapping[str, object]) -> list[str]:
    """The names in the key of a suite's arms."""
    plan = planted_suite("draft", metrics=["flops/forward"], arms=list(arms), train=None)
    cases = {case.arm: case for case in plan.cases}.values()
    return [re.sub(r"\s+", " ", each).strip() for each in re.findall(r"</b>(.*?)</span>", str(key_of(list(cases))))]


def test_arms_that_look_different_are_named() -> None:
    assert said({"model": "dense"}, {"model": "mod", "capacity": [0.125, 0.25]}) == ["dense", "MoD 0.125", "MoD 0.25"]


def test_many_arms_of_one_look_are_counted() -> None:
    """Integrated MoDE has one mark at all capacities; the names begin alike."""
    many = {"model": "mode_integrated", "choice": "token", "capacity": [0.25, 0.5], "no_op": ["zero", "identity"]}
    assert said({"model": "dense"}, many) == ["dense", "MoDE integrated (4 arms)"]


def test_names_that_have_nothing_in_common_are_others() -> None:
    """Models that the report does not know share a mark."""
    case = planted_suite("draft", metrics=["flops/forward"], train=None).cases[0]
    cases = [case.model_copy(update={"model": model}) for model in ("one", "two", "three")]
    assert "others (3 arms)" in str(key_of(cases))


def test_no_arms_no_key() -> None:
    assert str(key_of([])) == ""
