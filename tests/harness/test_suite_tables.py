"""Tables that plug-ins add to a suite: read, checked, changed from the command line, and what is said where one is absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fresh_catalogue import forget
from own_plugin import use, write

from modbench.harness.core.errors import UsageError
from modbench.harness.domain.suite import Suite
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.plan import make_plan
from modbench.harness.registry import catalogue, plugin_manifests
from modbench.reports.tables import axes

TABLE = '''"""A table."""
from modbench.extend import SuiteTable, TablePlan, UsageError

class PaintPlan(TablePlan):
    """How it is painted."""
    table = "paint"
    coats: int = 2

class PaintTable(SuiteTable[PaintPlan]):
    def check(self, suite, source):
        if PaintPlan.settled(suite).coats < 1:
            raise UsageError(f"{source}: [paint]: no coat")

TABLE = PaintTable(PaintPlan)
'''
WRONG = [
    ({"paint": {"coat": 1}}, r"suite: \[paint\]: unknown key 'coat'. Did you mean 'coats'"),
    ({"paint": {"coats": "many"}}, "suite: paint.coats: 'many' is not a whole number"),
    ({"paint": 3}, "suite: paint: "),
    ({"paint": {"coats": 0}}, r"suite: \[paint\]: no coat"),
    ({"pant": {}}, "suite: unknown key 'pant'. Did you mean 'paint'"),
]


def data(**more: Any) -> dict[str, Any]:
    return {"name": "s", "metrics": ["flops/forward"], "variants": [{"model": "dense"}], **more}


@pytest.fixture
def paint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write(tmp_path / "painting", {"suite_tables/paint.py": TABLE})
    use(monkeypatch, folder)
    return folder


@pytest.mark.usefixtures("paint")
def test_a_suite_holds_it_whole_and_flat_and_reads_it_again() -> None:
    suite = parse_suite(data(paint={}), "suite")
    assert suite.tables == {"paint": {"coats": 2}}
    assert suite.model_dump()["paint"] == {"coats": 2}
    assert Suite.model_validate_json(suite.model_dump_json()) == suite
    plan = catalogue.load("suite_tables", "paint").plan
    assert (plan.of(suite).coats, plan.of(parse_suite(data(), "suite")), plan.settled(suite).coats) == (2, None, 2)


@pytest.mark.usefixtures("paint")
@pytest.mark.parametrize(("more", "said"), WRONG)
def test_what_cannot_be_meant_is_refused_in_a_line(more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        parse_suite(data(**more), "suite")
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("paint")
@pytest.mark.parametrize("more", [{}, {"paint": {"coats": 4}}])
def test_a_flag_changes_it_and_adds_one_that_has_defaults(more: dict[str, Any]) -> None:
    made = override(parse_suite(data(**more), "suite"), Overrides(settings={"paint.coats": 3}))
    assert made.tables == {"paint": {"coats": 3}}


def test_one_whose_plugin_is_absent_is_unknown_unless_something_names_the_plugin(paint: Path) -> None:
    (paint / plugin_manifests.MANIFEST).write_text(
        'needs = ["brush"]\n[suite_tables]\npaint = "suite_tables/paint.py"\n'
    )
    forget()
    with pytest.raises(UsageError, match=r"\[paint\] needs the plug-in 'painting'.*'brush'"):
        parse_suite(data(paint={}), "suite")
    with pytest.raises(UsageError, match="needs the plug-in 'rollers'"):
        parse_suite(data(paint={}, needs=["rollers"]), "suite")
    with pytest.raises(UsageError, match="suite: unknown key 'rolls'"):
        parse_suite(data(rolls={}), "suite")


def test_nothing_of_it_is_imported_where_no_suite_has_it(paint: Path) -> None:
    (paint / "suite_tables" / "paint.py").write_text("TABLE = 1 / 0\n")
    assert parse_suite(data(), "suite").tables == {}
    with pytest.raises(UsageError, match="division by zero"):
        parse_suite(data(paint={}), "suite")


PLANS = TABLE.replace(
    "    def check",
    """    at_smoke = {"coats": 1}

    def sizes(self, suite):
        return Sizes(({"d_model": 32}, {"d_model": 64}), 1)

    def complete(self, data, key):
        if key == "grid.seq_len":
            raise UsageError("--set grid.seq_len: paint has one length")

    def planned(self, maker, keys):
        coats = Condition(key="coats", value=PaintPlan.settled(maker.suite).coats, label="wall", title="Coats")
        yield maker.apart(tuple(keys), "wall", shape={"d_model": 96}, seq_len=16, batch_size=2, conditions=(coats,))

    def check_jobs(self, suite, jobs, text):
        if len(jobs) > 40:
            raise UsageError("too much to paint")

    def forecast(self, suite, comparisons):
        return {"walls": sum(case.condition("coats") is not None for each in comparisons for case in each.variants)}

    def check""",
).replace("import SuiteTable", "import Condition, Sizes, SuiteTable")
METRIC = '''"""Metrics."""
from modbench.extend import Metric

METRICS = (Metric(key="paint/walls", unit="count", better="neither", measured_by="inspect", workload="forward",
                  about="Walls", measure=lambda subject: 1.0, planned_by="paint", scored_as="difference"),)
'''


@pytest.fixture
def walls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, write(tmp_path / "painting", {"suite_tables/paint.py": PLANS, "metrics/walls.py": METRIC}))


@pytest.mark.usefixtures("walls")
def test_it_plans_comparisons_for_metrics_in_shapes_and_under_conditions_of_its_own() -> None:
    suite = parse_suite(data(metrics=["flops/forward", "paint/walls"], grid={"seq_len": [8]}), "suite")
    made = make_plan(suite, device="cpu")
    grid, wall = made.comparisons
    assert [case.id for case in grid.variants] == ["dense[d64-T8-B1-fp32-cpu1]", "dense[d32-T8-B1-fp32-cpu1]"]
    assert [(case.family, case.size, case.sized) for case in grid.variants] == [
        ("dense", "d64", True),
        ("dense", "d32", True),
    ]
    assert made.sizes_differ
    (case,) = wall.variants
    assert (case.id, case.config.d_model, case.sized) == ("dense[wall-T16-B2-fp32-cpu1]", 96, False)
    assert axes.fields(case)["coats"] == 2
    assert wall.metrics == ("paint/walls",)
    table = catalogue.load("suite_tables", "paint")
    assert table.forecast(suite, made.comparisons) == {"walls": 1}


@pytest.mark.usefixtures("walls")
def test_it_may_refuse_keys_and_plans_and_has_values_of_smoke_effort() -> None:
    suite = parse_suite(data(paint={}, metrics=["paint/walls"]), "suite")
    with pytest.raises(UsageError, match="paint has one length"):
        override(suite, Overrides(settings={"grid.seq_len": 4}))
    short = override(suite, Overrides(effort="smoke"))
    assert short.tables == {"paint": {"coats": 1}}
    assert override(suite, Overrides(effort="smoke", settings={"paint.coats": 5})).tables == {"paint": {"coats": 5}}
    many = parse_suite(data(paint={}, grid={"seq_len": [*range(8, 60)]}), "suite")
    with pytest.raises(UsageError, match="too much to paint"):
        make_plan(many, device="cpu")
