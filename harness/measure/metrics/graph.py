"""What keeps the device from running without interruption: graph breaks and synchronisations with the host."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from modbench.harness.core.contracts import Metric

if TYPE_CHECKING:
    from modbench.harness.call.subject.subject import Subject


_inspected = partial(
    Metric[Any, Any],
    unit="count",
    better="lower",
    measured_by="inspect",
    workload="forward",
    scored_as="difference",
)


def _graph_breaks(subject: Subject) -> float:
    """How often torch's tracer had to leave the model's forward pass."""
    import torch

    module, tokens_BT = subject.module.eval(), subject.inputs(0, 1)[0]
    with torch.no_grad():
        found = torch._dynamo.explain(module)(tokens_BT)  # noqa: SLF001  # its documented place
    torch._dynamo.reset()  # noqa: SLF001  # its documented place
    return float(found.graph_break_count)


def _syncs(subject: Subject) -> float:
    from modbench.harness.call.timing.host_sync import count_syncs

    module = subject.module.eval()
    return float(count_syncs(module, subject.inputs(0, 1)[0]))


METRICS: tuple[Metric[Subject, float], ...] = (
    _inspected(
        key="graph_breaks/forward",
        about="Places where torch's tracer leaves the forward pass; with 0 it compiles as one graph",
        measure=_graph_breaks,
    ),
    _inspected(
        key="syncs/forward",
        about="Operators of a forward pass after which the host needs a value from the device; on a GPU every wait that torch "
        "warns of, copies and explicit ones among them: not comparable with a CPU's count",
        measure=_syncs,
    ),
)
