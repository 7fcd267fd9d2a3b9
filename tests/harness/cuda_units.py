"""A case and a unit of work on a GPU, for tests whose driver is a fake."""

from __future__ import annotations

from typing import Any

import pytest
from cases import case_of
from fake_cuda import FakeCuda

from modbench.harness.domain.case import Case, Comparison, Protocol, UnitOfWork
from modbench.harness.domain.records import Blocks, Outcome
from modbench.harness.passes import time as time_pass
from modbench.harness.registry import catalogue
from modbench.harness.subject.subject import Subject


def case(*parts: str) -> Case:
    """A small dense model, by its arm's parts."""
    shape = {"d_model": 16, "n_layers": 1, "n_heads": 2, "max_seq_len": 8}
    return case_of("dense", shape, arm_parts=parts, seq_len=8, batch_size=1, device="cuda")


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


def timed(key: str, cuda: FakeCuda, **launch: Any) -> tuple[Outcome, Blocks]:
    """Four samples, in two blocks, of one arm whose forward pass launches what is said."""
    metric = catalogue.metrics()[key]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Subject, "forward", lambda _self, _tokens: cuda.launch(**launch))
        outcome, witnessed = time_pass.run(unit_of(key, case()), [metric])
    assert isinstance(outcome, Outcome)
    assert isinstance(witnessed, Blocks)
    return outcome, witnessed
