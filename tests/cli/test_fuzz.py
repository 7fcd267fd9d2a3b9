"""Damaged suites and absurd arguments: an error in a line or two or a right result, never a traceback.

A few of each here; `tox -e proof` tries 2,000. Nothing is measured. Damage to a run folder is in `harness/test_damaged.py`.
"""

from __future__ import annotations

import copy
import functools
import operator
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from plant import TEXT

from modbench.harness.core.errors import IncompleteError, UsageError
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.plan import make_plan
from modbench.harness.registry import plugin_manifests

pytestmark = pytest.mark.slow

FEW, MANY = 40, pytest.param(2000, marks=(pytest.mark.proof, pytest.mark.timeout(3 * 3600)))
LONGEST = 800
SUITE: dict[str, Any] = {
    "name": "fuzzed",
    "effort": "draft",
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
VALUES: tuple[Any, ...] = (
    *(True, "", "5", "nan", "\x00", "é\u202e", "x" * 20_000, [], [[]], [0] * 20_000, {}, {"a": 1}),
    *(float("nan"), float("inf"), 1e308, 1e-320, -1, -0.5, 0, 1, 10**400, 2**64),
)


def places(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the places of a tree, without its root."""
    items: Any = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*place, key)
        yield from places(value, (*place, key))


@pytest.mark.parametrize("n", [FEW, MANY])
def test_a_damaged_suite_is_refused_or_planned(n: int) -> None:
    said = [""]
    for i in range(n):
        rng, suite = random.Random(f"suite {i}"), copy.deepcopy(SUITE)
        for _ in range(rng.choice((1, 1, 2))):
            *above, key = rng.choice([*places(suite)])
            within = functools.reduce(operator.getitem, above, suite)
            within[key] = rng.choice(VALUES)
            if rng.random() < 0.2:
                del within[key]
        try:
            make_plan(parse_suite(suite, "fuzzed"), device="cpu", text=TEXT)
        except UsageError as error:
            said.append(str(error))
    assert 0 < len(said) - 1 < n
    assert not any("\n" in each for each in said)
    assert max(map(len, said)) < LONGEST


COMMANDS = ("run", "plan", "list", "report", "cost", "doctor", "train", "profile", "gate", "resume", "gat")
WORDS = (
    *("quick", "decode", "tasks", "nowhere.toml", "dense", "mod", "mine.py:build"),
    *("", " ", "..", "/dev/null", "x" * 5000),
    *("0", "-1", "1e400", "nan", "inf", "9" * 400, "0.5", "1,2,3", ",", "1,,2", "true", "[", "{}", "é", "\u202e", "*"),
    *("--model", "--capacity", "--seq-len", "--batch-size", "--dtype", "--device", "--seeds", "--corpus", "--strict"),
    *("--effort", "-k", "-o", "--baseline", "--fail-on", "--margin", "--launcher", "--json", "--set", "--compile"),
    *("--allow-inconclusive", "--help", "--version", "--workload", "--comparisons", "--threads", "--no-such-flag"),
    *(
        "d_model=0",
        "n_layers=nan",
        "rounds=",
        "train.tokens=[",
        "grid.seq_len=1e400",
        "capacity=-1",
        "router={}",
        "x=1",
    ),
)
# What would measure for long: module and function.
MEASURES = (
    ("modbench.api", "run"),
    ("modbench.commands.doctor.checkup", "check"),
    ("modbench.plugins.machine.profile.result", "profile"),
    ("modbench.plugins.training.run", "run"),
)


@pytest.mark.parametrize("n", [FEW, MANY])
def test_absurd_arguments_end_in_lines(
    n: int,
    modbench: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*_: Any, **__: Any) -> Any:
        raise IncompleteError("stopped before the first job")

    for module, name in MEASURES:
        if plugin_manifests.spec_of(module) is not None:  # a plug-in may be absent
            monkeypatch.setattr(f"{module}.{name}", stopped)
    for i in range(n):
        rng = random.Random(f"arguments {i}")
        done = modbench(rng.choice(COMMANDS), *rng.choices(WORDS, k=rng.randrange(8)), cwd=tmp_path)
        said = done.stderr
        assert done.returncode in {0, 2, 4, 5}, said
        assert "Traceback" not in said, said
        assert "bug in modbench" not in said, said
        assert max(map(len, ["", *said.splitlines()])) < LONGEST, said
        assert done.returncode != 2 or "Usage:" in said or len(said.splitlines()) <= 2, said
