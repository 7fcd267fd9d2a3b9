"""Damaged suite files and absurd arguments through every command: a clear error or a right result, never a traceback.

A few of each here; `tox -e proof` runs 2,000. Nothing is measured. Damage to a run folder is in `harness/test_damaged.py`.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutations
import pytest
from in_process import succeeded

from modbench.harness.core.errors import IncompleteError
from modbench.harness.machine import environment
from modbench.harness.registry import plugin_manifests

pytestmark = pytest.mark.slow

Modbench = Callable[..., subprocess.CompletedProcess[str]]
STOPPED = "stopped before the first unit"
# Examples in CI.
FEW = 12
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


WORDS = (
    *("quick", "decode", "tasks", "nowhere.toml", "dense", "mod", "mine.py:build"),
    *("", " ", "..", "/dev/null", "x" * 5000),
    *("0", "-1", "1e400", "nan", "inf", "9" * 400, "0.5", "1,2,3", ",", "1,,2", "true", "[", "{}", "é", "\u202e", "*"),
)
FLAGS = (
    *("--model", "--capacity", "--seq-len", "--batch-size", "--dtype", "--device", "--seeds", "--corpus", "--set"),
    *("--effort", "-k", "-o", "--baseline", "--fail-on", "--margin", "--launcher", "--json", "--strict", "--compile"),
    *("--allow-inconclusive", "--help", "--version", "--workload", "--comparisons", "--threads", "--no-such-flag"),
)
SETTINGS = (
    *("d_model", "n_layers", "rounds", "processes", "train.tokens"),
    *("grid.seq_len", "capacity", "router", "detectable", "x"),
)
# What would measure for long: module and function.
MEASURES = (
    ("modbench.api", "run"),
    ("modbench.commands.doctor.checkup", "check"),
    ("modbench.plugins.machine.profile.result", "profile"),
    ("modbench.plugins.training.run", "run"),
)
COMMANDS = ("run", "plan", "list", "report", "cost", "doctor", "train", "profile", "gate", "resume", "gat")


def arguments(rng: random.Random) -> list[str]:
    made = [rng.choice(COMMANDS)]
    for _ in range(rng.randrange(6)):
        flag = rng.choice((rng.choice(FLAGS), rng.choice(WORDS)))
        made.append(flag)
        if flag == "--set":
            made.append(f"{rng.choice(SETTINGS)}={rng.choice(WORDS)}")
        elif flag.startswith("--") and rng.random() < 0.7:
            made.append(rng.choice(WORDS))
    return made


@number(FEW, 2000)
def test_arguments_through_every_command(
    n: int, modbench: Modbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> Any:
        raise IncompleteError(STOPPED)

    monkeypatch.setattr(environment, "collect", lambda: {"gpu": {"devices": []}})
    for module, name in MEASURES:
        if plugin_manifests.spec_of(module) is not None:  # a plug-in may be absent
            monkeypatch.setattr(f"{module}.{name}", stopped)
    wrong = []
    for i in range(n):
        given = arguments(random.Random(f"arguments {i}"))
        done = modbench(*given, cwd=tmp_path)
        wrong += [f"{i}: {[each[:40] for each in given]}: {said}" for said in [problem(done, {0, 2, 4, 5})] if said]
    assert not wrong, "\n".join(wrong[:20])
