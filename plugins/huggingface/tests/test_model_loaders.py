"""`hf:` specs without `transformers`: what is found, what is refused and how, shapes from files; nothing is downloaded."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import json
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import hf_folders
import pytest
from present import present

from modbench import planted_runs
from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import UsageError
from modbench.harness.core.model_specs import parse_spec
from modbench.harness.planning.load_suite import parse_suite
from modbench.harness.planning.plan import make_plan
from modbench.harness.registry import model_loaders
from modbench.harness.registry.user_models import check_user_model as check_model
from modbench.harness.results import user_files
from modbench.reports.questions import user_models
from modbench.reports.tables.load import load

CONFIG = {"model_type": "llama", **hf_folders.SHAPE}
SHAPE = {"d_model": 32, "d_ff": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "max_seq_len": 256, "vocab_size": 512}


def safetensors_of(size: int = 16) -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def gguf(file: Path, *, tied: bool = True, short: bool = False) -> Path:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    numbers = {"embedding_length": 32, "block_count": 2, "attention.head_count": 4, "attention.head_count_kv": 2}
    numbers |= {"feed_forward_length": 64, "context_length": 256}
    keys = [text("general.architecture") + struct.pack("<I", 8) + text("llama")]
    keys += [text(f"llama.{key}") + struct.pack("<II", 4, value) for key, value in numbers.items()]
    words = b"".join(text(str(i)) for i in range(512))
    keys += [text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 512) + words]
    keys += [text("tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, 512) + bytes(4 * 512)]
    names = ["token_embd.weight", *([] if tied else ["output.weight"])]
    tensors = [text(name) + struct.pack("<IQIQ", 1, 4, 0, 16 * i) for i, name in enumerate(names)]
    body = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys)) + b"".join([*keys, *tensors])
    file.write_bytes(body + bytes(0 if short else 64))
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tiny"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIG))
    (made / "model.safetensors").write_bytes(safetensors_of())
    return made


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def settings(model: str) -> dict[str, Any]:
    found = present(model_loaders.from_loader(*parse_spec(model)))
    return dict(found.settings())


def check_user_model(model: str) -> None:
    check_model(*parse_spec(model))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("hf:", "names nothing"),
        ("hf:lama", "Did you mean 'llama'"),
        ("hf:llama(weight=random)", "Did you mean 'weights'"),
        ("hf:llama(attn=flash)", r"write attn=sdpa\|eager"),
        ("hf:llama(weights=stred)", r"write weights=stored\|random"),
        ("hf:org/name", r"'hf:org/name\(download=true\)'"),
        ("hf:FOLDER/model.safetensors", "Name the folder"),
        ("hf:FOLDER(gguf_file=a.gguf)", "no file 'a.gguf'"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(model: str, said: str, folder: Path) -> None:
    with pytest.raises(UsageError, match=said) as error:
        check_user_model(model.replace("FOLDER", str(folder)))
    assert "\n" not in str(error.value)


def test_a_folder_needs_its_weights_or_the_word_that_they_are_random(folder: Path) -> None:
    check_user_model(f"hf:{folder}")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"holds no weights.*\(weights=random\)"):
        check_user_model(f"hf:{folder}")
    check_user_model(f"hf:{folder}(weights=random)")
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UsageError, match=r"'pytorch_model.bin' are not read"):
        check_user_model(f"hf:{folder}")


SHORT = safetensors_of(0)


@pytest.mark.parametrize(
    "content",
    [SHORT, SHORT + bytes(17), b"abc", struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 2**63) + b"{}"],
    ids=["short", "long", "text", "a list", "a header without end"],
)
def test_a_file_of_weights_that_is_none_is_damaged(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match=r"model\.safetensors is damaged"):
        check_user_model(f"hf:{folder}")


def test_a_shard_that_is_missing_is_named(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match=r"names 'model-2\.safetensors'"):
        check_user_model(f"hf:{folder}")
    (folder / "model-2.safetensors").write_bytes(safetensors_of())
    check_user_model(f"hf:{folder}")


def test_the_shape_is_read_from_the_config(folder: Path) -> None:
    assert settings(f"hf:{folder}").items() >= SHAPE.items()
    assert settings(f"hf:{folder / 'config.json'}") == settings(f"hf:{folder}")
    assert settings(f"hf:{folder}")["tied"] is False
    gpt2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "vocab_size": 512}
    (folder / "config.json").write_text(json.dumps(gpt2 | {"n_inner": None}))
    found = settings(f"hf:{folder}")
    assert (found["d_ff"], found["tied"], found["position"], found["activation"]) == (128, True, "learned", "gelu")
    (folder / "config.json").write_text(json.dumps(gpt2 | {"n_inner": None, "model_type": "mod_gpt2"}))
    assert settings(f"hf:{folder}") == found  # a converted model has the shape of the one before


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "config.json"),
        ('{"model_type": "bert"}', "'hidden_size'"),
        ('{"model_type": "x", "hidden_size": "big"}', "'hidden_size'"),
    ],
)
def test_a_config_without_a_shape_is_refused(folder: Path, text: str, named: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(UsageError, match=re.escape(named)):
        settings(f"hf:{folder}")


def test_a_converted_model_is_a_folder_like_any_other(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no routers: .*`modbench convert`.*'rule'"):
        check_user_model(f"hf:{folder}(rule=dense)")
    (folder / "config.json").write_text(json.dumps(CONFIG | {"model_type": "mod_llama", "mod": {}}))
    check_user_model(f"hf:{folder}(rule=dense)")
    _, own = make_plan(suite(f"hf:{folder}"), device="cpu").cases
    assert own.config.model_dump(include=set(SHAPE)) == SHAPE
    assert own.variant == "hf:tiny"
    (folder / "config.json").write_text(json.dumps(CONFIG | {"model_type": "mod_mamba"}))
    with pytest.raises(UsageError, match=r"'mod_mamba' .*\(mod_llama, .*mod_gpt2\)"):
        check_user_model(f"hf:{folder}")


@pytest.mark.parametrize("tied", [True, False])
def test_the_shape_of_a_gguf_is_in_its_header(tmp_path: Path, tied: bool) -> None:
    file = gguf(tmp_path / "m.gguf", tied=tied)
    assert settings(f"hf:{file}").items() >= (SHAPE | {"tied": tied}).items()
    assert settings(f"hf:{tmp_path}") == settings(f"hf:{file}") == settings(f"hf:{tmp_path}(gguf_file=m.gguf)")
    gguf(tmp_path / "n.gguf")
    with pytest.raises(UsageError, match=r"2 GGUF files: write .*gguf_file=m\.gguf"):
        settings(f"hf:{tmp_path}")


def test_a_damaged_gguf_is_refused(tmp_path: Path) -> None:
    whole = gguf(tmp_path / "m.gguf").read_bytes()
    gguf(tmp_path / "m.gguf", short=True)
    with pytest.raises(UsageError, match="before its last tensor"):
        settings(f"hf:{tmp_path}/m.gguf")
    for cut in (0, 3, 20, 60, 300, 5000):
        (tmp_path / "m.gguf").write_bytes(whole[:cut])
        with pytest.raises(UsageError, match=r"m\.gguf is damaged"):
            settings(f"hf:{tmp_path}/m.gguf")


def test_what_was_downloaded_before_is_found(cache: Path, folder: Path) -> None:
    kept = cache / "models--org--name"
    (kept / "refs").mkdir(parents=True)
    (kept / "snapshots").mkdir()
    (kept / "refs" / "main").write_text("abc123")
    folder.rename(kept / "snapshots" / "abc123")
    assert settings("hf:org/name").items() >= SHAPE.items()


def test_only_a_word_downloads(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def fetch(name: str, **_: object) -> str:
        asked.append(name)
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    with pytest.raises(UsageError, match="nothing is downloaded"):
        check_user_model("hf:org/name")
    assert asked == []
    check_user_model("hf:org/name(download=true)")
    assert asked == ["org/name"] * len(asked) != []
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: 1 / 0)
    with pytest.raises(UsageError, match="cannot be downloaded"):
        check_user_model("hf:org/name(download=true)")


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name))
    with pytest.raises(UsageError, match=r"pip install '\.\[hf\]'"):
        check_user_model("hf:llama")
    monkeypatch.undo()
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "4.57.1")
    with pytest.raises(UsageError, match=r"needs transformers 5, this is 4\.57\.1"):
        check_user_model("hf:llama")


def suite(model: str, **more: object) -> Any:
    variants = [{"model": "dense"}, {"model": model}]
    data = {
        "name": "s",
        "effort": "smoke",
        "metrics": ["flops/forward"],
        "grid": {"seq_len": [64]},
        "variants": variants,
    }
    return parse_suite(data | {"shape": {"d_model": 64, "n_layers": 3}} | more, "s")


def test_a_plan_takes_the_shape_of_the_model_and_not_of_the_suite(folder: Path) -> None:
    dense, own = make_plan(suite(f"hf:{folder}"), device="cpu").cases
    assert (dense.config.d_model, dense.config.vocab_size) == (64, 256)
    assert own.config.model_dump(include=set(SHAPE)) == SHAPE
    _, family = make_plan(suite("hf:llama"), device="cpu").cases
    assert (family.config.d_model, family.config.n_layers) == (64, 3)
    with pytest.raises(UsageError, match=r"256 positions.* 300"):
        make_plan(suite(f"hf:{folder}", grid={"seq_len": [300]}), device="cpu")
    with pytest.raises(UsageError, match="has no mixer = 'convolution'"):
        make_plan(suite("hf:llama", shape={"d_model": 64, "mixer": "convolution"}), device="cpu")


def test_a_record_knows_its_files_by_their_hashes(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    job = make_plan(suite(f"hf:{folder}"), device="cpu").jobs[0]
    found = {Path(name).name for name in user_files.loaded([job]) if Path(name).parent.name == folder.name}
    assert found == {"config.json", "model.safetensors", "tokenizer.json"}


def trained(model: str) -> Any:
    data = {"metrics": ["flops/forward", "loss/val"], "train": {"seq_len": 64, "tokens": 1000}, "match": "flops"}
    return make_plan(suite(model, **data), device="cpu", text=Text("t", b"a" * 5000, b"b" * 5000, "c0ffee"))


def test_a_rival_has_the_shape_the_vocabulary_and_the_tokenizer_of_a_checkpoint(folder: Path) -> None:
    made = trained(f"hf:{folder}")
    (matched,) = made.matched_baselines
    dense, match, own = made.comparisons[0].variants
    assert (matched.variant, matched.target) == (match.variant, own.variant)
    assert match.config.model_dump(include=set(SHAPE)) == SHAPE  # as many FLOPs as the checkpoint
    runs = {job.comparison.variants[0].variant: job.protocol.train for job in made.jobs if job.facts.trains}
    assert runs[match.variant].tokenizer == runs[own.variant].tokenizer == f"hf:{folder}"
    assert runs[dense.variant].tokenizer == "bytes"
    assert float(match.variant_parts[0][1:]) < 0.5  # of the suite's dense model
    random = trained(f"hf:{folder}(weights=random)").comparisons[0].variants[1]
    assert (random.config.vocab_size, random.tokenizer) == (512, "")


def test_losses_of_trained_weights_are_not_compared_with_those_of_weights_at_random(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trained(f"hf:{folder}")
    match, own = made.comparisons[0].variants[1:]
    for variant in (match.variant, own.variant):
        monkeypatch.setitem(planted_runs.PLANTED, variant, 1.0)
    loaded = load(planted_runs.planted_run(tmp_path, made))
    for one, other in itertools.combinations([case.variant for case in loaded.variants], 2):
        (row,) = loaded.between("loss/val", one, other)
        assert row.status == "skipped"  # the checkpoint's tokens are no bytes
        assert ("trained before" in str(row.reason)) == (own.variant in {one, other})
    (said,) = user_models.trained_before(loaded)
    assert said.given["variant"] == own
    others = trained(f"hf:{folder}(weights=random)")
    assert not any(facts.trained for each in others.comparisons for facts in each.facts)


@pytest.mark.slow
@pytest.mark.usefixtures("unmeasured")
def test_planning_imports_no_library(folder: Path) -> None:
    suite = folder.parent / "s.toml"
    suite.write_text(
        'metrics = ["flops/forward"]\nmatch = "flops"\n[grid]\nseq_len = [64]\n[[variants]]\nmodel = "dense"\n'
    )
    words = ["modbench", "plan", str(suite), "--model", f"hf:{folder}", "--model", "hf:gpt2", "--effort", "smoke"]
    code = (
        f"import sys; from modbench.cli import main; sys.argv = {words!r}\n"
        # They are counted in a process of their own (test_rivals.py), which imports them: left out here.
        "from modbench.harness.execution import user_model_costs\n"
        "user_model_costs._in_processes = lambda cases, **_: ['not counted'] * len(cases)\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end\n"
        "found = {'transformers', 'huggingface_hub', 'tokenizers', 'gguf'} & sys.modules.keys()\n"
        "assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "hf:tiny" in done.stdout
