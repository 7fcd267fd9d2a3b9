"""`hf:` models against plain `transformers` (logits, decoding, losses), and our dense model and the counter (FLOPs, bytes)."""

from __future__ import annotations

import json
import math
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import case_of, protocol_of
from present import present
from torch import Tensor

pytest.importorskip("transformers", minversion="5.0")
pytest.importorskip("tokenizers", reason="the extra bpe is not installed")

import transformers  # after the checks
from hf_folders import SHAPE, text, tokenizer, write_llama
from safetensors.torch import load_file, save_file

from modbench.harness.call.step_peak_memory import of_fake_tensors, of_training
from modbench.harness.call.subject.build import build_module
from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.errors import Unmeasured, UsageError
from modbench.harness.core.model_specs import parse_spec
from modbench.harness.core.train_plan import TrainPlan
from modbench.harness.domain.case import Case, Dtype
from modbench.harness.planning.flops import counter
from modbench.harness.planning.flops.closed_form import case_cost, case_decode_cost, closed_form
from modbench.harness.planning.jobs import tokenizer_of
from modbench.harness.planning.text.corpus import from_file
from modbench.harness.planning.variants import decided_by
from modbench.harness.registry import catalogue
from modbench.harness.training.training_run import Trained, train
from modbench.plugins.huggingface.mod import MoDOptions, convert
from modbench.plugins.huggingface.model.model import HfModel

