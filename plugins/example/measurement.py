"""Looks at the layers of a built model: how something is measured. A metric names it as `measured_by`."""

from modbench.extend import Missing, Notes, Pass, Subject, attempt, measured, missing

from .table import LayersPlan  # noqa: TID251  # the folder is copied under other names


class LayerNotes(Notes):
    """What was looked at."""

    kind: str


def run(job, metrics):
    """Yield an outcome of each case and metric."""
    kind = LayersPlan.given(job.protocol).kind  # of the suite's table
    for case in job.comparison.variants:
        module = Subject(case, job.protocol.seed).module
        layers = [part for part in module.modules() if type(part).__name__ == kind]
        for metric in metrics:
            value = attempt(lambda metric=metric, layers=layers: metric.measure(layers))
            if isinstance(value, Missing):
                yield missing(case, metric, value)
            else:
                yield measured(case, metric, {"value": [value]}, LayerNotes(kind=kind))


PASS = Pass(
    name="weigh_layers",
    run=run,
    notes=LayerNotes,
    table=LayersPlan,
    no_interval="layers were counted: no interval",
)
