"""A case and a job on a GPU, for tests whose driver is a fake."""

from __future__ import annotations

from typing import Any

import pytest
from cases import case_of
from fake_cuda import FakeCuda

from modbench.harness.call.subject.subject import Subject
from modbench.harness.domain.case import Case, Comparison, Job, Protocol
from modbench.harness.domain.records import Blocks, Outcome
from modbench.harness.measure.passes import time as time_pass
from modbench.harness.registry import catalogue


def case(*parts: str) -> Case:
    """A small dense model, by its variant's parts."""
    shape = {"d_model": 16, "n_layers": 1, "n_heads": 2, "max_seq_len": 8}
    return case_of("dense", shape, variant_parts=parts, seq_len=8, batch_size=1, device="cuda")


def job_of(key: str, *variants: Case, **protocol: Any) -> Job:
    """A job that measures a metric of some variants: `dense` and its A/A control where none are given."""
    metric = catalogue.metrics()[key]
    base = {"rounds": 2, "warm_up_calls": 1, "seed": 0, "corpus": "stdlib", "corpus_path": None, "corpus_sha256": ""}
    return Job(
        name="u",
        made_in=metric.measured_by,
        process=0,
        flops=1.0,
        comparison=Comparison(variants=variants or (case(), case("aa_control")), metrics=(key,)),
        protocol=Protocol.model_validate({**base, **protocol}),
        workload=metric.group,
        facts=catalogue.facts_of_job(metric.measured_by, metric.group, (key,)),
    )


def timed(key: str, cuda: FakeCuda, **process: Any) -> tuple[Outcome, Blocks]:
    """Four samples, in two blocks, of one variant whose forward pass processes what is said."""
    metric = catalogue.metrics()[key]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Subject, "forward", lambda _self, _tokens: cuda.launch(**process))
        outcome, witnessed = time_pass.run(job_of(key, case()), [metric])
    assert isinstance(outcome, Outcome)
    assert isinstance(witnessed, Blocks)
    return outcome, witnessed
