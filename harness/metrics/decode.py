"""Generation: seconds to read a prompt, and for one more token of every row against the keys and values kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modbench.harness.core.contracts import Metric

if TYPE_CHECKING:
    from modbench.harness.passes.time import Call
    from modbench.harness.subject.subject import Subject

NOT_KNOWN = "how many tokens of a prompt pass a causal router is not known beforehand"

METRICS: tuple[Metric[Subject, Call], ...] = (
    Metric(
        key="latency/prefill",
        unit="s",
        better="lower",
        made_in="time",
        workload="prefill",
        no_ideal=NOT_KNOWN,
        about="End-to-end wall time to read the prompts and fill the cache, routers deciding as at decode",
        measure=lambda subject: subject.prefill(),
    ),
    Metric(
        key="ttft",
        unit="s",
        better="lower",
        made_in="time",
        workload="prefill",
        no_ideal=NOT_KNOWN,
        timer="first-token",
        about="Time to first token: prompts are read and the host has the first token of every row",
        measure=lambda subject: subject.first_token(),
    ),
    Metric(
        key="latency/decode",
        unit="s",
        better="lower",
        made_in="time",
        workload="decode",
        ideal="decode_elements",
        about="End-to-end wall time of one decode step of the whole batch: mean over the positions after the context",
        measure=lambda subject: subject.decode(),
        per="step",
    ),
    *(
        Metric(
            key=f"latency/decode/{quantile}",
            unit="s",
            better="lower",
            made_in="time",
            workload="decode",
            ideal="decode_elements",
            timer="steps",
            lap=quantile,
            about=f"Wall time of one decode step, each timed apart: {about} over the positions after the context",
            measure=lambda subject: subject.decode_steps(),
        )
        for quantile, about in (("p50", "median"), ("p95", "95th percentile"))
    ),
    Metric(
        key="tpot",
        unit="s",
        better="lower",
        made_in="time",
        workload="decode",
        ideal="decode_elements",
        timer="serving",
        about="Time per output token after the first: greedy generation, every token read by the host before the next",
        measure=lambda subject: subject.generate(),
        per="step",
    ),
)