FAMILIES = ("hf:llama", "hf:qwen2", "hf:qwen3", "hf:smollm", "hf:gpt2")
LIKE_OURS = FAMILIES[:3]  # untied, of our dense model's operators
pytestmark = [
    pytest.mark.slow,
    # On import torch's own classes are found to be deprecated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny`, a Llama of two layers, and `tiny-mod`, the same with the second routed at capacity 0.5; a text."""
    made = tmp_path_factory.mktemp("hf")
    model = convert(write_llama(made / "tiny").eval(), MoDOptions(capacity=0.5, router_init=1.0), seed=1)
    ids = tokenizer().encode(text()).ids[:256]
    model.calibrate(torch.tensor(ids).view(4, 64))
    model.save_pretrained(made / "tiny-mod")  # type: ignore[operator]  # of PreTrainedModel
    tokenizer().save(str(made / "tiny-mod" / "tokenizer.json"))
    (made / "prose.txt").write_text(text(), encoding="utf-8")
    return made


@pytest.fixture(autouse=True)
def _here(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder of the models; whoever opens a connection fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something tried to reach a network")

    monkeypatch.chdir(folders)
    monkeypatch.setenv("MODBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def case(spec: str, *, dtype: Dtype = "fp32", **more: Any) -> Case:
    shape: dict[str, Any] = {"d_model": 32, "n_layers": 2, "n_heads": 4, "d_ff": 64, "max_seq_len": 64, **more}
    if spec != "hf:gpt2":
        shape["n_kv_heads"] = 2
    model, options = parse_spec(spec)
    return case_of(model, shape | decided_by(model, options, shape), options=options, seq_len=24, dtype=dtype)


def tokens(b: int, t: int) -> Tensor:
    return torch.randint(256, (b, t), generator=torch.Generator().manual_seed(3))


def counted(it: Case) -> tuple[Any, int]:
    """The module on shapes alone, where no weights are read and no value is looked at, and what the counter sees."""
    with torch.device("meta"):
        module = build_module(it, 0)
        return module, counter.forward(module, torch.zeros(2, 24, dtype=torch.int64)).total


def by_the_library(**options: Any) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained("tiny", **options).eval()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_logits_are_those_of_transformers(attention: str) -> None:
    module: Any = build_module(case(f"hf:tiny(attn={attention})"), 0).eval()
    x_BT, lengths_B = tokens(3, 24), torch.tensor([4, 24, 10])
    wanted_BTV = by_the_library()(input_ids=x_BT).logits
    assert wanted_BTV.std() > 0.01
    torch.testing.assert_close(module(x_BT), wanted_BTV, rtol=0, atol=1e-5)
    torch.testing.assert_close(module(x_BT, lengths_B)[0, :4], wanted_BTV[0, :4], rtol=0, atol=1e-5)  # rows are padded
    assert module.inner.config._attn_implementation == attention


@pytest.mark.parametrize("model", FAMILIES)
def test_a_family_takes_the_suites_shape(model: str) -> None:
    it = case(model)
    module: Any = build_module(it, 0)
    theirs = module.inner.config
    named = (theirs.hidden_size, theirs.num_hidden_layers, theirs.num_attention_heads, theirs.vocab_size)
    assert named == (32, 2, 4, 256)
    assert theirs.max_position_embeddings == 64
    assert it.config.tied == (model not in LIKE_OURS) == theirs.tie_word_embeddings
    again = build_module(it, 0)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("model", FAMILIES)
@pytest.mark.parametrize("lengths", [[14, 14, 14], [9, 14, 5]], ids=["equal", "ragged"])
@torch.no_grad()
def test_decoding_equals_one_forward_pass(model: str, lengths: list[int]) -> None:
    """Every row at its own position, rewound once: the second time must give the same."""
    module: Any = build_module(case(model), 0).eval()
    for weight in module.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    x_BT, rows, lengths_B = tokens(3, 20), torch.arange(3), torch.tensor(lengths)
    wanted_BTV = module(x_BT)
    given = None if len(set(lengths)) == 1 else lengths_B
    first_BV, cache = module.prefill(x_BT[:, :14], given, max_len=20)
    mark = cache.mark()
    for _ in range(2):
        torch.testing.assert_close(first_BV, wanted_BTV[rows, lengths_B - 1], rtol=0, atol=1e-5)
        for step in range(4):
            logits_BV = module.decode(x_BT[rows, lengths_B + step], cache)
            torch.testing.assert_close(logits_BV, wanted_BTV[rows, lengths_B + step], rtol=0, atol=1e-5)
        cache.rewind(mark)
    assert cache.position_B.tolist() == lengths


def test_a_cache_that_cannot_be_rewound_is_a_reason() -> None:
    sliding = transformers.MistralForCausalLM(transformers.MistralConfig(**SHAPE, sliding_window=8))
    assert "DynamicSlidingWindowLayer" in present(HfModel(sliding).why_no_decode())


@pytest.mark.parametrize("model", [*FAMILIES, "hf:tiny"])
def test_the_closed_form_is_what_the_counter_sees(model: str) -> None:
    it = case(model)
    cost, decode = present(case_cost(it)), present(case_decode_cost(it, 24))
    module, seen = counted(it)
    # Before 5.24 the library makes the table of rotations by a product of two vectors.
    assert seen == pytest.approx(cost.forward, rel=1e-3)
    assert cost.params == sum(p.numel() for p in module.parameters())
    real: Any = build_module(it, 0)
    assert real.prefill(tokens(2, 24))[1].nbytes == decode.held * 4
    ours = closed_form("dense", it.config, 24, 2)
    assert (cost.forward_causal, cost.train_step) == (ours.forward_causal, ours.train_step)
    assert of_fake_tensors(it).peak == of_training(Subject(it, 0)).peak  # which forecast its memory exactly


@pytest.mark.parametrize("family", LIKE_OURS)
def test_heads_may_be_wider_than_the_stream(family: str, tmp_path: Path) -> None:
    """As in Qwen3: in the suite's shape, and from a config, whose `head_dim` is read; Qwen3's is 128 where it names none."""
    it, file = case(family, head_dim=24), tmp_path / "config.json"
    build_module(it, 0).inner.config.save_pretrained(tmp_path)  # type: ignore[union-attr, operator]
    read = case(f"hf:{file}")
    assert read.config.head_dim == 24
    for made in (it, read):
        cost = present(case_cost(made))
        module, seen = counted(made)
        assert seen == pytest.approx(cost.forward, rel=1e-3)
        assert cost.params == sum(p.numel() for p in module.parameters())
    said = json.loads(file.read_text())
    del said["head_dim"]
    file.write_text(json.dumps(said))
    unsaid = case(f"hf:{file}")
    assert unsaid.config.head_dim == (128 if family == "hf:qwen3" else 8)
    attention = build_module(unsaid, 0).inner.model.layers[0].self_attn  # type: ignore[union-attr, index]
    assert attention.head_dim == unsaid.config.head_dim


def test_a_converted_model_costs_what_it_processes() -> None:
    """Half of the tokens in the second of two layers: fewer FLOPs than the dense model, by that half."""
    dense, routed = counted(case("hf:tiny"))[1], counted(case("hf:tiny-mod"))[1]
    real = counter.forward(build_module(case("hf:tiny-mod"), 0), tokens(2, 24)).total
    assert 0.6 * dense < routed == real < dense


@pytest.mark.parametrize("model", ["hf:tiny", "hf:tiny-mod"])
@torch.no_grad()
def test_half_precision_keeps_the_rotations(model: str) -> None:
    """`module.to(bfloat16)` alone rounds the frequencies, which turns positions beyond 256 into their neighbours."""
    module: Any = Subject(case(model, dtype="bf16"), 0).module.eval()
    tables = [table.dtype for name, table in module.named_buffers() if "inv_freq" in name]
    assert set(tables) == {torch.float32}
    if model == "hf:tiny":
        x_BT = tokens(2, 200)
        assert torch.equal(module(x_BT), by_the_library(dtype=torch.bfloat16)(x_BT).logits)


def evaluated(spec: str) -> Trained:
    """A run without a step, over 8 windows of 32 tokens of the held-out text."""
    it = case(spec)
    plan = TrainPlan(steps=0, seq_len=32, batch_size=4, val_tokens=256)
    plan = plan.model_copy(update={"tokenizer": tokenizer_of(it.model, it.options, plan)})
    return train(it, protocol_of(Path("prose.txt").absolute(), train=plan.resolved(32, None)))


def test_without_a_step_the_stored_weights_are_evaluated() -> None:
    """The loss that transformers computes itself, over the windows of the held-out text in the model's own tokens."""
    made, words = evaluated("hf:tiny"), tokenizer()
    ids = words.encode(from_file(Path("prose.txt")).val.decode(), add_special_tokens=False).ids
    starts = [round(each) for each in torch.linspace(0, len(ids) - 33, 8).floor().tolist()]
    rows = torch.tensor([ids[start : start + 33] for start in starts])
    loss = float(by_the_library()(input_ids=rows, labels=rows).loss.detach())
    assert made.held_out.loss == pytest.approx(loss, rel=1e-5)
    assert made.held_out.causal == made.held_out.loss
    assert made.curve["loss"] == []
    scored = sum(len(words.decode([i]).encode()) for i in rows[:, 1:].flatten().tolist())
    bits = catalogue.metrics()["bpb/val"].measure(made)
    assert bits == pytest.approx(loss / math.log(2) * 256 / scored, rel=1e-5)


def test_the_losses_of_a_converted_model_are_in_its_own_tokens() -> None:
    """With every token routed through every layer it is the dense model, to the last digit of its loss."""
    dense, found, every = (evaluated(spec).held_out for spec in ("hf:tiny", "hf:tiny-mod", "hf:tiny-mod(rule=dense)"))
    assert every.loss == pytest.approx(dense.loss, rel=1e-5)
    assert abs(found.loss - dense.loss) > 1e-3
    assert found.causal != found.loss
    assert every.causal == pytest.approx(present(found.causal), rel=1e-6)  # the rule of generation stays the folder's


@pytest.mark.parametrize("model", ["dense", "hf:llama"])
def test_random_weights_have_a_reason_in_place_of_a_loss(model: str) -> None:
    with pytest.raises(Unmeasured, match="random"):
        evaluated(model)


def test_what_cannot_be_built_is_one_line(tmp_path: Path) -> None:
    weights = load_file("tiny/model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]  # which the library would draw at random without a word
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_bytes(Path("tiny/config.json").read_bytes())
    fed_bytes = case_of(
        "modbench.plugins.huggingface.mod:build", {"vocab_size": 512}, options={"path": str(Path("tiny-mod"))}
    )
    for it, said in (
        (case(f"hf:{tmp_path}"), r"lack 1 .*'model\.layers\.1\.mlp\.up_proj"),
        (case("hf:gpt2", head_dim=24), "leave out head_dim 24"),
        (fed_bytes, r"tokenizer of .*--model 'hf:"),
    ):
        with pytest.raises(UsageError, match=said) as error:
            build_module(it, 0)
        assert "\n" not in str(error.value)
    build_module(case(f"hf:{tmp_path}(weights=random)"), 0)
