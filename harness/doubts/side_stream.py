"""Work ran on another stream, where device events do not see it."""

from __future__ import annotations

from modbench.harness.domain.evidence import Doubt, Evidence
from modbench.harness.domain.notes import TimeNotes
from modbench.harness.stats.contamination import escape_limit

# Share of the calls of a launch.
CALLS = 0.2


def finds(evidence: Evidence) -> str | None:
    """Share of calls after which the device still worked although the current stream had ended."""
    shares = [notes.escaped for notes in evidence.notes(TimeNotes) if notes.escaped is not None]
    for outcome in evidence.outcomes:
        late, seconds = outcome.samples.get("escaped_s"), outcome.samples.get("wall_s")
        if late and seconds:
            shares.append(sum(x > escape_limit(s) for x, s in zip(late, seconds, strict=True)) / len(late))
    if not shares or max(shares) < CALLS:  # a single delay of the host also looks like this
        return None
    return f"in {max(shares):.0%} of the calls work went on outside the stream that device events see"


DOUBT = Doubt(
    finds=finds,
    advice="Use the end-to-end time: it waits for the whole device.",
)
