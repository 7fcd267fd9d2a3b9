"""Fields of passes, metrics, doubts and launchers have the names of the last release too."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from modbench.harness.core.contracts import Metric
from modbench.harness.domain import records
from modbench.harness.domain.evidence import Doubt
from modbench.harness.domain.notes import Notes
from modbench.harness.domain.passes import Pass
from modbench.harness.execution.launching import is_remote

NAMES: dict[str, tuple[str, Any]] = {
    "worth": ("forward_equivalents", 7.0),
    "alone": ("exclusive", True),
    "cold": ("fresh_interpreter", True),
    "always": ("runs_for_every_case", True),
    "once": ("once_per_sweep", True),
    "most": ("timeout_factor", lambda _: 2.0),
    "takes": ("estimate_seconds", lambda _unit, _forward_s: 1.0),
    "besides": ("fixed_overhead_s", lambda _: 3.0),
}


def run(_unit: object, _metrics: object) -> Any:
    return iter(())


@pytest.mark.parametrize("old", NAMES)
def test_a_pass_takes_and_has_the_old_names_of_its_fields(old: str) -> None:
    new, value = NAMES[old]
    fields: dict[str, Any] = {old: value}
    with pytest.warns(DeprecationWarning, match=rf"Pass\.{old} is named {new} now"):
        made: Any = Pass("mine", run, Notes, **fields)
    assert getattr(made, new) is value
    with pytest.warns(DeprecationWarning, match=new):
        assert getattr(made, old) is value
    with pytest.warns(DeprecationWarning, match=new):
        assert dataclasses.replace(made, **{old: None}) == dataclasses.replace(made, **{new: None})


def test_so_do_a_metric_and_a_doubt() -> None:
    fields: dict[str, Any] = {"made_in": "inspect"}
    with pytest.warns(DeprecationWarning, match=r"Metric\.made_in is named measured_by now"):
        metric = Metric[Any, Any]("a", "count", "lower", "forward", "A.", len, **fields)
    assert metric.measured_by == "inspect"
    fields = {"finds": str, "advice": "None."}
    with pytest.warns(DeprecationWarning, match=r"Doubt\.finds is named check now"):
        doubt = Doubt(**fields)
    assert doubt.check is fields["finds"]
    assert records.Gap is records.Missing


def test_the_names_of_today_warn_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    assert Pass("mine", run, Notes, exclusive=True).exclusive
    assert not recwarn


@pytest.mark.parametrize("name", ["apart", "is_remote"])
def test_a_launcher_may_have_the_old_name_too(name: str) -> None:
    assert is_remote(type("Mine", (), {name: True})())
    assert not is_remote(type("Mine", (), {name: False})())
