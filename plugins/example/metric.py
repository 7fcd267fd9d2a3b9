"""Weights of routers."""

from modbench.extend import Metric


def of_routers(subject):
    """The pass `inspect` gives a built model with its inputs; a metric returns a number in its unit."""
    routers = [part for name, part in subject.module.named_modules() if name.endswith("router")]
    return float(sum(weight.numel() for router in routers for weight in router.parameters()))


METRICS = (
    Metric(
        key="weights/routers",
        unit="count",
        better="lower",
        workload="forward",
        measured_by="inspect",
        about="Parameters of the routers",
        measure=of_routers,
        scored_as="difference",
    ),
)
