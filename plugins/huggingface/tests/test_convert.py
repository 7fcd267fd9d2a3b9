"""`modbench convert hf:… --to mod`: what it writes, what tuning changes and what it does not, and what it refuses."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shlex
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from in_process import succeeded

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("tokenizers", reason="the extra bpe is not installed")

from fault_injection import largest_file  # after the checks
from hf_folders import tokenizer
from hf_tiny import dense
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from modbench.commands.init.starts import commands_for
from modbench.harness.core.errors import UsageError
from modbench.harness.core.plain_text import SCREEN
from modbench.plugins.huggingface import to_mod
from modbench.plugins.huggingface.mod import MoDOptions, build

pytestmark = pytest.mark.slow

TEXT = "the cat sat on the mat. a dog ran to the sea. " * 400
STEPS = 40


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
    (folder / "text.txt").write_text(TEXT)
    return folder


@pytest.fixture(scope="module")
def flags(source: Path) -> list[str]:
    corpus = str(source / "text.txt")
    sizes = ["--seq-len", "32", "--batch-size", "8", "--val-tokens", "256", "--first-routed", "0", "--capacity", "0.5"]
    return [f"hf:{source}", "--to", "mod", "--corpus", corpus, *sizes]


def test_tuning_lowers_the_loss_and_changes_routers_alone(
    modbench: Any, source: Path, flags: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "tuned"
    done = succeeded(
        modbench("convert", *flags, "--start", "random", "--tune-steps", STEPS, "--lr", "0.01", "--out", out, "--json")
    )
    told = json.loads(done.stdout)
    assert (told["routed_layers"], told["layers"], told["tuning"]["steps"]) == ([0, 2], 3, STEPS)
    before, after = told["losses"]["before tuning"], told["losses"]["after tuning"]
    assert before["dense"] == after["dense"]
    for rule in ("top_k", "threshold"):
        assert after[rule]["nats_per_token"] < before[rule]["nats_per_token"] - 0.2, rule
        assert after[rule]["gap"] == pytest.approx(after[rule]["nats_per_token"] - after["dense"]["nats_per_token"])
        assert after[rule]["gap_low"] < after[rule]["gap"] < after[rule]["gap_high"]
    assert after["top_k"]["processed"] == 0.5
    assert json.loads((out / "modbench_convert.json").read_text())["losses"] == told["losses"]
    was, now = load_file(source / "model.safetensors"), load_file(out / "model.safetensors")
    assert all(torch.equal(now[name], value) for name, value in was.items())
    assert {name for name in now if name not in was} == {name for name in now if ".router." in name}


@pytest.mark.usefixtures("jobs_here", "undrawn")
def test_what_it_writes_is_a_model_for_transformers_and_for_modbench(
    modbench: Any, flags: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "a" / "model"
    done = succeeded(modbench("convert", *flags, "--causal", "predictor", "--every", "1", "--out", out))
    assert re.search(r"layers 0, 1, 2 .*capacity 0\.5\b", done.stdout)
    loss = json.loads((out / "modbench_convert.json").read_text())["losses"]["not tuned"]["predictor"]
    assert done.stdout.startswith(f"{loss['gap']:+.3f} [{loss['gap_low']:+.3f}, {loss['gap_high']:+.3f}] ")
    assert len(done.stdout.splitlines()) <= SCREEN
    assert "top-k, sees later tokens" in done.stdout
    assert "not tuned" in done.stdout
    written, measure, decode, load, then = done.stdout.splitlines()[-5:]
    assert written == f"written: {out}"
    pair = f"--model {flags[0]} --model hf:{out}"
    assert measure == f"measure: modbench run quick {pair} --only --set train.steps=0"
    assert decode == f"decode:  modbench run decode {pair} --only"
    small = ("--effort", "smoke", "--device", "cpu", "--seq-len", "32", "--set", "train.seq_len=32")
    succeeded(modbench("plan", *shlex.split(measure.removeprefix("measure: modbench run")), *small))
    words = [*shlex.split(decode.removeprefix("decode:  modbench run")), *small, "--batch-size", "1", "--seeds", "0"]
    words += ["--set", "decode.tokens=4", "--set", "metrics=latency/decode,loss/val_causal"]
    found = succeeded(modbench("run", *words, "--set", "train.val_tokens=256", "-o", tmp_path / "run"))
    cases = pd.read_csv(tmp_path / "run" / "cases.csv").set_index(["metric", "variant"])
    losses = cases.loc["loss/val_causal"]
    assert (losses.status == "ok").all()
    assert len(losses) == 2
    answer = found.stdout[found.stdout.index("decode on") :].splitlines()
    assert sum("loss" in line for line in answer) >= 2  # its column, and what it is
    assert any(line.startswith("decode step") and "T = 32" in line for line in answer), found.stdout
    names = dict[str, Any]()
    exec(f"{load.removeprefix('load:').strip()}\n{then.strip()}", names)  # noqa: S102  # what is printed must run as it is
    assert names["model"].options.causal == "predictor"
    assert not list(out.parent.glob(".*"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(str(out)), AutoTokenizer.from_pretrained(str(out))
    prompts = tokenizer(["the cat sat"], return_tensors="pt", return_token_type_ids=False)
    generated = model.generate(**prompts, max_new_tokens=4, do_sample=False)
    assert tokenizer.decode(generated[0]).startswith("the cat sat")
    module = build(None, path=str(out))
    with torch.no_grad():
        logits_BTV = module(prompts["input_ids"], causal=True)
        assert torch.equal(logits_BTV, model(**prompts, use_cache=False).logits)
    cost = modbench("cost", f"modbench.plugins.huggingface.mod:build(path={out})", "--seq-len", "32")
    assert cost.returncode == 2
    assert f"write --model 'hf:{out}'" in cost.stderr
    assert len(cost.stderr.strip().splitlines()) == 1


def test_what_it_refuses(modbench: Any, source: Path, flags: list[str], tmp_path: Path) -> None:
    """Each in a line or two with what would work, exit code 2, and nothing written."""
    out = tmp_path / "out"
    empty, bare = tmp_path / "empty", tmp_path / "bare"
    for folder in (empty, bare):
        folder.mkdir()
    (bare / "config.json").write_text('{"model_type": "llama"}')
    (empty / "x.gguf").write_text("no model")
    here = f"hf:{source}"
    mistakes = {
        ("hf:HuggingFaceTB/SmolLM2-135M", "--to", "mod", "--out", out): "no such folder, and nothing is downloaded",
        (f"hf:{empty}", "--to", "mod", "--out", out): "x.gguf is damaged",
        (f"hf:{empty}/x.gguf", "--to", "mod", "--out", out): "x.gguf is damaged",
        (f"hf:{bare}", "--to", "mod", "--out", out): "no weights (*.safetensors)",
        (here, "--out", out): "needs --to mod",
        (here, "--to", "moe", "--out", out): "'moe' is unknown; known: mod",
        (here, "--to", "mod"): "needs --out DIR",
        (here, "--to", "mod", "--out", out, "--into", "runs/x"): "--into is for a pytest-benchmark file",
        ("times.json", "--to", "mod", "--out", out): "named as hf:FOLDER",
        ("times.json",): "needs --into RUN",
        ("times.json", "--capacity", "0.5", "--into", "runs/x"): "--capacity: for a Hugging Face model",
        (*flags, "--out", source): "exists already: name a new folder",
        (*flags, "--out", out, "--capacity", "1.5"): "capacity 1.5 is outside (0, 1]",
        (*flags, "--out", out, "--first-routed", "3"): "layers 0 to 2, so none would be routed",
        (*flags, "--out", out, "--causal", "none"): "must be threshold or predictor",
        (*flags, "--out", out, "--start", "best"): "must be change or random",
        (*flags, "--out", out, "--lr", "0"): "--lr 0.0: must be above 0",
        (*flags, "--out", out, "--tune-steps", "-1"): "--tune-steps -1: must be 0 or more",
        (*flags, "--out", out, "--seq-len", "128"): "the model reads at most 64 tokens",
        (*flags, "--out", out, "--corpus", "nowhere"): "neither a file, a folder, nor a known corpus",
    }
    for arguments, said in mistakes.items():
        done = modbench("convert", *arguments)
        assert done.returncode == 2, (arguments, done.stdout, done.stderr)
        assert said in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) <= 3, done.stderr
    assert sorted(tmp_path.iterdir()) == [bare, empty]


NEST = "[" * 100_000 + "]" * 100_000
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
HOSTILE: dict[str, tuple[str, bytes]] = {
    "a deep header": (WEIGHTS, struct.pack("<Q", len(NEST)) + NEST.encode()),
    "an index with a number": (INDEX, b'{"metadata": {}, "weight_map": {"lm_head.weight": 5}}'),
    "an index that is a list": (INDEX, b"[]"),
    "an index of nothing": (INDEX, b'{"metadata": {}, "weight_map": {}}'),
    "an index that leaves the folder": (INDEX, b'{"metadata": {}, "weight_map": {"a": "../../../etc/passwd"}}'),
    "a deep config": ("config.json", NEST.encode()),
    "a config that is a list": ("config.json", b"[]"),
    "a deep tokenizer": ("tokenizer.json", NEST.encode()),
    "a tokenizer that is a list": ("tokenizer.json", b"[]"),
    "settings of a tokenizer that are a list": ("tokenizer_config.json", b"[]"),
    "a length that is a word": ("tokenizer_config.json", b'{"model_max_length": "x"}'),
    "settings of generation that are a list": ("generation_config.json", b"[]"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_none_ends_in_one_line(
    modbench: Any, source: Path, flags: list[str], tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(source, folder)
    file, content = HOSTILE[name]
    if file == INDEX:
        (folder / WEIGHTS).rename(folder / "part.safetensors")
    (folder / file).write_bytes(content)
    done = modbench("convert", f"hf:{folder}", *flags[1:], "--out", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("modbench: ")]
    assert len(said) < 700
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of files")
def test_a_disk_that_takes_no_more_ends_in_one_line(modbench: Any, flags: list[str], tmp_path: Path) -> None:
    with largest_file(60_000):
        done = modbench("convert", *flags, "--out", "out", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("modbench: ")]
    assert said.startswith(f"modbench: out: {os.strerror(errno.EFBIG)}. ")
    assert "then repeat the command" in said
    assert list(tmp_path.iterdir()) == []
    assert modbench("convert", *flags, "--out", "out", cwd=tmp_path).returncode == 0


def test_a_converted_model_is_not_converted_again(modbench: Any, flags: list[str], tmp_path: Path) -> None:
    out = tmp_path / "once"
    assert modbench("convert", *flags, "--start", "random", "--out", out).returncode == 0
    digest = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    done = modbench("convert", f"hf:{out}", *flags[1:], "--out", tmp_path / "twice")
    assert (done.returncode, "is converted already" in done.stderr) == (2, True)
    assert hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest() == digest


def test_that_a_tokenizer_is_lacking_is_said_before_weights_are_loaded(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `init`, which names the commands that need it, and by `convert`."""
    folder = tmp_path / "bare"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*token*"))
    monkeypatch.setattr(to_mod, "load_dense", lambda _: pytest.fail("it was loaded"))
    request = to_mod.Request(f"hf:{folder}", str(tmp_path / "out"), MoDOptions(0.5), corpus=str(source / "text.txt"))
    with pytest.raises(UsageError) as refused:
        to_mod.to_mod(request)
    assert "save_pretrained(" in str(refused.value)
    assert commands_for(f"hf:{folder}").note == str(refused.value)
    assert not commands_for(f"hf:{source}").note


