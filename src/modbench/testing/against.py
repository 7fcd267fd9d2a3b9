"""A pair's ratio now against those of earlier sessions of this machine, by the rules of `modbench gate`.

Two sessions are not interleaved, so times of then and now are not compared: each session compares the candidate with its baseline
at one moment, and it is these ratios that are. A session is one process, and processes of the same code differ by more than
their rounds show; by how much, only several sessions tell. So a session is the unit of evidence, as a run is where a gate judges
an anchor by its history, and below three earlier sessions nothing is shown.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from modbench.harness.core.labels import Label
from modbench.harness.timing import judged
from modbench.reports.questions.gate import non_inferiority
from modbench.reports.questions.gate.anchor_history import FEWEST_RUNS
from modbench.reports.questions.gate.non_inferiority import Change, Finding
from modbench.testing.samples import Samples, Stored

METRIC = "ratio"
DOUBTED = {judged.UNSTEADY, judged.DIFFERS, str(Label.CONTAMINATED)}


def finding(name: str, now: Stored, earlier: Sequence[Samples], margin: float) -> Finding:
    """Judge how a ratio changed, as the rules of a gate have it.

    The verdict is `worse`, `better`, `pass` or `cannot tell`; `not compared` where no session of this machine has the comparison.

    Args:
        name: of the comparison.
        now: its samples in this session.
        earlier: sessions.
        margin: the largest loss that does not matter, as a share.
    """
    known = [session.comparisons[name] for session in earlier if name in session.comparisons]
    here = [each for each in known if each.machine == now.machine]
    if not here:
        why = "it was stored on another machine only" if known else "no stored session has it"
        return Finding(name, METRIC, "not compared", reason=why)
    value, doubts = _log_ratio(now)
    if doubts:
        return _silent(name, f"now: {doubts}")
    ratios = [ratio for ratio, why in map(_log_ratio, here) if not why]
    out = len(here) - len(ratios)
    left_out = f"; {out} doubtful one{'s are' if out != 1 else ' is'} left out" if out else ""
    if not ratios:
        return _silent(
            name, "all its stored sessions are doubtful: disturbed, not steady, or the baseline differs from itself"
        )
    change = value - statistics.fmean(ratios)
    sessions = f"{len(ratios)} stored session{'s' * (len(ratios) > 1)} of this machine"
    if len(ratios) < FEWEST_RUNS:
        said = f"how much sessions differ is not known from {sessions}; {FEWEST_RUNS} tell{left_out}"
        return Finding(name, METRIC, "cannot tell", math.exp(change), reason=said)
    sd, edge = statistics.stdev(ratios), math.log1p(margin)
    judged_change = Change(change, sd * math.sqrt(1 + 1 / len(ratios)), len(ratios) - 1, edge, edge)
    said = f"{sessions} differ by {math.expm1(sd):.1%} (standard deviation), margin {margin:.2%}{left_out}"
    raw = Finding(name, METRIC, "cannot tell", *judged_change.ratio, reason=said, changes=(judged_change,))
    return non_inferiority.judge([raw])[0]


def _log_ratio(stored: Stored) -> tuple[float, str]:
    """The log-ratio of a session, above 0 where the candidate is faster, and why it is doubted; empty: it is not."""
    launch = stored.launch()
    (found,) = (each for name, each in judged.judge([launch]).items() if name != launch.twin)
    return found.effect.value, ", ".join(label for label in found.labels if label in DOUBTED)


def _silent(name: str, reason: str) -> Finding:
    return Finding(name, METRIC, "cannot tell", reason=reason)
