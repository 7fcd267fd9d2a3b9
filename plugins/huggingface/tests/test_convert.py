"""`modbench convert hf:… --to mod`: what it writes, what tuning changes and what it does not, and what it refuses."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from in_process import succeeded

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("tokenizers", reason="the extra bpe is not installed")

from fault_injection import largest_file  # after the checks
from hf_folders import SHAPE, tokenizer
from hf_tiny import dense
from safetensors.torch import load_file
from tokenizers import normalizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from modbench.plugins.huggingface.mod import build

Typed = Callable[[str], subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.slow

TEXT = "the cat sat on the mat. a dog ran to the sea. " * 400
STEPS = 40
HERE = "convert hf:model --to mod --out out --corpus model/text.txt --seq-len 32"
# 256 held-out tokens; layers 0 and 2 of three are routed.
FULL = f"{HERE} --val-tokens 256 --batch-size 8 --first-routed 0 --capacity 0.5"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama that knows the text, with a tokenizer of 256 bytes and some pairs; the text beside it."""
    folder = tmp_path_factory.mktemp("source")
    made = tokenizer(size=270, learned_from=TEXT)
    model = dense("llama", vocab_size=270)
    ids = torch.tensor(made.encode(TEXT).ids[:4096]).view(-1, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(60):
        rows = ids[step % 16 :: 16]
        optimizer.zero_grad()
        model(rows, labels=rows).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(folder)
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text())))  # the library would write it in lines
    (folder / "text.txt").write_text(TEXT)
    return folder


@pytest.fixture
def folder(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, `model`, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(source, "model"))


@pytest.fixture
def typed(modbench: Any) -> Typed:
    """Runs a command as it is typed."""
    return lambda line: modbench(*shlex.split(line))


def test_tuning_lowers_the_loss_and_changes_routers_alone(typed: Typed, folder: Path) -> None:
    done = succeeded(typed(f"{FULL} --start random --tune-steps {STEPS} --lr 0.01 --json"))
    told = json.loads(done.stdout)
    assert (told["routed_layers"], told["layers"], told["tuning"]["steps"]) == ([0, 2], 3, STEPS)
    before, after = told["losses"]["before tuning"], told["losses"]["after tuning"]
    assert before["dense"] == after["dense"]
    for rule in ("top_k", "threshold"):
        assert after[rule]["nats_per_token"] < before[rule]["nats_per_token"] - 0.2, rule
        assert after[rule]["gap"] == pytest.approx(after[rule]["nats_per_token"] - after["dense"]["nats_per_token"])
        assert after[rule]["gap_low"] < after[rule]["gap"] < after[rule]["gap_high"]
    assert after["top_k"]["processed"] == 0.5
    assert json.loads(Path("out/modbench_convert.json").read_text())["losses"] == told["losses"]
    was, now = load_file(folder / "model.safetensors"), load_file("out/model.safetensors")
    assert all(torch.equal(now[name], value) for name, value in was.items())
    assert {name for name in now if name not in was} == {name for name in now if ".router." in name}


