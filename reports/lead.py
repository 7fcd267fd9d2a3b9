"""The answer in words: what a reader who stops after the first paragraph should know."""

from __future__ import annotations

from modbench.reports.load import Loaded
from modbench.reports.panel import default_arm, interval, is_number, ladder_gaps, rung_beside, times, trained_length
from modbench.reports.style import name


def title(loaded: Loaded) -> str:
    """`Does skipping tokens pay on AMD EPYC, fp32, 1 thread?`."""
    plan = loaded.run.plan
    where = loaded.run.environment["cpu"]
    if plan.device == "cuda":
        devices = loaded.run.environment["gpu"]["devices"]
        where = devices[0]["name"] if devices else "a CUDA device"
    threads = f", {plan.suite.threads} thread{'s' * (plan.suite.threads != 1)}" if plan.device == "cpu" else ""
    return f"Does skipping tokens pay on {where}, {'/'.join(plan.suite.grid.dtype)}{threads}?"


def lead(loaded: Loaded) -> list[str]:
    """Two or three sentences about the default arm, and about the dense model that costs the same."""
    case = default_arm(loaded)
    if case is None or not loaded.lengths:
        return []
    length = loaded.lengths[-1]
    claims = loaded.run.plan.suite.claims
    parts = []
    for metric, what in (("latency/forward", "a forward pass"), ("latency/train_step", "a training step")):
        row = loaded.pair(case.arm, metric, length)
        if row is not None and row.status == "ok":
            share = f", {row.realised:.0%} of the gain that its FLOPs promise" if is_number(row.realised) else ""
            parts.append(f"{what} at {times(row.ratio)} the speed {interval(row)}".rstrip() + share)
    said = (
        [f"{name(case)} runs {', and '.join(parts)}, against {name(loaded.arms[0])} at T = {length}."] if parts else []
    )
    if said and not claims:
        said[0] += " A smoke run: no claims."
    rung = rung_beside(loaded, case)
    if rung is not None:
        said += _instead(loaded, case.arm, rung.arm, name(rung), length)
    return said


def _instead(loaded: Loaded, arm: str, rung: str, rung_name: str, length: int) -> list[str]:
    row = loaded.pair(rung, "latency/train_step", length)
    if row is None or row.status != "ok":
        row = loaded.pair(rung, "latency/forward", length)
    mine, theirs = loaded.value(arm, "bpb/val"), loaded.value(rung, "bpb/val")
    text = f"{rung_name}, the smaller dense model of equal FLOPs at T = {trained_length(loaded)}"
    said = []
    if row is not None and row.status == "ok":
        said.append(f"runs that step at {times(row.ratio)}" if "train" in row.metric else f"runs at {times(row.ratio)}")
    if mine is not None and theirs is not None:
        seeds = len(loaded.run.plan.suite.seeds)
        caveat = (
            f" ({seeds} seed{'s' * (seeds != 1)}, an illustration; top-k routing saw the future)" if seeds < 3 else ""
        )
        order = "below" if theirs < mine else "above"
        said.append(f"ends {abs(theirs - mine):.3f} bits/byte {order} it{caveat}")
    sentence = f"{text}, {' and '.join(said)}."
    return [sentence[0].upper() + sentence[1:]] if said else []


def residuals(loaded: Loaded) -> str:
    """How far each rung is from its target's FLOPs at every length: it was solved for one of them."""
    said = []
    for rung in (case for case in loaded.arms if case.rung):
        gaps = ladder_gaps(loaded, rung)
        if gaps:
            target, by_length = gaps
            shown = ", ".join(f"{gap:+.1%} at T = {length}" for length, gap in by_length.items())
            said.append(f"{name(rung)} against {name(target)} {shown}")
    return f"FLOPs of the dense ladder: {'; '.join(said)}." if said else ""
