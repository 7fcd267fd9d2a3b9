"""What stub units measure."""

from modbench.harness.core.contracts import AnyMetric, Metric

METRICS: tuple[AnyMetric, ...] = tuple(
    Metric(
        key=f"stub/{kind}",
        unit="count",
        better="neither",
        measured_by=f"stub_{kind}",
        workload="forward",
        about=f"A number that follows from the unit's name ({kind})",
        measure=lambda _: 0.0,
        scored_as="difference",
    )
    for kind in ("side", "alone", "steps")
)