def test_a_tokenizer_that_loses_text_is_refused_as_run_refuses_it(
    modbench: Any, source: Path, flags: list[str], tmp_path: Path
) -> None:
    """Bits per byte of its tokens would be those of another text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder = tmp_path / "lossy"
    shutil.copytree(source, folder)
    made = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "Ġ": 2}, unk_token="<unk>"))  # noqa: S106  # no password
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.Split("", "isolated")]
    )
    made.decoder = decoders.ByteLevel()
    made.save(str(folder / "tokenizer.json"))
    (folder / "text.txt").write_text("A Cat sat. " * 800)
    corpus = ("--corpus", folder / "text.txt")
    run = (
        *("--effort", "smoke", "--device", "cpu", "--seq-len", "32"),
        *("--set", "train.steps=0", "--set", "train.seq_len=32"),
    )
    said = []
    for done in (
        modbench("run", "quick", "--model", f"hf:{folder}", "--only", *run, *corpus, "-o", tmp_path / "run"),
        modbench("convert", f"hf:{folder}", *flags[1:], *corpus, "--out", tmp_path / "out"),
    ):
        assert (done.returncode, done.stdout) == (2, ""), (done.stdout, done.stderr)
        said.append(done.stderr)
    assert "first at byte 0" in said[0]
    assert said[0] == said[1]
    assert not (tmp_path / "out").exists()


def test_the_converted_model_has_the_tokens_of_the_dense_one(
    modbench: Any, source: Path, flags: list[str], tmp_path: Path
) -> None:
    """To the byte: a run compares losses per token only where the tokenizers are the same."""
    folder, out = tmp_path / "from", tmp_path / "to"
    shutil.copytree(source, folder)
    written = json.dumps(json.loads((folder / "tokenizer.json").read_text()))  # the library would write it in lines
    (folder / "tokenizer.json").write_text(written)
    assert modbench("convert", f"hf:{folder}", *flags[1:], "--start", "random", "--out", out).returncode == 0
    assert (out / "tokenizer.json").read_text() == written


@pytest.mark.usefixtures("jobs_here", "undrawn")
def test_bits_per_byte_are_those_that_a_run_finds(
    modbench: Any, source: Path, flags: list[str], tmp_path: Path
) -> None:
    """Of the tokens that were scored, not of the whole held-out text, whose tokens are shorter here."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT + "0123456789" * 200)
    done = succeeded(
        modbench("convert", *flags, "--corpus", text, "--start", "random", "--out", tmp_path / "out", "--json")
    )
    dense_row = json.loads(done.stdout)["losses"]["not tuned"]["dense"]
    sizes = [*("--seq-len", "32"), *(f"--set=train.{key}" for key in ("steps=0", "seq_len=32", "val_tokens=256"))]
    run = ("--effort", "smoke", "--device", "cpu", "--set", "metrics=bpb/val", *sizes, "-o", tmp_path / "run")
    succeeded(modbench("run", "quick", "--model", f"hf:{source}", "--only", "--match", "none", *run, "--corpus", text))
    cases = pd.read_csv(tmp_path / "run" / "cases.csv")
    (value,) = cases[cases.metric == "bpb/val"].value
    assert dense_row["bits_per_byte"] == pytest.approx(value, rel=1e-5)


def test_pickled_weights_are_not_read(modbench: Any, source: Path, flags: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(load_file(source / "model.safetensors"), folder / "pytorch_model.bin")
    done = modbench("convert", f"hf:{folder}", *flags[1:], "--out", tmp_path / "out")
    assert (done.returncode, "only model.safetensors" in done.stderr) == (2, True), done.stderr
