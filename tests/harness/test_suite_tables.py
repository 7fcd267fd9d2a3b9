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
from modbench.harness.registry import catalogue, plugin_manifests

TABLE = '''"""A table."""
from modbench.extend import SuiteTable, TablePlan, UsageError

class PaintPlan(TablePlan):
    """How it is painted."""
    table = "paint"
    coats: int = 2

class PaintTable(SuiteTable[PaintPlan]):
    def check(self, suite, source):
        if PaintPlan.of(suite).coats < 1:
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
