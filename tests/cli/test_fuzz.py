"""Damaged files and absurd arguments through every command: a clear error or a right result, never a traceback or a wrong number.

12 of each here; `tox -e proof` runs 2,000 suite files, 2,000 unit files and 500 run.json. Nothing is measured: `resume` and
`run` go as far as the first unit.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mutations
import numpy as np
import pandas as pd
import pytest
from planted import ENVIRONMENT, left, planted_suite

from modbench import api
from modbench.harness.core.errors import IncompleteError
from modbench.harness.machine import certificate, environment
from modbench.harness.results import run_folder
from modbench.harness.results.sealed_records import seal
from modbench.reports.page import render
from modbench.reports.tables import load as loading

pytestmark = pytest.mark.slow

Modbench = Callable[..., subprocess.CompletedProcess[str]]
STOPPED = "stopped before the first unit"
# Columns that hold what was measured; others are words and what follows from them.
NUMBERS = ["ratio", "difference", "ci_low", "ci_high", "mean_ratio"]
KEYS = ["case_id", "baseline_case_id", "metric"]
ARMS = [{"model": "dense"}, {"model": "mod", "capacity": 0.5}, {"model": "moe"}]


# Examples in CI; of these every fourth goes through `gate` and `resume` too.
FEW = 12


LONG = (pytest.mark.proof, pytest.mark.timeout(3 * 3600))


def number(few: int, many: int) -> pytest.MarkDecorator:
    """Run with a few examples, and as a proof with many."""
    return pytest.mark.parametrize("n", [few, pytest.param(many, marks=LONG)])


class Folder:
    """A run folder that is damaged file by file, and put back each time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = {file: file.read_bytes() for file in path.rglob("*.json")}
        self.units = sorted(file for file in self.files if file.parent.name == "units")

    def put_back(self) -> None:
        for file in self.path.rglob("*"):
            if file.is_file() and file not in self.files:
                file.unlink()
        for file, content in self.files.items():
            if not file.exists() or file.read_bytes() != content:
                file.write_bytes(content)

    def pairs(self) -> pd.DataFrame:
        return pd.read_csv(self.path / "comparisons.csv").set_index(KEYS)[NUMBERS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    here = tmp_path_factory.mktemp("fuzz")
    made = planted_suite("draft", grid={"seq_len": [64]}, arms=ARMS, launches=3, rounds=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENVIRONMENT, "machine", "here")
        left(here, made)
    return Folder(here / "run")


@pytest.fixture
def fast(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No unit starts, no page is drawn but every 40th, and the other side of a gate is read once."""
    real_html, real_load, drawn = render.html, loading.load, [0]
    base = loading.load(folder.path)

    def html(loaded: Any) -> str:
        drawn[0] += 1
        return real_html(loaded) if drawn[0] % 40 == 0 else ""

    def load(run: str | Path, baseline: str | None = None, **more: Any) -> Any:
        return base if str(run) == "base" else real_load(run, baseline, **more)

    def stopped(*_: Any, **__: Any) -> Any:
        raise IncompleteError(STOPPED)

    monkeypatch.setattr(render, "html", html)
    monkeypatch.setattr(loading, "load", load)
    monkeypatch.setattr(environment, "collect", dict)
    monkeypatch.setattr(certificate, "fingerprint", lambda *_: "here")
    monkeypatch.setattr(api, "_run", stopped)
    monkeypatch.setattr(run_folder, "write_atomically", lambda *_: None)
    yield
    folder.put_back()


def problem(done: subprocess.CompletedProcess[str], codes: set[int]) -> str | None:
    """What is wrong with how a command ended, or None."""
    lines = done.stderr.strip().splitlines()
    if done.returncode not in codes:
        return f"exit code {done.returncode}: {done.stderr[-600:]}"
    if "Traceback" in done.stderr or "bug in modbench" in done.stderr:
        return done.stderr[-600:]
    if done.returncode in {2, 4} and "Usage:" not in done.stderr and not 1 <= len(lines) <= 12:
        return f"{len(lines)} lines: {done.stderr[:600]}"
    if done.returncode == 2 and "Usage:" not in done.stderr and len(lines) > 2:
        return f"{len(lines)} lines: {done.stderr[:600]}"
    return next((f"a line of {len(line)} characters" for line in lines if len(line) > 800), None)


def moved(before: pd.DataFrame, now: pd.DataFrame) -> list[Any]:
    """Numbers of pairs that are in both tables and differ; a number that is gone is said so elsewhere."""
    shared = before.index.intersection(now.index)
    one, two = before.loc[shared], now.loc[shared]
    differ = ~np.isclose(one, two, rtol=1e-12, atol=0) & two.notna().to_numpy()
    return [(shared[row], NUMBERS[column]) for row, column in np.argwhere(differ)]


def sealed_again(made: mutations.Mutation) -> mutations.Mutation:
    """The same damage by somebody who makes the digest anew, where the file is still JSON."""
    try:
        body = json.loads(made.content)
        body.pop("digest", None)
        return made._replace(content=seal(json.dumps(body, separators=(",", ":"))))
    except (ValueError, AttributeError, RecursionError):
        return made


@pytest.mark.parametrize(
    ("n", "resealed"),
    # Without a new digest the digest alone finds them: a few are enough.
    [(4, False), (FEW, True), *(pytest.param(2000, resealed, marks=LONG) for resealed in (False, True))],
)
@pytest.mark.usefixtures("fast")
def test_unit_files_through_report_gate_and_resume(n: int, resealed: bool, folder: Folder, modbench: Modbench) -> None:
    assert modbench("report", folder.path, "--json").returncode == 0
    before, wrong = folder.pairs(), []
    for i in range(n):
        file = folder.units[i % len(folder.units)]
        made = mutations.of_json(folder.files[file], f"unit {i}")
        if resealed:
            made = sealed_again(made)
        if i % 20 == 19:
            other = folder.units[(i * 7 + 1) % len(folder.units)]
            made = mutations.Mutation(f"the file of {other.name}", folder.files[other], plausible=other == file)
        what = f"{i}: {file.name}: {made.name}"
        file.write_bytes(made.content)
        done = modbench("report", folder.path, "--json")
        wrong += [f"report {what}: {said}" for said in [problem(done, {0, 2, 4})] if said]
        if done.returncode in {0, 4} and not made.plausible:
            wrong += [f"report {what}: {place} moved" for place in moved(before, folder.pairs())]
        damaged = done.returncode == 4
        if n <= FEW and i % 4:
            folder.put_back()
            continue
        done = modbench("gate", folder.path, "--against", "base")
        wrong += [f"gate {what}: {said}" for said in [problem(done, {0, 1, 2, 4, 5})] if said]
        if damaged and done.returncode in {0, 5}:
            wrong.append(f"gate {what}: exit code {done.returncode}")
        done = modbench("resume", folder.path)
        wrong += [f"resume {what}: {said}" for said in [problem(done, {2, 4})] if said]
        if damaged and (STOPPED not in done.stderr or (file.exists() and file.read_bytes() == made.content)):
            wrong.append(f"resume {what}: does not run it again: {done.stderr[-300:]}")
        folder.put_back()
    assert not wrong, "\n".join(wrong[:20])


@number(FEW, 500)
@pytest.mark.usefixtures("fast")
def test_run_files_through_report_gate_and_resume(n: int, folder: Folder, modbench: Modbench) -> None:
    assert modbench("report", folder.path, "--json").returncode == 0
    before, wrong = folder.pairs(), []
    file = folder.path / "run.json"
    for i in range(n):
        made = mutations.of_json(folder.files[file], f"run {i}")
        what = f"{i}: {made.name}"
        file.write_bytes(made.content)
        done = modbench("report", folder.path, "--json")
        wrong += [f"report {what}: {said}" for said in [problem(done, {0, 2, 4})] if said]
        if done.returncode in {0, 4}:
            wrong += [f"report {what}: {place} moved" for place in moved(before, folder.pairs())]
        if n > FEW or i % 4 == 0:
            done = modbench("gate", folder.path, "--against", "base")
            wrong += [f"gate {what}: {said}" for said in [problem(done, {0, 1, 2, 4, 5})] if said]
            done = modbench("resume", folder.path)
            wrong += [f"resume {what}: {said}" for said in [problem(done, {2, 4})] if said]
        folder.put_back()
    assert not wrong, "\n".join(wrong[:20])


@number(6, 300)
@pytest.mark.usefixtures("fast")
def test_other_files_of_a_run_folder(n: int, folder: Folder, modbench: Modbench) -> None:
    end = folder.path / "finished.json"
    content = b'{"wall_s": 10.0, "timed_wall_s": 5.0, "parent_cpu_s": 0.1, "resumed": false}'
    wrong = []
    for i in range(n):
        made = mutations.of_json(content, f"end {i}")
        end.write_bytes(made.content)
        done = modbench("report", folder.path, *(() if i % 3 == 0 else ("--json",)))
        wrong += [f"{i}: {made.name}: {said}" for said in [problem(done, {0, 2})] if said]
        folder.put_back()
    assert not wrong, "\n".join(wrong[:20])


SUITE: dict[str, Any] = {
    "name": "fuzzed",
    "effort": "draft",
    "launches": 1,
    "rounds": 2,
    "metrics": ["flops/forward", "latency/forward", "memory/peak_allocated", "loss/val"],
    "shape": {"d_model": 32, "n_layers": 2, "n_heads": 2},
    "grid": {"seq_len": [16], "batch_size": [1], "dtype": ["fp32"]},
    "decode": {"tokens": 8},
    "seeds": [0, 1],
    "margin": 0.02,
    "arms": [
        {"model": "dense", "anchor": True},
        {"model": "dense", "match": {"arm": "mod", "capacity": 0.25}},
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
    done = modbench("plan", file, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    for i in range(n):
        made = mutations.of_toml(SUITE | {"corpus": str(tiny_corpus)}, f"suite {i}")
        file.write_bytes(made.content)
        done = modbench("plan", file, "--device", "cpu")
        wrong += [f"plan {i}: {made.name}: {said}" for said in [problem(done, {0, 2})] if said]
    assert not wrong, "\n".join(wrong[:20])


WORDS = (
    *(
        "quick",
        "decode",
        "tasks",
        "nowhere.toml",
        "dense",
        "mod",
        "mine.py:build",
        "",
        " ",
        "..",
        "/dev/null",
        "x" * 5000,
    ),
    *("0", "-1", "1e400", "nan", "inf", "9" * 400, "0.5", "1,2,3", ",", "1,,2", "true", "[", "{}", "é", "\u202e", "*"),
)
FLAGS = (
    *("--model", "--capacity", "--seq-len", "--batch-size", "--dtype", "--device", "--seeds", "--corpus", "--set"),
    *("--effort", "-k", "-o", "--baseline", "--against", "--margin", "--launcher", "--json", "--strict"),
    *("--compile", "--lenient", "--help", "--version", "--workload", "--comparisons", "--threads", "--no-such-flag"),
)
SETTINGS = (
    "d_model",
    "n_layers",
    "rounds",
    "launches",
    "train.tokens",
    "grid.seq_len",
    "capacity",
    "router",
    "mde",
    "x",
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
@pytest.mark.usefixtures("fast")
def test_arguments_through_every_command(
    n: int, modbench: Modbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modbench.commands.doctor import checkup
    from modbench.commands.profile import module_profile
    from modbench.commands.train import training_run

    def stopped(*_: Any, **__: Any) -> Any:
        raise IncompleteError(STOPPED)

    for module, name in ((checkup, "check"), (module_profile, "profile"), (training_run, "run"), (api, "run")):
        monkeypatch.setattr(module, name, stopped)
    wrong = []
    for i in range(n):
        given = arguments(random.Random(f"arguments {i}"))
        done = modbench(*given, cwd=tmp_path)
        wrong += [f"{i}: {[each[:40] for each in given]}: {said}" for said in [problem(done, {0, 2, 4, 5})] if said]
    assert not wrong, "\n".join(wrong[:20])
