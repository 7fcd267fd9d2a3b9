"""Looks up the facts of cases and units in the catalogue, once, where they are planned or read from an earlier schema."""

from __future__ import annotations

from typing import Any

from modbench.harness.core.contracts import Model
from modbench.harness.core.titles import short_name
from modbench.harness.domain.case import Case, CaseFacts
from modbench.harness.registry import catalogue
from modbench.harness.registry.model_sources import sourced
from modbench.harness.registry.user_routers import has_closed_form


def with_facts(case: Case) -> Case:
    """The case with the facts of its model and router. A model of the catalogue is imported, and with it torch."""
    found = facts_of_names(case.model, case.config.router)
    if source := sourced(case.model, case.options):
        found = found.model_copy(update={"trained": source.tokenizer() is not None})
    if found.keys is not None:
        model: Model = catalogue.load("models", case.model)
        declared = {"dynamic": model.dynamic, "sees_future": model.sees_future(case.config)}
        found = found.model_copy(update=declared)
    return case.with_facts(found)


def facts_of_names(model: str, router: str) -> CaseFacts:
    """The facts that are known without importing a model."""
    known = model in catalogue.entries("models")
    return CaseFacts(
        short=short_name(model),
        shipped=known and catalogue.is_shipped("models", model),
        own_router=not has_closed_form(router),
        keys=(*catalogue.model_options(model),) if known else None,
    )


def fill_in(unit: dict[str, Any]) -> None:
    """Look up the facts that the JSON of a unit lacks: a record has none, nor had plans before schema 11.

    Raises:
        KeyError: if a part is missing, or nothing is known by a name.
    """
    comparison = unit["comparison"]
    fill_in_arms(comparison)
    if "facts" not in unit:
        unit["facts"] = catalogue.facts_of_unit(unit["made_in"], unit["workload"], tuple(comparison["metrics"]))


def fill_in_arms(comparison: dict[str, Any]) -> None:
    """Look up the facts of a comparison's arms, as above."""
    if "facts" not in comparison:
        arms = comparison["arms"]
        comparison["facts"] = [facts_of_names(arm["model"], arm["config"]["router"]) for arm in arms]
