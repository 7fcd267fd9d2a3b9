"""The time depends on the input: one number stands for a distribution over inputs."""

from __future__ import annotations

from modbench.harness.core.labels import Label
from modbench.harness.domain.evidence import Doubt, Evidence

# A report has some sixty cells, of which hardly one may be called so by chance.
LEVEL = 0.001
LEAST_SPREAD = 0.01


def finds(evidence: Evidence) -> str | None:
    """Spread of the time between inputs, if it is significant."""
    if not evidence.timed or not evidence.anchors or evidence.case.id == evidence.anchors[0].case:
        return None
    from modbench.harness.stats import effects

    anchors = [outcome.samples for outcome in evidence.anchors]
    launches = list(zip((outcome.samples for outcome in evidence.outcomes), anchors, strict=True))
    if any(not {"wall_s", "input"} <= side.keys() for pair in launches for side in pair):
        return None
    spread = effects.input_spread(launches)
    if spread is None or spread.p >= LEVEL or spread.sd < LEAST_SPREAD:
        return None
    return (
        f"{Label.INPUT_DEPENDENT}: its time differs by ±{spread.sd:.1%} between inputs "
        f"(standard deviation over {spread.inputs}, p = {spread.p:.1g})"
    )


DOUBT = Doubt(
    finds=finds,
    advice="Time it on inputs like yours: here an untrained model routed random tokens.",
    label=Label.INPUT_DEPENDENT,
)
