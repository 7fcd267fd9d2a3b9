"""Each warning of an audit tells the sentence of its label, and no other warning does."""

from __future__ import annotations

import pytest

from modbench.commands.doctor import aa_comparisons
from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Evidence
from modbench.harness.registry import catalogue

DOUBTS = {
    "audit_deviates": Label.DEVIATES,
    "computes_zeroes": Label.ZEROES,
    "random_in_evaluation": Label.RANDOM,
    "rows_depend": Label.ROWS_DEPEND,
    "reads_future": Label.NOT_AUTOREGRESSIVE,
}


def test_every_warning_is_tested() -> None:
    own = {
        name for name, entry in catalogue.entries("warnings").items() if entry.plugin and entry.plugin.name == "audit"
    }
    assert own - {"process_changed"} | {"reads_future"} == set(DOUBTS)


@pytest.mark.parametrize("name", DOUBTS)
def test_a_warning_tells_what_was_found_for_its_label(name: str) -> None:
    case = aa_comparisons.jobs(1, "cpu", 1)[0].comparison.variants[0]
    found = Evidence(case, catalogue.metrics()["latency/forward"], [], audited={DOUBTS[name]: "30 % of it"})
    said = {other: catalogue.load("warnings", other).check(found) for other in catalogue.entries("warnings")}
    assert {other: words for other, words in said.items() if words} == {name: f"{DOUBTS[name]}: 30 % of it"}
    assert catalogue.load("warnings", name).advice.endswith(".")
