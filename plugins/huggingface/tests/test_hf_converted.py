"""`hf:FOLDER` of a folder that `modbench convert` wrote: its own tokens, its routers, decoding, and a cost on shapes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cases import case_of, protocol_of

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("tokenizers", reason="the extra bpe is not installed")

from hf_folders import text, tokenizer, write_llama  # after the checks

from modbench.harness.call.subject.build import build_module
from modbench.harness.call.subject.generation import Generation
from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.errors import UsageError
from modbench.harness.core.model_methods import parts_of
from modbench.harness.core.model_specs import parse_spec
from modbench.harness.core.train_plan import TrainPlan
from modbench.harness.domain.case import Case, Dtype
from modbench.harness.measure.passes.memory import forecasts
from modbench.harness.planning.flops import counter
from modbench.harness.planning.jobs import tokenizer_of
from modbench.harness.planning.variants import decided_by
from modbench.harness.training.training_run import train
from modbench.plugins.huggingface.mod import Logits, MoDForCausalLM, MoDOptions, convert

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A Llama of two layers, and the same with the second routed at capacity 0.5."""
    dense, routed = (tmp_path_factory.mktemp("hf") / name for name in ("tiny", "tiny-mod"))
    model = convert(write_llama(dense).eval(), MoDOptions(capacity=0.5, router_init=1.0), seed=1)
    ids = tokenizer().encode(text()).ids[:256]
    model.calibrate(torch.tensor(ids).view(4, 64))
    model.save_pretrained(routed)  # type: ignore[operator]  # of PreTrainedModel
    tokenizer().save(str(routed / "tokenizer.json"))
    return dense, routed


def case(spec: str, *, dtype: Dtype = "fp32") -> Case:
    model, options = parse_spec(spec)
    return case_of(model, decided_by(model, options, {}), options=options, seq_len=24, dtype=dtype)


def tokens() -> torch.Tensor:
    return torch.randint(400, (2, 24), generator=torch.Generator().manual_seed(3))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODBENCH_CACHE", str(tmp_path / "cache"))


def held_out(it: Case, folder: Path) -> Any:
    """The losses of a run without a step, on the text beside the tokenizer."""
    file = folder / "prose.txt"
    file.write_text(text(), encoding="utf-8")
    plan = TrainPlan(steps=0, seq_len=32, batch_size=4, val_tokens=256)
    plan = plan.model_copy(update={"tokenizer": tokenizer_of(it.model, it.options, plan)})
    return train(it, protocol_of(file, train=plan.resolved(32, None))).held_out


def test_its_losses_are_in_its_own_tokens(folders: tuple[Path, Path]) -> None:
    """With every token routed through every layer it is the dense model, to the last digit of its loss."""
    dense, routed = folders
    it = case(f"hf:{routed}")
    assert tokenizer_of(it.model, it.options, TrainPlan(steps=0)) == f"hf:{routed}"
    theirs = held_out(case(f"hf:{dense}"), dense)
    every = held_out(case(f"hf:{routed}(rule=dense)"), routed)
    assert every.loss == pytest.approx(theirs.loss, rel=1e-5)
    found = held_out(it, routed)
    assert found.causal is not None
    assert abs(found.loss - theirs.loss) > 1e-3
    assert found.causal != found.loss
    assert every.causal == pytest.approx(found.causal, rel=1e-6)  # the rule of generation stays the folder's


@torch.no_grad()
def test_it_is_the_folders_model_with_all_its_parts(folders: tuple[Path, Path]) -> None:
    _, routed = folders
    subject = Subject(case(f"hf:{routed}"), 0)
    module: Any = subject.module.eval()
    theirs = Logits(MoDForCausalLM.from_pretrained(str(routed)))
    x_BT = tokens()
    assert torch.equal(module(x_BT), theirs(x_BT))
    assert torch.equal(module(x_BT, causal=True), theirs(x_BT, causal=True))
    assert not torch.equal(module(x_BT), module(x_BT, causal=True))
    assert parts_of(module, "it").has("observe", "prefill", "decode", "aux_loss", "calibrate")
    assert [int(each.chosen_BT.sum()) for each in module.observe(x_BT)[1]] == [24]
    subject.check(x_BT)
    Generation(subject).ready()  # the guard compares decoding with the forward pass


def test_its_cost_is_counted_on_shapes_alone(folders: tuple[Path, Path]) -> None:
    """Half of the tokens in the second of two layers: fewer FLOPs than the dense model, by that half."""
    seen = {}
    for folder in folders:
        it = case(f"hf:{folder}")
        with torch.device("meta"):
            seen[folder] = counter.forward(build_module(it, 0), torch.zeros(2, 24, dtype=torch.int64)).total
        assert forecasts(it).bytes["memory/peak_allocated"]
    real = counter.forward(build_module(case(f"hf:{folders[1]}"), 0), tokens()).total
    assert 0.6 * seen[folders[0]] < seen[folders[1]] == real < seen[folders[0]]


@torch.no_grad()
def test_half_precision_keeps_the_rotations(folders: tuple[Path, Path]) -> None:
    """A table that is rounded to bfloat16 turns positions beyond 256 into their neighbours."""
    module: Any = Subject(case(f"hf:{folders[1]}", dtype="bf16"), 0).module
    tables = {name: table.dtype for name, table in module.named_buffers() if "inv_freq" in name}
    assert tables
    assert set(tables.values()) == {torch.float32}


def test_the_function_of_python_refuses_to_be_fed_bytes(folders: tuple[Path, Path]) -> None:
    build = "modbench.plugins.huggingface.mod:build"
    with pytest.raises(UsageError, match=r"tokenizer of .*--model 'hf:"):
        build_module(case_of(build, {"vocab_size": 512}, options={"path": str(folders[1])}), 0)
