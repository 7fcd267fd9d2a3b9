"""Training from the command line: one model, a run that is killed and resumed, and mistakes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from fault_injection import largest_file
from in_process import succeeded
from resealed import reseal

from modbench.harness.results.json_files import read_sealed
from modbench.reports.writers import html

pytestmark = pytest.mark.usefixtures("undrawn")  # words of pages are looked at

SUITE = """
name = "little"
metrics = ["loss/val", "loss/val_causal", "loss/gap", "bpb/val", "router/participation", "task/copy"]
seeds = [0]
corpus = "text.txt"
[shape]
d_model = 32
n_layers = 2
[grid]
seq_len = [32]
[[variants]]
model = "mod"
capacity = 0.25
[tasks]
steps = 8
batch_size = 4
[train]
seq_len = 32
batch_size = 4
steps = 100
val_tokens = 256
looks = 2
watch = true
flips = 8
checkpoint_s = 0.1
"""


def grid_point(folder: Path, **changes: str) -> Path:
    (folder / "text.txt").write_text("".join(f"{i} sheep jump over {i} fences. " for i in range(900)))
    text = SUITE
    for old, new in changes.items():
        text = text.replace(old.replace("_", " "), new)
    (folder / "little.toml").write_text(text)
    return folder


def curves(run: Path) -> dict[str, list[float]]:
    """Training losses by unit."""
    found = {}
    for file in sorted((run / "jobs").glob("train-*.json")):
        outcomes = json.loads(file.read_text())["outcomes"]
        notes = next(outcome["notes"] for outcome in outcomes if outcome["status"] == "ok")
        if notes.get("curve"):
            found[file.name] = notes["curve"]["loss"]
    return found


def looks(run: Path) -> dict[str, Any]:
    """What looks found during training, by unit."""
    found = {}
    for file in sorted((run / "jobs").glob("train-*.json")):
        for outcome in json.loads(file.read_text())["outcomes"]:
            if outcome["notes"].get("looks"):
                found[file.name] = outcome["notes"]["looks"]
    return found


@pytest.fixture(scope="module")
def whole(modbench: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, uninterrupted."""
    folder = grid_point(tmp_path_factory.mktemp("whole"))
    with mock.patch.object(html, "to_svg", return_value="<svg></svg>"):
        done = modbench("run", "little.toml", "-o", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_a_killed_run_is_gone_on_with_to_the_bit(modbench: Any, whole: Path, tmp_path: Path) -> None:
    """Killed without warning while it trains; what has a record stays, the rest goes on from its checkpoint."""
    folder = grid_point(tmp_path)
    command = [sys.executable, "-m", "modbench", "run", "little.toml", "-o", "run"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not list((folder / "run").glob("checkpoints/train-*.pt")) and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list((folder / "run").glob("checkpoints/train-*.pt"))
    before = {file.name: file.read_bytes() for file in (folder / "run" / "jobs").iterdir()}
    for name in before:  # as of a worker that was killed when its record stood and its checkpoint did too
        (folder / "run" / "checkpoints" / name).with_suffix(".pt").touch()
    succeeded(modbench("resume", "run", cwd=folder))
    assert curves(folder / "run") == curves(whole)
    for name, content in before.items():
        assert (folder / "run" / "jobs" / name).read_bytes() == content
    assert not (folder / "run" / "checkpoints").exists()
    # What looks saw before the kill is there too.
    for name, steps in looks(whole).items():
        assert looks(folder / "run")[name] == steps
    for file in (whole / "artifacts").iterdir():
        mine, theirs = (json.loads((run / "artifacts" / file.name).read_text()) for run in (folder / "run", whole))
        assert mine == theirs
    resumed = [json.loads(file.read_text()) for file in (folder / "run" / "jobs").glob("train-*.json")]
    assert any(outcome["notes"].get("resumed_at", 0) > 0 for record in resumed for outcome in record["outcomes"])


def test_a_run_leaves_what_its_routers_did(whole: Path) -> None:
    found = {file.name: read_sealed(file) for file in (whole / "artifacts").iterdir()}
    mod = next(body for name, body in found.items() if "mod" in name)
    assert set(mod) == {"routing", "flips", "drift"}
    assert mod["routing"]["summary"]["participation"] == pytest.approx(0.25)
    page = (whole / "report.html").read_text()
    for title in ("Which words go", "What can they", "Who passes"):
        assert title in page


def test_a_damaged_unit_and_one_whose_worker_died_are_measured_again(
    modbench: Any, whole: Path, tmp_path: Path
) -> None:
    """A bit of a record is flipped: its cells fail, and the file stays. What a parent wrote of a death is replaced."""
    run = shutil.copytree(whole, tmp_path / "run")
    shutil.copy(whole.parent / "text.txt", tmp_path)
    flipped, dead = sorted((run / "jobs").glob("train-mod*"), key=lambda file: "copy" in file.name)
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    record = json.loads(dead.read_text())
    for outcome in record["outcomes"]:
        outcome |= {"status": "failed", "kind": "oom", "reason": "killed", "samples": {}, "notes": {}}
    reseal(dead, record | {"environment": None, "died": {"kind": "oom", "reason": "killed"}, "wall_s": 0.0})
    shutil.rmtree(run / "logs")  # as a copy may have lost it
    before = {file.name: file.stat().st_mtime_ns for file in (run / "jobs").iterdir()}
    done = modbench("report", "run", cwd=tmp_path)
    assert done.returncode == 4
    assert f"jobs/{flipped.name}: damaged: its content is not what was written" in done.stderr
    succeeded(modbench("resume", "run", cwd=tmp_path))
    assert curves(run) == curves(whole)
    assert flipped.with_suffix(".json.damaged").read_bytes() == content
    changed = {name for name, at in before.items() if (run / "jobs" / name).stat().st_mtime_ns != at}
    assert changed == {flipped.name, dead.name}
    assert {json.loads(dead.read_text())["outcomes"][0]["status"]} == {"ok"}


@pytest.mark.slow
def test_one_model_is_trained_and_its_weights_are_kept(modbench: Any, tmp_path: Path) -> None:
    grid_point(tmp_path)
    said = ["train", "mod", "--corpus", "text.txt", "--seq-len", "32", "--batch-size", "4"]
    settings = ["d_model=32", "train.steps=12", "train.val_tokens=256"]
    done = succeeded(
        modbench(*said, *(word for setting in settings for word in ("--set", setting)), "-o", "out", cwd=tmp_path)
    )
    for words in ("12 steps of 128 tokens", "loss/val_causal", "weights: out/weights", "report: out/report.html"):
        assert words in done.stdout
    answer = done.stdout.splitlines()[0]
    assert answer.startswith("mod[c0.125-T32-B4-fp32-cpu1]: loss/val ")
    assert "non-causal routing" in answer
    assert "step 12/12, loss " in done.stderr
    (weights,) = (tmp_path / "out" / "weights").iterdir()
    import torch

    from modbench.harness.core.config import ModelConfig
    from modbench.harness.registry import catalogue

    config = ModelConfig.model_validate({"d_model": 32, "max_seq_len": 32, **catalogue.model_options("mod")})
    catalogue.load("models", "mod").build(config).load_state_dict(torch.load(weights, weights_only=True))
    assert (tmp_path / "out" / "cases.csv").exists()
    seen = json.loads((tmp_path / "out" / "progress.json").read_text())
    assert (seen["state"], seen["resumable"], seen["running"]) == ("finished", False, [])
    assert sum(group["done"] for group in seen["groups"]) == len(list((tmp_path / "out" / "jobs").iterdir()))
    again = modbench("resume", "out", cwd=tmp_path)  # it would leave no weights
    assert again.returncode == 2
    assert "command with -o out" in again.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no limits of files")
def test_a_disk_that_takes_no_more_ends_in_one_line_and_training_goes_on(modbench: Any, tmp_path: Path) -> None:
    """The system refuses every file beyond a size: here the weights, and with them the record."""
    words = [
        "train",
        "mod",
        "--capacity",
        "0.25",
        "--seq-len",
        "32",
        "--batch-size",
        "4",
        "--device",
        "cpu",
        "-o",
        "run",
    ]
    settings = ("d_model=32", "n_layers=2", "train.steps=40", "train.val_tokens=512")
    words += ["--corpus", "text.txt", *(word for setting in settings for word in ("--set", setting))]
    grid_point(tmp_path)
    with largest_file(60_000):
        done = modbench(*words, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("modbench: ")]
    assert "run/weights/train-mod" in said
    assert os.strerror(errno.EFBIG) in said
    assert "command with -o run" in said
    kept = {file.name: file.read_bytes() for file in (tmp_path / "run" / "jobs").iterdir()}
    seen = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert seen["state"] == "failed"
    assert os.strerror(errno.EFBIG) in seen["note"]
    done = succeeded(modbench(*words, cwd=tmp_path))
    assert all((tmp_path / "run" / "jobs" / name).read_bytes() == content for name, content in kept.items())


def test_budgets_of_flops_make_cheaper_models_go_further(modbench: Any, tmp_path: Path) -> None:
    grid_point(tmp_path)
    said = ["plan", "little.toml", "--set", "train.flops=1e10", "--json"]
    told = json.loads(modbench(*said, cwd=tmp_path).stdout)
    assert told["training"]["runs"] == 2
    assert told["training"]["epochs"] > 0
    assert told["training"]["grid_points"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "nope"], "unknown model 'nope'"),
        (["train", "dense", "--corpus", "nowhere"], "neither"),
        (["train", "dense", "--set", "train.steps=-1"], "train.steps"),
        (["train", "dense", "--set", "train.stepz=3"], "Did you mean 'train.steps'?"),
        (["train", "dense", "--seq-len", "8,16"], "--seq-len 8,16"),
        (["train", "dense", "--set", "train.tokenizer=bpe"], "Set vocab_size=257 or more"),
        (["train", "dense", "--set", "train.accumulate=3", "--batch-size", "4"], "does not divide"),
        (["resume", "nowhere"], "'nowhere'"),
        (["run", "tasks", "--set", "isoflop.train_flops=[1e9]"], "it has no [isoflop]"),
        (["plan", "tasks", "--set", 'metrics=["task/nli_pairs"]'], "--set tasks.paths.nli_pairs=PATH"),
        (["plan", "tasks", "--set", "tasks.paths.copy=x"], "makes its own questions"),
        (["plan", "tasks", "--set", 'tasks.paths={copy="x"}'], "makes its own questions"),
        (["train", "dense", "--set", "vocab_size=abc"], "vocab_size: 'abc' is not a whole number"),
        (["train", "mod", "--capacity", "0.125,0.5"], "one model"),
        (["train", "dense", "--set", "metrics=flops/forward"], "this would train nothing"),
        (["plan", "tasks", "--set", "tasks.paths.nothing=x"], "unknown metric 'task/nothing'"),
        (["plan", "quick", "--set", 'metrics=["task/nothing"]'], "unknown metric 'task/nothing'"),
    ],
)
def test_a_mistake_ends_in_words_and_2(modbench: Any, arguments: list[str], words: str, tmp_path: Path) -> None:
    done = modbench(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_a_folder_of_another_run_is_not_gone_on_with(modbench: Any, whole: Path) -> None:
    done = modbench("train", "dense", "--corpus", "text.txt", "-o", str(whole), cwd=whole.parent)
    assert done.returncode == 2
    assert "holds another run" in done.stderr
