"""Tables that plug-ins add to a suite: read, checked, changed from the command line, and what is said where one is absent.

What they plan, forecast and refuse is tested with each: plugins/tasks, plugins/sweeps.
"""

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
    at_smoke = {"coats": 1}

    def check(self, suite, source):
        if PaintPlan.settled(suite).coats < 1:
            raise UsageError(f"{source}: [paint]: no coat")

TABLE = PaintTable(PaintPlan)
'''


@pytest.fixture(autouse=True)
def paint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a plug-in that adds the table `paint`."""
    folder = write(tmp_path / "painting", {"suite_tables/paint.py": TABLE})
    use(monkeypatch, folder)
    return folder


def suite(**tables: Any) -> Suite:
    return parse_suite({"name": "s", "metrics": ["flops/forward"], "variants": [{"model": "dense"}], **tables}, "suite")


def test_a_suite_holds_it_whole_and_flat_and_reads_it_again() -> None:
    made = suite(paint={})
    assert made.tables == {"paint": {"coats": 2}}
    assert made.model_dump()["paint"] == {"coats": 2}
    assert Suite.model_validate_json(made.model_dump_json()) == made
    plan = catalogue.load("suite_tables", "paint").plan
    assert (plan.of(made).coats, plan.of(suite()), plan.settled(suite()).coats) == (2, None, 2)


@pytest.mark.parametrize("tables", [{}, {"paint": {"coats": 4}}])
def test_a_flag_changes_it_and_adds_one_that_has_defaults(tables: dict[str, Any]) -> None:
    assert override(suite(**tables), Overrides(settings={"paint.coats": 3})).tables == {"paint": {"coats": 3}}


@pytest.mark.parametrize(("settings", "coats"), [({}, 1), ({"paint.coats": 5}, 5)])
def test_smoke_effort_has_values_of_its_own_for_what_is_not_set(settings: dict[str, Any], coats: int) -> None:
    short = override(suite(paint={}), Overrides(effort="smoke", settings=settings))
    assert short.tables == {"paint": {"coats": coats}}


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"paint": {"coat": 1}}, r"suite: \[paint\]: unknown key 'coat'. Did you mean 'coats'"),
        ({"paint": {"coats": "many"}}, "suite: paint.coats: 'many' is not a whole number"),
        ({"paint": {"coats": 0}}, r"suite: \[paint\]: no coat"),
        ({"pant": {}}, "suite: unknown key 'pant'. Did you mean 'paint'"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line(tables: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        suite(**tables)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"paint": {}}, r"\[paint\] needs the plug-in 'painting'.*'brush'"),
        ({"paint": {}, "needs": ["rollers"]}, "needs the plug-in 'rollers'"),
    ],
)
def test_one_whose_plugin_is_absent_is_unknown_unless_named(tables: dict[str, Any], said: str, paint: Path) -> None:
    manifest = 'needs = ["brush"]\n[suite_tables]\npaint = "suite_tables/paint.py"\n'
    (paint / plugin_manifests.MANIFEST).write_text(manifest)
    forget()
    with pytest.raises(UsageError, match=said):
        suite(**tables)


def test_nothing_of_it_is_imported_where_no_suite_has_it(paint: Path) -> None:
    (paint / "suite_tables" / "paint.py").write_text("TABLE = 1 / 0\n")
    assert suite().tables == {}
    with pytest.raises(UsageError, match="division by zero"):
        suite(paint={})
