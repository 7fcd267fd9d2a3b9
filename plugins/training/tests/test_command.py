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

pytestmark = pytest.mark.slow

TRAIN = ["train", "mod", "--corpus", "text.txt", "--seq-len", "32", "--batch-size", "4", "--device", "cpu", "-o", "out"]


@pytest.fixture(autouse=True)
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("".join(f"{i} sheep jump over {i} fences. " for i in range(900)))


def train(*settings: str) -> list[str]:
    return [*TRAIN, "--set", "d_model=32", *(word for setting in settings for word in ("--set", setting))]


def progress() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("out/progress.json").read_text())
    return found


def test_one_model_is_trained_and_its_weights_are_kept(modbench: Any) -> None:
    done = succeeded(modbench(*train("train.steps=12", "train.val_tokens=256")))
    for words in ("12 steps of 128 tokens", "loss/val_causal", "weights: out/weights", "report: out/report.html"):
        assert words in done.stdout
    answer = done.stdout.splitlines()[0]
    assert answer.startswith("mod[c0.125-T32-B4-fp32-cpu1]: loss/val ")
    assert "non-causal routing" in answer
    assert "step 12/12, loss " in done.stderr
    (weights,) = Path("out/weights").iterdir()
    config = ModelConfig.model_validate({"d_model": 32, "max_seq_len": 32, **catalogue.model_options("mod")})
    catalogue.load("models", "mod").build(config).load_state_dict(torch.load(weights, weights_only=True))
    assert Path("out/cases.csv").exists()
    seen = progress()
    assert (seen["state"], seen["resumable"], seen["running"]) == ("finished", False, [])
    assert sum(group["done"] for group in seen["groups"]) == len(list(Path("out/jobs").iterdir()))
    for command, said in (
        ("resume out", "command with -o out"),  # it would leave no weights
        ("train dense --corpus text.txt -o out", "holds another run"),
    ):
        refused = modbench(*command.split())
        assert refused.returncode == 2
        assert said in refused.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of files")
def test_a_disk_that_takes_no_more_ends_in_one_line_and_training_goes_on(modbench: Any) -> None:
    """The system refuses every file beyond a size: here the weights, and with them the record."""
    words = train("n_layers=2", "train.steps=40", "train.val_tokens=512")
    with largest_file(60_000):
        done = modbench(*words)
    assert done.returncode == 3, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("modbench: ")]
    for part in ("out/weights/train-mod", os.strerror(errno.EFBIG), "command with -o out"):
        assert part in said
    kept = {file: file.read_bytes() for file in Path("out/jobs").iterdir()}
    assert progress()["state"] == "failed"
    assert os.strerror(errno.EFBIG) in progress()["note"]
    succeeded(modbench(*words))
    assert all(file.read_bytes() == content for file, content in kept.items())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("dense --set train.steps=-1", "train.steps"),
        ("dense --seq-len 8,16", "--seq-len 8,16"),
        ("dense --set train.tokenizer=bpe", "Set vocab_size=257 or more"),
        ("mod --capacity 0.125,0.5", "one model"),
        ("dense --set metrics=flops/forward", "this would train nothing"),
    ],
)
def test_a_mistake_ends_in_words_and_2(modbench: Any, arguments: str, words: str) -> None:
    done = modbench("train", *arguments.split())
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
