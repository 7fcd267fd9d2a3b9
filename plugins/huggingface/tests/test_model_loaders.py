"""`hf:` specs without `transformers`: what is found, what is refused and how, shapes from files; nothing is downloaded."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import json
import shutil
import struct
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
from modbench.harness.planning.plan import Plan, make_plan
from modbench.harness.registry import model_loaders
from modbench.harness.registry.user_models import check_user_model
from modbench.harness.results import user_files
from modbench.reports.questions import user_models
from modbench.reports.tables.load import load

Files = dict[str, bytes | None]  # what is written into the folder `tiny`; None takes the file away

LLAMA = {"d_model": 32, "d_ff": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "max_seq_len": 256, "vocab_size": 512}
GPT2 = LLAMA | {"d_ff": 128, "n_kv_heads": 4, "tied": True, "position": "learned", "activation": "gelu"}
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


def config(kind: str, **changes: object) -> Files:
    """A config in the words of Llama, or of GPT-2."""
    gpt2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "vocab_size": 512, "n_inner": None}
    shape = gpt2 if kind.endswith("gpt2") else hf_folders.SHAPE
    return {CONFIG: json.dumps({"model_type": kind, **shape, **changes}).encode()}


def safetensors(size: int = 16) -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def shards(*names: object) -> Files:
    """One file of weights in place of the single one, and an index that names these."""
    index = {"weight_map": dict(enumerate(names))}
    return {WEIGHTS: None, "1.safetensors": safetensors(), INDEX: json.dumps(index).encode()}


def gguf(*, tied: bool = True) -> bytes:
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
    return struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys)) + b"".join([*keys, *tensors]) + bytes(64)


BARE: Files = {CONFIG: None, WEIGHTS: None}
WHOLE = gguf()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `tiny` with a Llama's config and weights, in the working directory; an empty cache of the hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "tiny").mkdir()
    write({**config("llama"), WEIGHTS: safetensors()})
    return tmp_path / "tiny"


def write(files: Files) -> None:
    for name, content in files.items():
        file = Path("tiny") / name
        file.unlink() if content is None else file.write_bytes(content)


def check(model: str) -> None:
    check_user_model(*parse_spec(model))


def settings(model: str) -> dict[str, Any]:
    return dict(present(model_loaders.from_loader(*parse_spec(model))).settings())


@pytest.mark.parametrize(
    ("files", "model", "shape"),
    [
        pytest.param({}, "hf:tiny", LLAMA | {"tied": False}, id="a folder"),
        pytest.param(config("gpt2"), "hf:tiny", GPT2, id="gpt2"),
        pytest.param(config("mod_gpt2"), "hf:tiny", GPT2, id="a converted gpt2"),
        pytest.param(config("mod_llama", mod={}), "hf:tiny(rule=dense)", LLAMA, id="a rule of a converted model"),
        pytest.param({WEIGHTS: None}, "hf:tiny(weights=random)", LLAMA, id="random weights"),
        pytest.param(
            {**shards("1.safetensors", "2.safetensors"), "2.safetensors": safetensors()}, "hf:tiny", LLAMA, id="shards"
        ),
        pytest.param({**BARE, "m.gguf": WHOLE}, "hf:tiny", LLAMA | {"tied": True}, id="a folder of one gguf"),
        pytest.param({"m.gguf": gguf(tied=False)}, "hf:tiny/m.gguf", LLAMA | {"tied": False}, id="an untied gguf"),
    ],
)
def test_a_model_has_the_shape_that_its_files_say(files: Files, model: str, shape: dict[str, Any]) -> None:
    write(files)
    check(model)
    assert settings(model).items() >= shape.items()


NEST = b"[" * 100_000 + b"]" * 100_000
REFUSED: dict[str, tuple[Files, str, str]] = {
    "nothing": ({}, "hf:", "names nothing"),
    "a family misspelt": ({}, "hf:lama", "Did you mean 'llama'"),
    "a name on the hub": ({}, "hf:org/name", r"nothing is downloaded .*'hf:org/name\(download=true\)'"),
    "a rule of a model without routers": ({}, "hf:tiny(rule=dense)", r"no routers: .*`modbench convert`.*'rule'"),
    "a converted model of another version": (
        config("mod_mamba"),
        "hf:tiny",
        r"'mod_mamba' .*\(mod_llama, .*mod_gpt2\)",
    ),
    "no weights": ({WEIGHTS: None}, "hf:tiny", r"holds no weights.*\(weights=random\)"),
    "pickled weights": ({WEIGHTS: None, "pytorch_model.bin": b""}, "hf:tiny", "'pytorch_model.bin' are not read"),
    "weights cut short": ({WEIGHTS: safetensors(0)}, "hf:tiny", r"model\.safetensors is damaged"),
    "weights with more behind": ({WEIGHTS: safetensors(33)}, "hf:tiny", r"model\.safetensors is damaged"),
    "a deep header": ({WEIGHTS: struct.pack("<Q", len(NEST)) + NEST}, "hf:tiny", r"model\.safetensors is damaged"),
    "a shard that is missing": (shards("1.safetensors", "2.safetensors"), "hf:tiny", r"names '2\.safetensors'"),
    "an index of another folder": (shards("../tiny/1.safetensors"), "hf:tiny", "which is not in"),
    "an empty config": ({CONFIG: b""}, "hf:tiny", "config.json' cannot be read"),
    "a config without a shape": ({CONFIG: b'{"model_type": "bert"}'}, "hf:tiny", "no whole number 'hidden_size'"),
    "two ggufs": ({**BARE, "m.gguf": WHOLE, "n.gguf": WHOLE}, "hf:tiny", r"2 GGUF files: write .*gguf_file=m\.gguf"),
    "a gguf without tensors": ({"m.gguf": WHOLE[:-64]}, "hf:tiny/m.gguf", "before its last tensor"),
    **{
        f"a gguf of {size} bytes": ({"m.gguf": WHOLE[:size]}, "hf:tiny/m.gguf", r"m\.gguf is damaged")
        for size in (0, 20, 5000)
    },
}


@pytest.mark.parametrize(("files", "model", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_made_is_refused_in_one_line(files: Files, model: str, said: str) -> None:
    write(files)
    with pytest.raises(UsageError, match=said) as error:
        check(model)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


def test_what_was_downloaded_before_is_found(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "hub" / "models--org--name"
    (kept / "refs").mkdir(parents=True)
    (kept / "snapshots").mkdir()
    (kept / "refs" / "main").write_text("abc123")
    folder.rename(kept / "snapshots" / "abc123")
    assert settings("hf:org/name").items() >= LLAMA.items()


def test_only_a_word_downloads(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def fetch(name: str, **_: object) -> str:
        asked.append(name)
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    with pytest.raises(UsageError, match="nothing is downloaded"):
        check("hf:org/name")
    assert asked == []
    check("hf:org/name(download=true)")
    assert set(asked) == {"org/name"}
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: 1 / 0)
    with pytest.raises(UsageError, match="cannot be downloaded"):
        check("hf:org/name(download=true)")


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name))
    with pytest.raises(UsageError, match=r"pip install '\.\[hf\]'"):
        check("hf:llama")
    monkeypatch.setattr(importlib.util, "find_spec", find)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "4.57.1")
    with pytest.raises(UsageError, match=r"needs transformers 5, this is 4\.57\.1"):
        check("hf:llama")


def planned(model: str, text: Text | None = None, **more: object) -> Plan:
    """A smoke run of dense (64 wide, 3 layers) and this model, of which FLOPs are counted."""
    data: dict[str, Any] = {"name": "s", "effort": "smoke", "metrics": ["flops/forward"], "grid": {"seq_len": [64]}}
    data |= {"variants": [{"model": "dense"}, {"model": model}], "shape": {"d_model": 64, "n_layers": 3}}
    return make_plan(parse_suite(data | more, "s"), device="cpu", text=text)


def trained(model: str) -> Plan:
    """The same, with held-out losses and a matched baseline."""
    more = {"metrics": ["flops/forward", "loss/val"], "train": {"seq_len": 64, "tokens": 1000}, "match": "flops"}
    return planned(model, Text("t", b"a" * 5000, b"b" * 5000, "c0ffee"), **more)


def test_a_plan_takes_the_shape_of_the_model_and_not_of_the_suite() -> None:
    plan = planned("hf:tiny")
    dense, own = plan.cases
    assert (dense.config.d_model, dense.config.vocab_size) == (64, 256)
    assert own.config.model_dump(include=set(LLAMA)) == LLAMA
    assert {Path(name).name for name in user_files.loaded(plan.jobs[:1]) if "tiny" in name} == {CONFIG, WEIGHTS}
    _, family = planned("hf:llama").cases
    assert (family.config.d_model, family.config.n_layers) == (64, 3)
    with pytest.raises(UsageError, match=r"256 positions.* 300"):
        planned("hf:tiny", grid={"seq_len": [300]})
    with pytest.raises(UsageError, match="has no mixer = 'convolution'"):
        planned("hf:llama", shape={"d_model": 64, "mixer": "convolution"})


def test_folders_of_one_name_and_their_matched_baselines_are_told_apart_by_their_paths(folder: Path) -> None:
    shutil.copytree(folder, "other/tiny")
    plan = planned("hf:tiny", variants=[{"model": "hf:tiny"}, {"model": "hf:other/tiny"}], match="flops")
    assert [case.variant for case in plan.cases if not case.matched] == ["hf:tiny[tiny]", "hf:tiny[other/tiny]"]
    assert len({case.variant for case in plan.cases}) == 4


def test_a_rival_has_the_shape_the_vocabulary_and_the_tokenizer_of_a_checkpoint() -> None:
    made = trained("hf:tiny")
    (matched,) = made.matched_baselines
    dense, match, own = made.comparisons[0].variants
    assert (matched.variant, matched.target) == (match.variant, own.variant)
    assert match.config.model_dump(include=set(LLAMA)) == LLAMA  # as many FLOPs as the checkpoint
    runs = {job.comparison.variants[0].variant: job.protocol.train for job in made.jobs if job.facts.trains}
    tokenizers = [present(runs[each.variant]).tokenizer for each in (dense, match, own)]
    assert tokenizers == ["bytes", "hf:tiny", "hf:tiny"]
    assert float(match.variant_parts[0][1:]) < 0.5  # of the suite's dense model
    random = trained("hf:tiny(weights=random)").comparisons[0].variants[1]
    assert (random.config.vocab_size, random.tokenizer) == (512, "")


def test_losses_of_trained_weights_are_not_compared_with_those_of_weights_at_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trained("hf:tiny")
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
    others = trained("hf:tiny(weights=random)")
    assert not any(facts.trained for each in others.comparisons for facts in each.facts)
