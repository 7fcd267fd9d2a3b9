"""Generation: time to read a prompt, and time per further token of every row with cached keys and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modbench.harness.core.contracts import Metric
from modbench.harness.metrics.latency import timed

if TYPE_CHECKING:
    from modbench.harness.passes.time import Call
    from modbench.harness.subject.generation import Generation
    from modbench.harness.subject.subject import Subject

NOT_KNOWN = "how many prompt tokens pass a causal router is not known in advance"


def generation(subject: Subject) -> Generation:
    """The calls of a subject that read prompts and decode; they stand on torch, which commands do not load."""
    from modbench.harness.subject.generation import Generation

    return Generation(subject)


def decode_steps(subject: Subject) -> Call:
    """Decode steps, each timed by itself."""
    return generation(subject).decode_steps()


METRICS: tuple[Metric[Subject, Call], ...] = (
    timed(
        key="latency/prefill",
        workload="prefill",
        no_ideal=NOT_KNOWN,
        about="End-to-end wall time to read the prompts and fill the cache, with routers deciding as in decoding",
        measure=lambda subject: generation(subject).prefill(),
    ),
    timed(
        key="ttft",
        workload="prefill",
        no_ideal=NOT_KNOWN,
        timer="first-token",
        about="Time to first token: from the call until the host has the first token of every row",
        measure=lambda subject: generation(subject).first_token(),
    ),
    timed(
        key="latency/decode",
        workload="decode",
        ideal="decode_elements",
        about="End-to-end wall time of one decode step of the whole batch: mean over the positions after the context",
        measure=lambda subject: generation(subject).decode(),
        per="step",
    ),
    *(
        timed(
            key=f"latency/decode/{quantile}",
            workload="decode",
            ideal="decode_elements",
            timer="steps",
            lap=quantile,
            quantile=True,
            about=f"Wall time of one decode step, each timed separately: {about} over the positions after the context",
            measure=decode_steps,
        )
        for quantile, about in (("p50", "median"), ("p95", "95th percentile"), ("p99", "99th percentile"))
    ),
    timed(
        key="tpot",
        workload="decode",
        ideal="decode_elements",
        timer="serving",
        about="Time per output token after the first: greedy generation in which the host reads every token before the next step",
        measure=lambda subject: generation(subject).generate(),
        per="step",
    ),
)
