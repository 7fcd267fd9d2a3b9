"""What `describe` records of routers, planted: who passes, what it is worth, and what the router knows."""

from __future__ import annotations

import math
from copy import copy
from pathlib import Path
from typing import Any

from modbench.harness.results.workspace import Workspace
from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.tables.load import Loaded, load

N, WINDOWS, LAYERS = 4096, 16, (1, 3)
KINDS = ("word start", "continuation", "digit", "punctuation", "whitespace")
BINS = {
    "kind": KINDS,
    "position": ("0–31", "32–63"),
    **dict.fromkeys(("frequency", "difficulty", "loss", "entropy"), ("a quarter", "another")),
}
KNOWS = ("accuracy", "base_rate", "balanced_accuracy", "precision", "recall", "f1")
SUMMARY = {"participation": 0.125, "participation_causal": 0.131, "gap": 0.01 * math.log(2), "expert_load_max": None}
SUMMARY |= {"overlap": 0.42, "overlap_expected": 0.07, "entropy_correlation": 0.11, "difficulty_correlation": -0.05}
SUMMARY |= {f"predictor_{name}": x for name, x in zip(KNOWS, (0.951, 0.875, 0.913, 0.777, 0.666, 0.72), strict=True)}
MATRIX = {"window": 0, "of": 256, "layers": [*LAYERS], "rows": ["0110", "0100"], "used": [0, 2, 1, 0]}
MATRIX |= {"pieces": ["<b>", "x", "\n", " y"], "kinds": [3, 0, 4, 0]}
WEIGHT = {"what": "weight", "mean": 0.5, "sd": 1.0, "positive": 0.25}
HISTOGRAM = {"edges": [-1.0, 0.0, 1.0], "all": [3, 1], "passed": [0, 1]}


def stratum(labels: tuple[str, ...], shares: dict[str, float], loss: float) -> dict[str, Any]:
    """Bins of equal size, of which a share passes."""
    n = N // len(labels)
    same = {"n": n, "windows": WINDOWS, "share_se": 0.01, "loss": loss, "loss_causal": loss + 0.1}
    passed = {label: shares.get(label, 0.1) for label in labels}
    bins = [{"label": label, "share": p, "passes": round(p * n * len(LAYERS)), **same} for label, p in passed.items()]
    return {"unit": "", "bins": bins}


def routing(shares: dict[str, float] | None = None, loss: float = 1.5) -> dict[str, Any]:
    """What `describe` records of a routed model; by default the share of digits is 0.4, of all other kinds 0.1."""
    said = {"digit": 0.4, **(shares or {})}
    made = {"version": 1, "windows": WINDOWS, "seq_len": 256, "tokens": N, "layers": [*LAYERS]}
    return made | {
        "strata": {name: stratum(labels, said, loss) for name, labels in BINS.items()},
        "matrix": {name: copy(each) for name, each in MATRIX.items()},
        "words": {"at_least": 8, "words": 2, "deep": [{"word": "self", "share": 0.5, "n": 9}], "shallow": []},
        "weights": [{"layer": layer, **WEIGHT, **HISTOGRAM} for layer in LAYERS],
        "overlap": {"layers": [*LAYERS], "jaccard": [[1, 0.42], [0.42, 1]], "expected": [[1, 0.07], [0.07, 1]]},
        "predictor": None,
        "experts": None,
        "depth": None,
        "summary": {**SUMMARY, "loss": loss, "loss_causal": loss + 0.1},
    }


def flips(rho: float, half: float = 0.1) -> dict[str, Any]:
    row = {"rho": rho, "low": rho - half, "high": rho + half, "n": 64, "windows": 16, "reason": None}
    return {
        "reason": None,
        "correlation": {side: dict(row) for side in ("all", "passed", "skipped")},
        "worth": {"passed": {"effect": 0.001}, "skipped": {"effect": -0.002}, "all": {"effect": 0}},
        "flips": {
            "layer": [1, 3, 3, 3, 3],
            "score": [0.0, 1.0, 2.0, 3.0, -1.0],
            "effect": [0.0, 0.01, -0.001, 0.02, 0.0],
            "passed": [True, True, True, True, False],
        },
    }


def drift() -> dict[str, Any]:
    return {
        "steps": [0, 10, 20],
        "by_kind": {kind: [0.1, 0.1, 0.4 if kind == "digit" else 0.1] for kind in KINDS},
        "overlap_with_last": [0.1, 0.9, 1.0],
        "overlap_expected": [0.07] * 3,
    }


def dense(loss: float = 1.45) -> dict[str, Any]:
    made = routing(loss=loss)
    for stratum in made["strata"].values():
        for row in stratum["bins"]:
            row.pop("loss_causal")
    nothing = dict.fromkeys(("matrix", "words", "weights", "overlap"))
    return {**made, **nothing, "layers": [], "summary": {**dict.fromkeys((*SUMMARY, "loss_causal")), "loss": loss}}


def with_experts(made: dict[str, Any]) -> dict[str, Any]:
    """Of a model that routes to two experts, or to none."""
    made["experts"] = [{"layer": 1, "tokens": N, "load": [0.7, 0.3], "none": 0.25}]
    made["summary"]["expert_load_max"] = 1.4
    return made


def with_depth(made: dict[str, Any]) -> dict[str, Any]:
    """Of a model with a gate of its own for each block."""
    quarters = [{"label": "easiest", "depth": 2.0}, {"label": "hardest", "depth": 3.5}]
    lengths = [{"length": t, "n": 64, "depth": 2.5, "depth_se": 0.1, "by_difficulty": quarters} for t in (8, 16)]
    made["depth"] = {"blocks": 4, "depth": 2.5, "by_length": lengths}
    return made


def run(folder: Path, seeds: tuple[int, ...] = (0,), **artifacts: Any) -> Loaded:
    """A stored run of dense, its matched baseline, MoD learned and stochastic; `artifacts`: the artifact of every seed, by
    variant.
    """
    plan = planted_plan(
        "draft",
        metrics=["flops/forward", "loss/val"],
        grid={"seq_len": [128]},
        variants=[
            {"model": "dense"},
            {"model": "dense", "match": {"variant": "mod", "capacity": 0.125}},
            {"model": "mod", "capacity": 0.125},
            {"model": "mod", "capacity": 0.125, "router": "stochastic"},
        ],
        seeds=list(seeds),
    )
    path = planted_run(folder, plan)
    for job in plan.jobs:
        (case, *_) = job.comparison.variants
        router = case.model if case.config.router == "learned" else case.config.router
        artifact = artifacts.get("matched" if case.matched else str(router))
        if job.made_in == "train" and artifact is not None:
            Workspace(path, job.name).keep(artifact(job.protocol.seed) if callable(artifact) else artifact)
    return load(str(path))
