"""Latency: wall time per call, with the device synchronised before and after; CPU time of the thread as well.

Calls are forward passes and training steps, and of generation: reading a prompt, decode steps with cached keys and values, and
end-to-end requests.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from modbench.harness.core.contracts import Metric

if TYPE_CHECKING:
    from modbench.harness.call.subject.generation import Generation
    from modbench.harness.call.subject.subject import Subject
    from modbench.harness.measure.passes.time import Call

OPTIMIZER = "the optimizer's work depends on the parameters, not on the FLOPs"
NOT_KNOWN = "how many prompt tokens pass a causal router is not known in advance"


def _on_device(workload: str) -> Callable[[Subject], Call]:
    def prepare(subject: Subject) -> Call:
        from modbench.harness.call.timing import cuda_events

        cuda_events.require(subject.case.grid_point.device)
        return cuda_events.DeviceTimer(getattr(subject, workload), subject.inputs(0, 1)[0])

    return prepare


def _as_graph(subject: Subject) -> Call:
    from modbench.harness.call.timing import cuda_events

    cuda_events.require(subject.case.grid_point.device)
    return cuda_events.GraphTimer(subject.forward, subject.inputs(0, 1)[0])


# A time of calls.
timed = partial(Metric[Any, Any], unit="s", better="lower", measured_by="time")

TIMED: tuple[Metric[Subject, Call], ...] = (
    timed(
        key="latency/forward",
        needs="roofline",
        workload="forward",
        theoretical="forward_causal",
        about="End-to-end wall time of one forward pass without gradients",
        measure=lambda subject: subject.forward,
    ),
    timed(
        key="latency/forward/device",
        workload="forward",
        theoretical="forward_causal",
        timer="device",
        lap="device",
        about="Device time of a forward pass: CUDA events behind a spin kernel, without launch times",
        measure=_on_device("forward"),
    ),
    timed(
        key="latency/forward/graph",
        workload="forward",
        theoretical="forward_causal",
        timer="graph",
        about="End-to-end wall time of a forward pass replayed as one CUDA graph; static shapes only",
        measure=_as_graph,
    ),
    timed(
        key="latency/train_step",
        estimand="mean",
        needs="roofline",
        workload="train_step",
        theoretical="train_step_causal",
        about="End-to-end wall time of one training step: forward, backward, AdamW",
        measure=lambda subject: subject.train_step,
    ),
    timed(
        key="latency/train_step/device",
        estimand="mean",
        workload="train_step",
        theoretical="train_step_causal",
        timer="device",
        lap="device",
        about="Device time of a training step: CUDA events behind a spin kernel, without launch times",
        measure=_on_device("train_step"),
    ),
    *(
        timed(
            key=f"latency/train_step/{part}",
            estimand="mean",
            workload="train_step",
            timer="parts",
            lap=part,
            about=about,
            theoretical="" if part == "optimizer" else "forward_causal",
            no_theoretical=OPTIMIZER if part == "optimizer" else "",
            measure=lambda subject: subject.train_parts,
        )
        for part, about in (
            ("forward", "Wall time of a training step's forward pass and loss, the device idle before and after"),
            ("backward", "Wall time of a training step's backward pass, the device idle before and after"),
            ("optimizer", "Wall time of a training step's AdamW update, the device idle before and after"),
        )
    ),
)


def generation(subject: Subject) -> Generation:
    """The calls of a subject that read prompts and decode; they stand on torch, which commands do not load."""
    from modbench.harness.call.subject.generation import Generation

    return Generation(subject)


def decode_steps(subject: Subject) -> Call:
    """Decode steps, each timed by itself."""
    return generation(subject).decode_steps()


GENERATED: tuple[Metric[Subject, Call], ...] = (
    timed(
        key="latency/prefill",
        workload="prefill",
        no_theoretical=NOT_KNOWN,
        about="End-to-end wall time to read the prompts and fill the cache, with routers deciding as in decoding",
        measure=lambda subject: generation(subject).prefill(),
    ),
    timed(
        key="ttft",
        workload="prefill",
        no_theoretical=NOT_KNOWN,
        timer="first-token",
        about="Time to first token: from the call until the host has the first token of every row",
        measure=lambda subject: generation(subject).first_token(),
    ),
    timed(
        key="latency/decode",
        workload="decode",
        theoretical="decode_elements",
        about="End-to-end wall time of one decode step of the whole batch: mean over the positions after the context",
        measure=lambda subject: generation(subject).decode(),
        per="step",
    ),
    *(
        timed(
            key=f"latency/decode/{quantile}",
            workload="decode",
            theoretical="decode_elements",
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
        theoretical="decode_elements",
        timer="serving",
        about="Time per output token after the first: greedy generation in which the host reads every token before the next step",
        measure=lambda subject: generation(subject).generate(),
        per="step",
    ),
    timed(
        key="latency/request",
        workload="request",
        no_theoretical=NOT_KNOWN,
        about="End-to-end wall time of a request P+N: a prompt of P tokens and N decode steps, each token read by the host",
        measure=lambda subject: generation(subject).request(),
    ),
)

METRICS = (*TIMED, *GENERATED)