@pytest.mark.usefixtures("jobs_here", "undrawn")
def test_what_it_writes_is_a_model_for_transformers_and_for_modbench(typed: Typed, folder: Path) -> None:
    """And what it prints at the end runs as it is; a run finds the losses that it told."""
    Path("tail.txt").write_text(TEXT + "0123456789" * 200)  # the last tokens are shorter than those that are scored
    out = Path("a/routed").absolute()
    done = succeeded(typed(f"{FULL} --causal predictor --every 1 --corpus tail.txt --out {out}"))
    assert re.search(r"layers 0, 1, 2 .*capacity 0\.5\b", done.stdout)
    told = json.loads((out / "modbench_convert.json").read_text())["losses"]["not tuned"]
    gap, low, high = (told["predictor"][key] for key in ("gap", "gap_low", "gap_high"))
    assert done.stdout.startswith(f"{gap:+.3f} [{low:+.3f}, {high:+.3f}] ")
    assert not list(out.parent.glob(".*"))
    assert (out / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    measure, decode, load, then = done.stdout.splitlines()[-4:]
    small = "--effort smoke --device cpu --corpus tail.txt --seq-len 32 --set train.seq_len=32"
    succeeded(typed(f"plan {measure.removeprefix('measure: modbench run')} {small}"))
    small += " --batch-size 1 --seeds 0 --set decode.tokens=4 --set train.val_tokens=256 -o run"
    metrics = "metrics=latency/decode,loss/val_causal,bpb/val"
    succeeded(typed(f"{decode.removeprefix('decode:  modbench ')} {small} --set {metrics}"))
    cases = pd.read_csv("run/cases.csv").set_index("metric")
    assert list(cases.loc["loss/val_causal"].value) == pytest.approx(
        [told[rule]["nats_per_token"] for rule in ("dense", "predictor")], rel=1e-5
    )
    bits = [told[rule]["bits_per_byte"] for rule in ("dense", "top_k")]
    assert list(cases.loc["bpb/val"].value) == pytest.approx(bits, rel=1e-5)
    names = dict[str, Any]()
    exec(f"{load.removeprefix('load:').strip()}\n{then.strip()}", names)  # noqa: S102  # what is printed must run as it is
    assert names["model"].options.causal == "predictor"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(str(out)), AutoTokenizer.from_pretrained(str(out))
    prompts = tokenizer(["the cat sat"], return_tensors="pt", return_token_type_ids=False)
    generated = model.generate(**prompts, max_new_tokens=4, do_sample=False)
    assert tokenizer.decode(generated[0]).startswith("the cat sat")
    with torch.no_grad():
        logits_BTV = build(None, path=str(out))(prompts["input_ids"], causal=True)
        assert torch.equal(logits_BTV, model(**prompts, use_cache=False).logits)


CONVERTED = json.dumps({**SHAPE, "model_type": "mod_llama"}).encode()
# The files of the folder that change (None: taken away), the command, and what is said.
REFUSED: dict[str, tuple[dict[str, bytes | None], str, str]] = {
    "no model": ({}, "convert hf:org/name --to mod --out out", "no such folder, and nothing is downloaded"),
    "no task": ({}, "convert hf:model --out out", "needs --to mod"),
    "no folder": ({}, "convert hf:model --to mod", "needs --out DIR"),
    "no run of times": ({}, "convert times.json", "needs --into RUN"),
    "a folder that is full": ({}, f"{HERE} --out model", "exists already: name a new folder"),
    "a capacity": ({}, f"{HERE} --capacity 1.5", "capacity 1.5 is outside (0, 1]"),
    "no routed layer": ({}, f"{HERE} --first-routed 3", "layers 0 to 2, so none would be routed"),
    "a rule": ({}, f"{HERE} --causal none", "must be threshold or predictor"),
    "a length": ({}, f"{HERE} --seq-len 128", "the model reads at most 64 tokens"),
    "a converted model": ({"config.json": CONVERTED}, HERE, "is converted already"),
    "no weights": ({"model.safetensors": None}, HERE, "no weights (*.safetensors)"),
    "no tokenizer": ({"tokenizer.json": None, "tokenizer_config.json": None}, HERE, "save_pretrained("),
    "a tokenizer": ({"tokenizer.json": b"[]"}, HERE, "tokenizer"),
    "its length": ({"tokenizer_config.json": b'{"model_max_length": "x"}'}, HERE, "tokenizer"),
}


@pytest.mark.parametrize(("files", "line", "said"), REFUSED.values(), ids=REFUSED)
def test_what_it_refuses(typed: Typed, folder: Path, files: dict[str, bytes | None], line: str, said: str) -> None:
    """In a line with what would work, exit code 2, and nothing written."""
    for name, content in files.items():
        (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    done = typed(line)
    assert done.returncode == 2, (done.stdout, done.stderr)
    (found,) = [line for line in done.stderr.splitlines() if line.startswith("modbench: ")]
    assert said in done.stderr
    assert len(found) < 700
    assert "Traceback" not in done.stderr
    assert list(Path().iterdir()) == [folder]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of files")
def test_a_disk_that_takes_no_more_ends_in_one_line(typed: Typed, folder: Path) -> None:
    with largest_file(60_000):
        done = typed(FULL)
    assert done.returncode == 3, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("modbench: ")]
    assert said.startswith(f"modbench: out: {os.strerror(errno.EFBIG)}. ")
    assert "then repeat the command" in said
    assert list(Path().iterdir()) == [folder]
    assert typed(FULL).returncode == 0


def test_a_tokenizer_that_loses_text_is_refused_as_run_refuses_it(typed: Typed, folder: Path) -> None:
    """Bits per byte of its tokens would be those of another text."""
    made = tokenizer(size=270, learned_from=TEXT)
    made.normalizer = normalizers.Lowercase()
    made.save(str(folder / "tokenizer.json"))
    (folder / "text.txt").write_text("A Cat sat. " * 800)
    run = "run quick --model hf:model --only --effort smoke --device cpu --corpus model/text.txt --seq-len 32 -o run"
    said = []
    for done in (typed(f"{run} --set train.steps=0 --set train.seq_len=32"), typed(FULL)):
        assert (done.returncode, done.stdout) == (2, ""), (done.stdout, done.stderr)
        said.append(done.stderr)
    assert "first at byte 0" in said[0]
    assert said[0].replace("hf:model", f"hf:{folder.absolute()}") == said[1]
    assert not Path("out").exists()
