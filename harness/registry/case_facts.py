"""Looks up the facts of cases and jobs in the catalogue, once, where they are planned."""

from __future__ import annotations

from modbench.harness.core.contracts import Model
from modbench.harness.core.variant_titles import short_name
from modbench.harness.domain.case import Case, CaseFacts
from modbench.harness.registry import catalogue
from modbench.harness.registry.model_loaders import from_loader
from modbench.harness.registry.user_routers import has_closed_form


def with_facts(case: Case) -> Case:
    """The case with the facts of its model and router. A model of the catalogue is imported, and with it torch."""
    known = case.model in catalogue.entries("models")
    found = CaseFacts(
        short=short_name(case.model),
        shipped=known and catalogue.is_shipped("models", case.model),
        own_router=not has_closed_form(case.config.router),
        keys=(*catalogue.model_options(case.model),) if known else None,
    )
    if source := from_loader(case.model, case.options):
        found = found.model_copy(update={"trained": source.tokenizer() is not None})
    if known:
        model: Model = catalogue.load("models", case.model)
        declared = {"dynamic": model.dynamic, "sees_future": model.sees_future(case.config)}
        found = found.model_copy(update=declared)
    return case.with_facts(found)
