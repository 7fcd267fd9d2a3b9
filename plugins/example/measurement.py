"""Looks at the layers of a built model: how something is measured. A metric names it as `measured_by`."""

from modbench.extend import Missing, Notes, Pass, Subject, attempt, measured, missing


class LayerNotes(Notes):
    """What was looked at."""

    kind: str


def run(job, metrics):
    """Yield an outcome of each case and metric."""
    for case in job.comparison.variants:
        module = Subject(case, job.protocol.seed).module
        for metric in metrics:
            value = attempt(lambda metric=metric, module=module: metric.measure(module))
            if isinstance(value, Missing):
                yield missing(case, metric, value)
            else:
                yield measured(case, metric, {"value": [value]}, LayerNotes(kind=type(module).__name__))


PASS = Pass(name="weigh_layers", run=run, notes=LayerNotes, no_interval="layers were counted: no interval")
