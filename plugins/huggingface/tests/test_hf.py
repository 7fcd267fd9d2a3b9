"""`hf:` models against plain `transformers`: logits, decoding, stored weights; and against our dense model: FLOPs and bytes."""

from __future__ import annotations

import json
import math
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import case_of, protocol_of
from hf_folders import SHAPE, text, tokenizer, write_llama
from present import present
from torch import Tensor

from modbench.harness.call.step_peak_memory import of_fake_tensors, of_training
from modbench.harness.call.subject.build import build_module
from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.errors import UsageError
from modbench.harness.core.model_methods import parts_of
from modbench.harness.core.model_specs import parse_spec
from modbench.harness.core.train_plan import TrainPlan
from modbench.harness.domain.case import Case, Dtype
from modbench.harness.measure.passes.count import count
from modbench.harness.planning.flops import counter
from modbench.harness.planning.flops.closed_form import case_cost, case_decode_cost, closed_form
from modbench.harness.planning.jobs import tokenizer_of
from modbench.harness.planning.text.corpus import from_file
from modbench.harness.planning.variants import decided_by
from modbench.harness.registry import catalogue
from modbench.harness.training.training_run import train

transformers = pytest.importorskip("transformers", minversion="5.0")

FAMILIES = ("llama", "qwen2", "qwen3", "smollm", "gpt2")
pytestmark = [
    pytest.mark.slow,
    # On import torch's own classes are found to be deprecated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def no_network() -> Any:
    """Whoever opens a connection fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something tried to reach a network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("hf") / "tiny"
    write_llama(made)
    return made


def case(model: str, *, seq_len: int = 24, dtype: Dtype = "fp32", **more: Any) -> Case:
    shape: dict[str, Any] = {
        "d_model": 32,
        "n_layers": 2,
        "n_heads": 4,
        "n_kv_heads": 2,
        "d_ff": 64,
        "max_seq_len": 64,
        **more,
    }
    if model == "hf:gpt2":
        shape.pop("n_kv_heads")
    model, options = parse_spec(model)
    shape |= decided_by(model, options, shape)
    return case_of(model, shape, options=options, seq_len=seq_len, dtype=dtype)


def tokens(b: int, t: int) -> Tensor:
    return torch.randint(256, (b, t), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("model", ["llama", "gpt2", "FOLDER", "FOLDER(attn=eager)"])
@torch.no_grad()
def test_logits_are_those_of_transformers(model: str, folder: Path) -> None:
    module: Any = build_module(case(f"hf:{model.replace('FOLDER', str(folder))}"), 0).eval()
    theirs = module.inner if "FOLDER" not in model else transformers.AutoModelForCausalLM.from_pretrained(folder)
    x_BT = tokens(3, 24)
    wanted_BTV = theirs.eval()(input_ids=x_BT).logits
    assert wanted_BTV.std() > 0.01
    torch.testing.assert_close(module(x_BT), wanted_BTV, rtol=0, atol=1e-5)
    assert module.inner.config._attn_implementation == ("eager" if "eager" in model else "sdpa")


@pytest.mark.parametrize("model", FAMILIES)
def test_a_family_takes_the_suites_shape(model: str) -> None:
    it = case(f"hf:{model}")
    module: Any = build_module(it, 0)
    theirs = module.inner.config
    named = (theirs.hidden_size, theirs.num_hidden_layers, theirs.num_attention_heads, theirs.vocab_size)
    assert named == (32, 2, 4, 256)
    assert theirs.max_position_embeddings == 64
    assert it.config.tied == (model in {"smollm", "gpt2"}) == theirs.tie_word_embeddings
    again = build_module(it, 0)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("model", FAMILIES)
@pytest.mark.parametrize("ragged", [False, True], ids=["equal", "ragged"])
@torch.no_grad()
def test_decoding_equals_one_forward_pass(model: str, ragged: bool) -> None:
    """Every row at its own position, rewound once: the second time must give the same."""
    module: Any = build_module(case(f"hf:{model}"), 0).eval()
    for weight in module.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    x_BT, lengths = tokens(3, 20), [9, 14, 5] if ragged else [14, 14, 14]
    prompts_BT = torch.zeros(3, 14, dtype=torch.int64)
    for row, length in enumerate(lengths):
        prompts_BT[row, :length] = x_BT[row, :length]
    given = torch.tensor(lengths) if ragged else None
    logits_BV, cache = module.prefill(prompts_BT, given, max_len=20)
    mark, rows = cache.mark(), torch.arange(3)
    wanted_BTV = module(x_BT)
    for _ in range(2):
        at_B = torch.tensor(lengths)
        got = [logits_BV]
        for _step in range(4):
            got.append(module.decode(x_BT[rows, at_B], cache))
            at_B += 1
        for step, logits in enumerate(got):
            torch.testing.assert_close(logits, wanted_BTV[rows, torch.tensor(lengths) - 1 + step], rtol=0, atol=1e-5)
        cache.rewind(mark)
    assert cache.position_B.tolist() == lengths


def test_a_padded_batch_gets_a_mask(folder: Path) -> None:
    module = build_module(case(f"hf:{folder}"), 0).eval()
    x_BT, lengths_B = tokens(2, 10), torch.tensor([4, 10])
    with torch.no_grad():
        torch.testing.assert_close(module(x_BT, lengths_B)[0, :4], module(x_BT)[0, :4], rtol=0, atol=1e-5)
    assert parts_of(module, "it").accepts("forward", "lengths_B")
    assert parts_of(module, "it").has("prefill", "decode", "why_no_decode")


def test_a_cache_that_cannot_be_rewound_is_a_reason() -> None:
    config = transformers.MistralConfig(**SHAPE, sliding_window=8)
    from modbench.plugins.huggingface.model.model import HfModel

    why = present(HfModel(transformers.MistralForCausalLM(config)).why_no_decode())
    assert "DynamicSlidingWindowLayer" in why


@pytest.mark.parametrize("model", ["hf:llama", "hf:qwen2", "hf:qwen3"])
def test_the_closed_form_is_that_of_our_dense_model(model: str) -> None:
    it = case(model)
    cost = present(case_cost(it))
    ours = closed_form("dense", it.config, it.grid_point.seq_len, it.grid_point.batch_size)
    assert (cost.forward, cost.forward_causal, cost.train_step) == (ours.forward, ours.forward_causal, ours.train_step)
    assert (cost.params == ours.params) == (model == "hf:llama")


@pytest.mark.parametrize("model", [*FAMILIES, "FOLDER"])
def test_the_closed_form_is_what_the_counter_sees(model: str, folder: Path) -> None:
    it = case(f"hf:{model.replace('FOLDER', str(folder))}")
    cost, decode = present(case_cost(it)), present(case_decode_cost(it, it.grid_point.seq_len))
    with torch.device("meta"):  # no weights are read, and no value is looked at
        module: Any = build_module(it, 0)
        seen = counter.forward(module, torch.zeros(2, 24, dtype=torch.int64)).total
    # Before 5.24 the library makes the table of rotations by a product of two vectors.
    assert seen == pytest.approx(cost.forward, rel=1e-3)
    assert cost.params == sum(p.numel() for p in module.parameters())
    real: Any = build_module(it, 0)
    _, cache = real.prefill(tokens(2, 24))
    assert cache.nbytes == decode.held * 4


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_heads_may_be_wider_than_the_stream(family: str, tmp_path: Path) -> None:
    """As in Qwen3: in the suite's shape, and from a config, whose `head_dim` is read; Qwen3's is 128 where it names none."""
    it = case(f"hf:{family}", head_dim=24)
    build_module(it, 0).inner.config.save_pretrained(tmp_path)  # type: ignore[union-attr, operator]
    read = case(f"hf:{tmp_path / 'config.json'}")
    assert read.config.head_dim == 24
    for made in (it, read):
        cost = present(case_cost(made))
        with torch.device("meta"):
            module: Any = build_module(made, 0)
            seen = counter.forward(module, torch.zeros(2, 24, dtype=torch.int64)).total
        assert seen == pytest.approx(cost.forward, rel=1e-3)
        assert cost.params == sum(p.numel() for p in module.parameters())
    said = json.loads((tmp_path / "config.json").read_text())
    del said["head_dim"]
    (tmp_path / "config.json").write_text(json.dumps(said))
    unsaid = case(f"hf:{tmp_path / 'config.json'}")
    assert unsaid.config.head_dim == (128 if family == "qwen3" else 8)
    attention = build_module(unsaid, 0).inner.model.layers[0].self_attn  # type: ignore[union-attr, index]
    assert attention.head_dim == unsaid.config.head_dim


def test_gpt_2_has_no_heads_of_their_own_width() -> None:
    with pytest.raises(UsageError, match="leave out head_dim 24"):
        build_module(case("hf:gpt2", head_dim=24), 0)


def test_a_wrong_closed_form_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = count(case("hf:qwen2"), 0, hardware=False, inputs=4, parts=())
    assert found.mismatch is None
    assert found["forward_headless"] < found["forward"]
    from modbench.plugins.huggingface import model_loader as hf

    monkeypatch.setattr(hf, "_more_params", lambda *_: 5000)
    wrong = count(case("hf:qwen2", seq_len=25), 0, hardware=False, inputs=4, parts=())
    assert "parameters" in present(wrong.mismatch)


@pytest.mark.parametrize("model", ["hf:llama", "hf:gpt2", "FOLDER"])
def test_fake_tensors_forecast_its_memory_exactly(model: str, folder: Path) -> None:
    it = case(model.replace("FOLDER", f"hf:{folder}"))
    assert of_fake_tensors(it).peak == of_training(Subject(it, 0)).peak


def test_without_a_step_the_stored_weights_are_evaluated(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss that transformers computes itself, over the windows of the held-out text in the model's own tokens."""
    monkeypatch.setenv("MODBENCH_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "prose.txt"
    file.write_text(text(), encoding="utf-8")
    corpus, it = from_file(file), case(f"hf:{folder}")
    plan = TrainPlan(steps=0, seq_len=32, batch_size=4, val_tokens=256)
    plan = plan.model_copy(update={"tokenizer": tokenizer_of(it.model, it.options, plan)})
    made = train(it, protocol_of(file, train=plan.resolved(32, None)))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    words = tokenizer()
    ids = words.encode(corpus.val.decode(), add_special_tokens=False).ids
    starts = [round(each) for each in torch.linspace(0, len(ids) - 33, 8).floor().tolist()]
    rows = torch.tensor([ids[start : start + 33] for start in starts])
    loss = float(theirs(input_ids=rows, labels=rows).loss.detach())
    assert made.held_out.loss == pytest.approx(loss, rel=1e-5)
    assert made.held_out.causal == made.held_out.loss
    assert made.curve["loss"] == []
    scored = sum(len(words.decode([i]).encode()) for i in rows[:, 1:].flatten().tolist())
    bits = catalogue.metrics()["bpb/val"].measure(made)
    assert bits == pytest.approx(loss / math.log(2) * 256 / scored, rel=1e-5)


@torch.no_grad()
def test_half_precision_keeps_the_rotations(folder: Path) -> None:
    """`module.to(bfloat16)` alone rounds the frequencies; the library does not."""
    subject = Subject(case(f"hf:{folder}", dtype="bf16"), 0)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    x_BT = tokens(2, 200)
    assert torch.equal(subject.module.eval()(x_BT), theirs(x_BT).logits)
    rounded = transformers.AutoModelForCausalLM.from_pretrained(folder).to(torch.bfloat16)
    assert not torch.equal(rounded(x_BT).logits, theirs(x_BT).logits)


def test_a_missing_tensor_is_an_error_and_no_random_one(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    it = tmp_path / "half"
    it.mkdir()
    (it / "config.json").write_bytes((folder / "config.json").read_bytes())
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, it / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"lack 1 .*'model\.layers\.1\.mlp\.up_proj"):
        build_module(case(f"hf:{it}"), 0)
    build_module(case(f"hf:{it}(weights=random)"), 0)


def test_a_config_that_transformers_cannot_make_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "odd.json"
    file.write_text(
        '{"model_type": "nobody", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 256, '
        '"max_position_embeddings": 64}'
    )
    with pytest.raises(UsageError, match="cannot make its config") as error:
        build_module(case(f"hf:{file}"), 0)
    assert "\n" not in str(error.value)
    assert case_cost(case(f"hf:{file}")) is None
