"""A case and a unit of work on a GPU, for tests whose driver is a fake."""

from __future__ import annotations

from typing import Any

from modbench.harness.core.config import ModelConfig
from modbench.harness.domain.case import Case, Comparison, Place, Protocol, UnitOfWork
from modbench.harness.registry import catalogue
from modbench.harness.registry.lookup import with_facts


def place(device: str = "cuda") -> Place:
    return Place.model_validate(
        {"seq_len": 8, "batch_size": 1, "dtype": "fp32", "device": device, "threads": 1, "compile": False}
    )


def case(*parts: str) -> Case:
    """A small dense model, by its arm's parts."""
    config = ModelConfig.model_validate({"d_model": 16, "n_layers": 1, "n_heads": 2, "max_seq_len": 8})
    return with_facts(Case(model="dense", arm_parts=parts, config=config, place=place()))


def unit_of(key: str, *arms: Case, **protocol: Any) -> UnitOfWork:
    """A unit that measures a metric of some arms: `dense` and its twin where none are given."""
    metric = catalogue.metrics()[key]
    base = {"rounds": 2, "warm_up_calls": 1, "seed": 0, "corpus": "stdlib", "corpus_path": None, "corpus_sha256": ""}
    return UnitOfWork(
        name="u",
        made_in=metric.measured_by,
        launch=0,
        flops=1.0,
        comparison=Comparison(arms=arms or (case(), case("twin")), metrics=(key,)),
        protocol=Protocol.model_validate({**base, **protocol}),
        workload=metric.group,
        facts=catalogue.facts_of_unit(metric.measured_by, metric.group, (key,)),
    )
