"""The first paragraph of a report: the title and the main result in words."""

from __future__ import annotations

from modbench.harness.core.case import Case
from modbench.reports import isoflop
from modbench.reports.cases import looked_ahead
from modbench.reports.load import Loaded
from modbench.reports.panel import (
    MATCHED,
    default_arm,
    interval,
    place_shown,
    promise,
    rung_beside,
    seeds_in_words,
    times,
)
from modbench.reports.style import name

CONTAMINATED = "the machine was disturbed: no claim"


def title(loaded: Loaded) -> str:
    """Return the title: `Does skipping tokens pay on AMD EPYC, fp32, 1 thread?`."""
    suite = loaded.run.plan.suite
    where = f"{loaded.device_name}, {'/'.join(suite.grid.dtype)}"
    if loaded.run.plan.device == "cpu":
        where += f", {suite.threads} thread{'s' * (suite.threads != 1)}"
    if suite.compile:
        where += ", compiled"
    return f"Does skipping tokens pay on {where}?"


def lead(loaded: Loaded) -> list[str]:
    """Write two or three sentences about the default arm and the dense model of equal cost."""
    if loaded.run.plan.suite.isoflop is not None:  # sizes differ, so that no single speed-up exists
        return isoflop.in_words(loaded)
    case = default_arm(loaded)
    if case is None or not loaded.lengths:
        return []
    length = loaded.lengths[-1]
    parts = []
    timed = (
        ("latency/forward", "a forward pass"),
        ("latency/train_step", "a training step"),
        ("latency/prefill", "a prefill"),
        ("latency/decode", "a decode step"),
    )
    for metric, what in timed:
        row = loaded.pair(case.arm, metric, length)
        if row is not None and row.status == "ok":
            promised = "byte-promised" if metric == "latency/decode" else "FLOP-promised"
            share = CONTAMINATED if row.verdict == "contaminated" else promise(row, promised)
            parts.append(f"{what} at {times(row.ratio)} the speed {interval(row)}".rstrip() + (share and f" ({share})"))
    said = (
        [f"{name(case)} runs {', and '.join(parts)}, against {name(loaded.arms[0])} at T = {length}."] if parts else []
    )
    if said and not loaded.run.plan.suite.claims:
        said[0] += " A smoke run: no claims."
    beside = rung_beside(loaded, case)
    if beside is not None:
        said += _instead(loaded, case, beside[0].arm, f"{name(beside[0])}, the smaller dense model", length)
    return [*said, *filter(None, [place_shown(loaded)])]


def _instead(loaded: Loaded, case: Case, rung: str, called: str, length: int) -> list[str]:
    solved = next(r for r in loaded.run.plan.ladder if r.arm == rung)
    said = []
    rows = (loaded.pair(rung, metric, length) for metric in ("latency/train_step", "latency/forward"))
    row = next((row for row in rows if row is not None and row.status == "ok"), None)
    if row is not None:
        what = "training step" if row.metric == "latency/train_step" else "forward pass"
        said.append(f"runs a {what} of T = {row.seq_len} at {times(row.ratio)}")
    mine, theirs = loaded.value(case.arm, "bpb/val"), loaded.value(rung, "bpb/val")
    if mine is not None and theirs is not None:
        pair = loaded.pair(case.arm, "bpb/val")
        future = "; top-k routing saw the future" if pair is not None and looked_ahead(pair) else ""
        order = "below" if theirs < mine else "above"
        said.append(f"ends {abs(theirs - mine):.3f} bits/byte {order} {name(case)} ({seeds_in_words(loaded)}{future})")
    sentence = f"{called} of equal {MATCHED[solved.quantity]} at T = {solved.solved_at}, {' and '.join(said)}."
    return [sentence[0].upper() + sentence[1:]] if said else []


def residuals(loaded: Loaded) -> str:
    """Say how far each rung is from its target's FLOPs at every length: it was solved for one of them."""
    names = {case.arm: name(case) for case in loaded.arms}
    said = [
        f"{names[rung.arm]} against {names.get(rung.target, rung.target)} "
        + ("" if rung.quantity == "flops/forward" else f"({MATCHED[rung.quantity]}) ")
        + ", ".join(f"{gap:+.1%} at T = {length}" for length, gap in rung.gaps.items())
        for rung in loaded.run.plan.ladder
        if rung.arm in names
    ]
    return f"FLOPs of the dense ladder: {'; '.join(said)}." if said else ""
