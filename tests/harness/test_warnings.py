"""Every doubt finds what was planted for it, and nothing in a clean cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from modbench.commands.doctor import aa_comparisons
from modbench.harness.domain.evidence import Evidence, ProcessCount
from modbench.harness.domain.notes import CountNotes, MemoryNotes, Notes, TimeNotes, TrainNotes
from modbench.harness.domain.records import Outcome
from modbench.harness.registry import catalogue
from modbench.harness.stats.against_baseline import Process
from modbench.harness.stats.noise import Columns

DOUBTS = sorted(name for name, entry in catalogue.entries("warnings").items() if entry.plugin is None)
CASE, ANCHOR = aa_comparisons.jobs(1, "cpu", 1)[0].comparison.variants
METRICS = catalogue.metrics()


def outcome(samples: dict[str, list[float]] | None = None, variant: str = CASE.id, **notes: Any) -> Outcome:
    pairs = [float(i // 2) for i in range(40)]
    fixed = {"position": 0.0, "calls": 1.0, "wall_s": 0.01, "cpu_s": 0.01, "wait_s": 0.0, "recompiles": 0.0}
    clean = {"round": pairs, "block": pairs, "input": [i % 4 for i in pairs]}
    columns = clean | {name: [value] * 40 for name, value in fixed.items()} | (samples or {})
    noted = _notes(notes)
    return Outcome(case=variant, metric="latency/forward", unit="s", status="ok", samples=columns, notes=noted)


def _notes(given: dict[str, Any]) -> Notes:
    """The notes of a time, or of the pass that leaves the given ones."""
    if "alloc_retries" in given:
        return MemoryNotes.model_validate(given)
    if "causality" in given:
        return TrainNotes.model_validate({"seed": 0} | given)
    return TimeNotes.model_validate({"inputs": 4} | given)


def beside(case: Outcome, anchor: Outcome, blocks: Columns | None = None) -> Process:
    """The process that timed both."""
    return Process({CASE.id: case.samples, ANCHOR.id: anchor.samples}, ANCHOR.id, blocks)


def evidence(
    outcomes: Iterable[Outcome] = (),
    metric: str = "latency/forward",
    counted: dict[str, Any] | None = None,
    anchored: dict[str, Any] | None = None,
    **blocks: list[float],
) -> Evidence:
    columns = {"block": [float(i) for i in range(20)], "wall_s": [0.04] * 20, **blocks}
    made = list(outcomes) or [outcome()]
    anchors = [outcome(variant=ANCHOR.id) for _ in made]
    processes = [beside(*each, columns) for each in zip(made, anchors, strict=True)]
    mine, theirs = (CountNotes.model_validate(side or {}) for side in (counted, anchored))
    timed = METRICS[metric].measured_by == "time"
    return Evidence(CASE, METRICS[metric], made, processes, mine, theirs, baseline_s=0.01, timed=timed)


def faster(ratio: float) -> Evidence:
    """Three processes in which it is so many times as fast as its baseline, at 1/1.2 of its FLOPs."""
    times = [outcome({"wall_s": [0.01 / ratio + 1e-6 * (i % 3) for i in range(40)]})] * 3
    return evidence(times, counted={"forward_causal": 1e9}, anchored={"forward_causal": 1.2e9})


def uneven(spread: float) -> Evidence:
    return evidence([outcome({"wall_s": [0.01 * math.exp(spread * (i // 2 % 4) + 1e-4 * (i % 3)) for i in range(40)]})])


CAPPED = ProcessCount(pilot=8, used=8, variants=2, sd=0.03, detectable=0.01, asked=60, most=24, made=24)
CLAIM = {"module": "blocks.1", "capacity": 0.25, "stated": 6, "tokens": 48, "rows": 48.0, "masked": True}
PLANTED: dict[str, tuple[Evidence, str]] = {
    "allocator_retried": (evidence([outcome(alloc_retries=3)]), "3 times"),
    "capped_processes": (replace(evidence(), decision=CAPPED), "asked for 60 processes"),
    "noisy": (evidence([outcome({"wait_s": [0.009] * 20 + [0.0] * 20})]), "50 % of its blocks"),
    "faster_than_flops": (faster(2), "at least 2.00 times as fast as its baseline, where FLOPs promise 1.20 times"),
    "idle_in_training": (evidence(counted={"trained_share": 0.1}), "10 % of the FLOPs that its forward pass implies"),
    "input_dependent": (uneven(0.1), "between inputs"),
    "launch_bound": (evidence([outcome(device_share=0.4)]), "40 %"),
    "lower_bound": (
        evidence(metric="flops/forward", counted={"operators": {"unknown": {"aten.mystery": 2}, "cheap": {}}}),
        "aten.mystery (2 calls)",
    ),
    "masks_compute": (evidence(counted={"claims": [CLAIM]}), "blocks.1 says it processed 6 of 48"),
    "not_steady": (replace(evidence(), drift="it drifted by +9.0 %"), "+9.0 %"),
    "other_precision": (evidence(counted={"other_precision": "80 % of the FLOPs ran in bfloat16"}), "bfloat16"),
    "power_limited": (evidence(throttle=[4.0] * 5 + [0.0] * 15), "25 %"),
    "reads_future": (
        evidence(counted={"causality": {"reads_future": True, "change": 0.7, "at": 3, "reason": None}}),
        "not usable for generation",
    ),
    "recompiled": (evidence([outcome({"recompiles": [1.0] + [0.0] * 39})]), "1 samples"),
    "reused_output": (evidence(counted={"reused": "cached output: a second call ran nothing"}), "cached output"),
    "same_as_another": (replace(evidence(), same_as={"mine:build[c0.25]": ("capacity",)}), "mine:build[c0.25]"),
    "side_stream": (evidence([outcome(escaped=0.25)]), "25 %"),
    "unchecked": (
        evidence(counted={"causality": {"reads_future": None, "tried": True, "reason": "its logits are not numbers"}}),
        "whether it reads later tokens: its logits are not numbers",
    ),
    "starved_device": (evidence([outcome({"starved": [1.0] * 10 + [0.0] * 30})]), "25 %"),
}


def test_every_doubt_is_tested() -> None:
    assert sorted(PLANTED) == DOUBTS


@pytest.mark.parametrize("name", DOUBTS)
def test_a_doubt_finds_what_was_planted_for_it_alone(name: str) -> None:
    planted, words = PLANTED[name]
    found = {other: catalogue.load("warnings", other).check(planted) for other in DOUBTS}
    assert found[name] is not None
    assert words in found[name]
    assert {other for other, said in found.items() if said} == {name}
    doubt = catalogue.load("warnings", name)
    assert doubt.advice.endswith(".")
    assert not doubt.label or doubt.label in found[name]


@pytest.mark.parametrize(
    ("name", "planted", "said", "silent"),
    [
        ("launch_bound", lambda share: evidence([outcome(device_share=share)]), 0.69, 0.7),
        ("side_stream", lambda share: evidence([outcome(escaped=share)]), 0.2, 0.19),
        ("noisy", lambda n: evidence([outcome({"wait_s": [0.009] * n + [0.0] * (40 - n)})]), 10, 8),  # of 40 samples
        ("idle_in_training", lambda share: evidence(counted={"trained_share": share}), 0.59, 0.6),
        ("idle_in_training", lambda share: evidence(counted={"train_forward_share": share}), 0.91, 0.92),
        ("faster_than_flops", faster, 1.85, 1.75),
        ("input_dependent", uneven, 0.0078, 0.0077),
    ],
)
def test_where_a_warning_begins(name: str, planted: Callable[[Any], Evidence], said: float, silent: float) -> None:
    check = catalogue.load("warnings", name).check
    assert check(planted(said)) is not None
    assert check(planted(silent)) is None


CLEAN: dict[str, Any] = {"causality": {"reads_future": False, "change": 0.0}, "reused": None, "claims": []}


@pytest.mark.parametrize(
    "metric", ["latency/forward", "flops/forward", "memory/peak_allocated", "loss/val", "mfu/train_step"]
)
def test_a_clean_cell_is_not_doubted(metric: str) -> None:
    clean = evidence(metric=metric, counted=CLEAN)
    assert [name for name in DOUBTS if catalogue.load("warnings", name).check(clean)] == []


@pytest.mark.parametrize(
    ("own", "metric", "leaks", "labelled"),
    [
        # Generation and causal losses route without the future.
        *((False, f"latency/{call}", True, False) for call in ("decode", "prefill", "request")),
        (False, "loss/val_causal", True, False),
        # A user's loss may do anything: what the guard found of its own routing decides.
        (True, "latency/decode", True, False),  # there is no such cell unless it decodes as its forward pass computes
        (True, "loss/val_causal", False, False),
        (True, "loss/val_causal", True, True),
        (True, "loss/val", False, True),
    ],
)
def test_what_routes_without_the_future_wears_no_label(own: bool, metric: str, leaks: bool, labelled: bool) -> None:
    guard = {"causality": {"reads_future": True, "change": 0.7}}
    found: dict[str, Any] = {"causality": {"reads_future": leaks, "change": 0.7}} if own else {}
    made = evidence([outcome(**found)], metric=metric, counted=guard)
    case = CASE.model_copy(update={"model": "mine.py:build"}) if own else CASE
    said = catalogue.load("warnings", "reads_future").check(replace(made, case=case))
    assert (said is not None) == labelled
