"""Linear layers, counted by the pass `weigh_layers`."""

from modbench.extend import Metric

METRICS = (
    Metric(
        key="layers/linear",
        unit="count",
        better="lower",
        workload="forward",
        measured_by="weigh_layers",
        about="Linear layers of the model",
        measure=lambda module: float(sum(type(part).__name__ == "Linear" for part in module.modules())),
        scored_as="difference",
    ),
)
