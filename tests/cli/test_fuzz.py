"""Damaged suite files and absurd arguments through every command: a clear error or a right result, never a traceback.

A few of each here; `tox -e proof` runs 2,000. Nothing is measured. Damage to a run folder is in `harness/test_damaged.py`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutations
import pytest
from in_process import succeeded

pytestmark = pytest.mark.slow

Modbench = Callable[..., subprocess.CompletedProcess[str]]
LONG = (pytest.mark.proof, pytest.mark.timeout(3 * 3600))


def number(few: int, many: int) -> pytest.MarkDecorator:
    """Run with a few examples, and as a proof with many."""
    return pytest.mark.parametrize("n", [few, pytest.param(many, marks=LONG)])


def problem(done: subprocess.CompletedProcess[str], codes: set[int]) -> str | None:
    """What is wrong with how a command ended, or None."""
    lines, usage = done.stderr.strip().splitlines(), "Usage:" in done.stderr
    if done.returncode not in codes or "Traceback" in done.stderr or "bug in modbench" in done.stderr:
        return f"exit code {done.returncode}: {done.stderr[-600:]}"
    if not usage and done.returncode in {2, 4} and not 1 <= len(lines) <= (2 if done.returncode == 2 else 12):
        return f"{len(lines)} lines: {done.stderr[:600]}"
    return next((f"a line of {len(line)} characters" for line in lines if len(line) > 800), None)


SUITE: dict[str, Any] = {
    "name": "fuzzed",
    "effort": "draft",
    "processes": 1,
    "rounds": 2,
    "metrics": ["flops/forward", "latency/forward", "memory/peak_allocated", "loss/val"],
    "shape": {"d_model": 32, "n_layers": 2, "n_heads": 2},
    "grid": {"seq_len": [16], "batch_size": [1], "dtype": ["fp32"]},
    "decode": {"tokens": 8},
    "seeds": [0, 1],
    "margin": 0.02,
    "variants": [
        {"model": "dense", "baseline": True},
        {"model": "dense", "match": {"variant": "mod", "capacity": 0.25}},
        {"model": "mod", "capacity": [0.25, 0.5], "every": 2, "router": "learned"},
        {"model": "moe", "n_experts": 4},
    ],
    "train": {"seq_len": 32, "batch_size": 2, "tokens": 512, "val_tokens": 256, "lr": 0.001},
}


@number(6, 2000)
def test_suite_files_through_plan(n: int, modbench: Modbench, tmp_path: Path, tiny_corpus: Path) -> None:
    file, wrong = tmp_path / "fuzzed.toml", []
    whole = mutations.toml(SUITE | {"corpus": str(tiny_corpus)})
    file.write_bytes(whole)
    done = succeeded(modbench("plan", file, "--device", "cpu"))
    for i in range(n):
        made = mutations.of_toml(SUITE | {"corpus": str(tiny_corpus)}, f"suite {i}")
        file.write_bytes(made.content)
        done = modbench("plan", file, "--device", "cpu")
        wrong += [f"plan {i}: {made.name}: {said}" for said in [problem(done, {0, 2})] if said]
    assert not wrong, "\n".join(wrong[:20])
