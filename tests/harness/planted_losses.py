"""Runs with planted losses: of other tokens than the baseline's, and of two lengths of training."""

from __future__ import annotations

from pathlib import Path

from planted import stored

from modbench.harness.planning.plan import Plan
from modbench.planted_runs import planted_plan
from modbench.reports.tables.load import Loaded, load

VARIANTS = [
    {"model": "dense"},
    {"model": "dense", "match": {"variant": "mod", "capacity": 0.125}},
    {"model": "mod", "capacity": [0.125]},
    {"model": "moe"},
]
METRICS = ["flops/forward", "flops/train_step", "latency/forward", "loss/val", "loss/val_causal", "bpb/val"]
MOD = "mod[c0.125]"
# Loss of routing minus that of dense of its shape, by length, in nats per token.
RISES = {64: 0.5, 128: -0.25}


def planned(model: str | None) -> Plan:
    """A plan in which the jobs of a model (or all, of an empty name) read the tokens of another tokenizer."""
    made = planted_plan(
        "draft", variants=VARIANTS, metrics=METRICS, seeds=[0, 1], processes=5, rounds=2, grid={"seq_len": [128]}
    )
    jobs = []
    for job in made.jobs:
        run, changed = job.protocol.train, job
        if run is not None and model is not None and job.comparison.variants[0].model.startswith(model):
            protocol = job.protocol.model_copy(update={"train": run.model_copy(update={"tokenizer": "hf:x"})})
            changed = job.model_copy(update={"protocol": protocol})
        jobs.append(changed)
    return made.model_copy(update={"jobs": tuple(jobs)})


def at_two_lengths(folder: Path) -> Loaded:
    """A run in which routing ends 0.5 nats above dense of its shape at 64 tokens, and 0.25 below it at 128 (`RISES`)."""
    made = planted_plan(
        "draft",
        variants=[*VARIANTS[:3], {"model": "mod", "capacity": 0.5}],
        metrics=METRICS,
        seeds=[0, 1, 2],
        processes=5,
        rounds=2,
        grid={"seq_len": [64, 128]},
        train={"seq_len": [64, 128], "batch_size": [2, 1], "tokens": 1000},
    )
    trained = [case for each in made.comparisons if "loss/val" in each.metrics for case in each.variants]
    planted = {case.id: 2.0 for case in trained} | {
        case.id: 2.0 + RISES[case.grid_point.seq_len] for case in trained if case.variant == MOD
    }
    stored(folder, made, losses=planted)
    return load(folder / "run")
