"""Layers of one kind, counted by the pass `weigh_layers`."""

from modbench.extend import Metric

METRICS = (
    Metric(
        key="layers/counted",
        unit="count",
        better="lower",
        workload="forward",
        measured_by="weigh_layers",
        about="Layers of the kind that the suite's table [layers] names",
        measure=lambda layers: float(len(layers)),
        scored_as="difference",
    ),
)
