"""`modbench train`: one model and its weights, a folder that is full or holds another run, and mistakes."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fault_injection import largest_file
from in_process import succeeded

from modbench.harness.core.config import ModelConfig
from modbench.harness.registry import catalogue


@pytest.fixture(autouse=True)
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("".join(f"{i} sheep jump over {i} fences. " for i in range(900)))


@pytest.mark.slow
def test_one_model_is_trained_and_its_weights_are_kept(modbench: Any, tmp_path: Path) -> None:
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
    config = ModelConfig.model_validate({"d_model": 32, "max_seq_len": 32, **catalogue.model_options("mod")})
    catalogue.load("models", "mod").build(config).load_state_dict(torch.load(weights, weights_only=True))
    assert (tmp_path / "out" / "cases.csv").exists()
    seen = json.loads((tmp_path / "out" / "progress.json").read_text())
    assert (seen["state"], seen["resumable"], seen["running"]) == ("finished", False, [])
    assert sum(group["done"] for group in seen["groups"]) == len(list((tmp_path / "out" / "jobs").iterdir()))
    again = modbench("resume", "out", cwd=tmp_path)  # it would leave no weights
    assert again.returncode == 2
    assert "command with -o out" in again.stderr
    other = modbench("train", "dense", "--corpus", "text.txt", "-o", "out", cwd=tmp_path)
    assert other.returncode == 2
    assert "holds another run" in other.stderr


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
        (["train", "dense", "--set", "vocab_size=abc"], "vocab_size: 'abc' is not a whole number"),
        (["train", "mod", "--capacity", "0.125,0.5"], "one model"),
        (["train", "dense", "--set", "metrics=flops/forward"], "this would train nothing"),
    ],
)
def test_a_mistake_ends_in_words_and_2(modbench: Any, arguments: list[str], words: str, tmp_path: Path) -> None:
    done = modbench(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
