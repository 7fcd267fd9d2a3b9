"""Closed form = counter, for every model and capacity; fvcore as the third opinion; both on every supported torch."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import case_of
from hypothesis import given, settings
from hypothesis import strategies as st
from present import present
from torch.nn.attention import SDPBackend, sdpa_kernel

from modbench.harness.core.contracts import Cost
from modbench.harness.domain.case import Case
from modbench.harness.measure.passes.count import Counted, count
from modbench.harness.planning.flops import counter
from modbench.harness.planning.flops.counter import disagreement, is_cheap
from modbench.harness.registry import catalogue

MODELS = sorted(catalogue.entries("models"))


def case(model: str, seq_len: int = 48, batch_size: int = 2, **changes: Any) -> Case:
    options = dict(catalogue.model_options(model)) if ":" not in model else {}
    shape = {"d_model": 64, "n_layers": 4, "n_heads": 4, "max_seq_len": 256, **options, **changes}
    return case_of(model, shape, seq_len=seq_len, batch_size=batch_size)


def fewest(model: str) -> int:
    """Layers with which a model can be built: what they compute, hold and save grows with their number, so few tell as much."""
    return 4 if model == "depth_branches" else 2


def realised_cost(module: Any, made: Case, seq_len: int) -> Cost:
    """The closed form; of a model whose cost depends on the input, of what its last call did."""
    model = catalogue.load("models", made.model)
    realised = (module.realised,) if model.dynamic else ()
    cost: Cost = model.cost(made.config, seq_len, 2, *realised)
    return cost


# Any other capacity is drawn below.
TOKEN: dict[str, Any] = {"choice": "token", "capacity": 0.5, "experts_top_k": 2}
SIZES: list[tuple[str, dict[str, Any]]] = [
    *((model, {}) for model in MODELS),
    ("mod", {"capacity": 1.0}),
    ("mode_integrated", {**TOKEN, "no_op": "identity", "no_op_logits": "shared", "balance": "bias"}),
    ("mode_integrated", {**TOKEN, "no_op": "constant", "balance": "threshold"}),
]


def reconciled(made: Case, *, guards: bool = True) -> Counted:
    """The count of a case in which every opinion agrees with the closed form, module by module, to the last FLOP.

    Args:
        made: the case.
        guards: whether real tensors are looked at as well, which takes as long as the rest.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not guards:
            patch.setattr(
                "modbench.harness.measure.passes.count.executed", lambda _case, _seed, notes, **_: ({}, notes)
            )
        counted = count(made, seed=0, hardware=False, parts=("training", "third_opinion"))
    assert counted.mismatch is None
    explained = counted.notes.explained
    for row in counted.notes.modules:
        assert row.counter == row.closed_form, row
        if counted.notes.fvcore_reason is None and f"fvcore {row.module}" not in explained:
            # fvcore reads einsum's numbers from a rounded print (facts: 0.007 % off); products are exact.
            assert row.fvcore == pytest.approx(row.closed_form, rel=1e-4), row
    assert counted["forward"] == counted.notes.counter_forward
    assert counted["train_step"] == counted.notes.counter_train_step
    assert sum(counted.notes.parts.values()) == counted["forward"]
    return counted


@pytest.mark.slow
@pytest.mark.parametrize(("model", "options"), SIZES, ids=str)
def test_closed_form_equals_counter_exactly(model: str, options: dict[str, Any]) -> None:
    """Forward, train step, parameters and every module: not within 0.5 %, but to the last FLOP; fvcore doubled agrees."""
    counted = reconciled(case(model, **{"n_layers": fewest(model), **options}))
    assert counted.notes.fvcore_reason is None
    assert len(counted.notes.modules) > 4
    assert present(counted.notes.operators).unknown == {}


# Of all models, and of those that read them.
OF_ALL = {"n_layers", "tied", "activation", "norm", "position", "mixer", "window", "bidirectional", "head_dim"}
ANY: dict[str, list[Any]] = {
    "n_layers": [2, 3, 4, 5],
    "tied": [False, True],
    "activation": ["swiglu", "gelu"],
    "norm": ["rms", "layer"],
    "position": ["rotary", "learned"],
    "mixer": ["attention", "window", "convolution"],
    "window": [*range(1, 61)],
    "bidirectional": [False, True],
    "head_dim": [None, None, 8, 24, 40],
    "every": [1, 2, 3],
    "granularity": ["block", "attention", "mlp"],
    "router": sorted(catalogue.entries("routers")),
    "causal": ["predictor", "aux_loss", "threshold", "none"],
    "round_k": [1, 8],
    "choice": ["expert", "token"],
    "experts_top_k": [1, 2],
    "n_no_ops": [1, 2],
    "expert_d_ff": [None, 24, 200],
    "shared_experts": [0, 1, 2],
    "gate": ["straight_through", "gumbel"],
    "exit_by": ["sequence", "token"],
    "no_op": ["zero", "identity", "constant"],
    "no_op_logits": ["own", "shared"],
    "balance": ["loss", "bias", "threshold"],
}


@pytest.mark.slow
@settings(max_examples=settings().max_examples // 2)  # each takes a second
@given(
    model=st.sampled_from(MODELS),
    t=st.integers(1, 100),
    b=st.integers(1, 3),
    heads=st.sampled_from([(4, 4), (4, 2), (2, 1)]),
    drawn=st.fixed_dictionaries({"capacity": st.floats(0.01, 1.0), **{k: st.sampled_from(v) for k, v in ANY.items()}}),
)
def test_closed_form_equals_counter_on_any_shape(
    model: str, t: int, b: int, heads: tuple[int, int], drawn: dict[str, Any]
) -> None:
    """Every option that a model reads; to the last FLOP and the last parameter."""
    no_ops = {"no_op", "no_op_logits", "balance"} if drawn["choice"] == "expert" else set()
    read = catalogue.model_options(model).keys() | OF_ALL
    shape = {key: value for key, value in drawn.items() if key in read - no_ops}
    if shape["bidirectional"] and shape["mixer"] == "window":
        shape["mixer"] = "attention"
    if shape["mixer"] == "window":
        shape["position"] = "rotary"
    if shape["mixer"] == "convolution":
        shape["head_dim"] = None
    if shape.get("exit_by") == "token" and (shape["bidirectional"] or shape["mixer"] == "convolution"):
        shape["exit_by"] = "sequence"
    if model == "depth_branches":
        shape["n_layers"] = max(shape["n_layers"], 4)
    if shape.get("n_no_ops", 2) < shape.get("experts_top_k", 1):
        shape["n_no_ops"] = shape["experts_top_k"]  # fewer no-ops than choices cannot have every capacity
    made = case(model, t, b, n_heads=heads[0], n_kv_heads=heads[1], **shape)
    reconciled(made, guards=False)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_closed_forms_equal_the_counter_on_real_tensors(model: str) -> None:
    """On a CPU torch up to 2.13 counts fused attention as 0 without a word; the registered formulas count it right."""
    made = case(model, 40)
    module = catalogue.load("models", model).build(made.config)
    x_BT = torch.randint(256, (2, 40), generator=torch.Generator().manual_seed(0))
    found = counter.forward(module, x_BT).total
    cost = realised_cost(module, made, 40)
    assert found == cost.forward > 0
    assert counter.forward(module, x_BT, causal=True).total == cost.forward_causal
    # Fused attention's backward computes its scores again.
    expected = catalogue.load("models", model).cost(made.config, 40, 2)
    assert counter.train(module, x_BT).total == expected.train_step_hardware > expected.train_step


@pytest.mark.parametrize("n_kv_heads", [4, 2])
def test_attention_without_a_fused_kernel_is_counted_too(n_kv_heads: int) -> None:
    """CUDA falls back on plain products where no fused kernel takes the shapes: their softmax is no unknown operator."""
    module = catalogue.load("models", "dense").build(case("dense", n_kv_heads=n_kv_heads).config)
    x_BT = torch.zeros(2, 40, dtype=torch.int64)
    with sdpa_kernel(SDPBackend.MATH):
        counted = counter.forward(module, x_BT)
        assert "aten._safe_softmax" in counted.operators["cheap"]
        assert counted.unknown == []
        assert counter.train(module, x_BT).unknown == []


ON_CUDA = """
cudnn_batch_norm cudnn_batch_norm_backward _batch_norm_with_update _batch_norm_no_update _thnn_fused_lstm_cell
_thnn_fused_gru_cell _fused_dropout _weight_norm_interface split_with_sizes_copy _chunk_cat _safe_softmax _masked_softmax
"""


@pytest.mark.parametrize("name", ON_CUDA.split())
def test_cheap_operators_of_cuda_are_known(name: str) -> None:
    """A CPU never runs them; each would make a count on a GPU a lower bound."""
    packet = getattr(torch.ops.aten, name)
    assert all(is_cheap(getattr(packet, overload)) for overload in packet.overloads())


@pytest.mark.slow
def test_where_fvcore_breaks_its_column_gives_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fvcore.nn", None)
    counted = count(case("dense", n_layers=1), seed=0, hardware=False, parts=("third_opinion",))
    assert counted.mismatch is None
    assert present(counted.notes.fvcore_reason).startswith("fvcore failed: ModuleNotFoundError: ")
    assert all(row.fvcore is None for row in counted.notes.modules)


def test_a_disagreement_over_half_a_percent_is_named() -> None:
    assert disagreement("forward FLOPs", 1000, 1004) is None
    said = present(disagreement("forward FLOPs", 1000, 1006))
    assert "closed form 1000" in said
    assert "0.60 %" in said


MINE = """
from torch import nn

def build(config):
    return nn.Sequential(nn.Embedding(config.vocab_size, config.d_model), nn.Linear(config.d_model, config.vocab_size))

class Recurrent(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.inner, self.rnn = build(config), nn.LSTM(config.vocab_size, config.vocab_size, batch_first=True)

    def forward(self, x):
        return self.rnn(self.inner(x))[0]

def no_product(config):
    return nn.Embedding(config.vocab_size, config.vocab_size)
"""


@pytest.mark.slow
def test_a_users_model_is_counted_by_the_counter_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    counted = count(case("mine.py:build"), seed=0)
    assert counted["forward"] == 2 * 2 * 48 * 64 * 256
    assert counted["train_step"] == 3 * counted["forward"]
    assert "no closed form" in str(counted.notes.source)
    assert counted.notes.uncounted == ()
    source = str(count(case("mine.py:Recurrent"), seed=0).notes.source)
    assert re.search("a lower bound.*(mkldnn_rnn_layer|lstm)", source)
    with pytest.raises(ValueError, match="0 FLOPs would be wrong"):
        count(case("mine.py:no_product"), seed=0)


def test_a_training_step_is_promised_what_training_computes() -> None:
    """A gate that skips half of the depth at inference skips nothing in training; a predictor costs only there."""
    gate = catalogue.load("models", "depth_predictor")
    cost = gate.cost(case("depth_predictor", forced_depth=2).config, 48, 2)
    dense = catalogue.load("models", "dense").cost(case("dense").config, 48, 2)
    assert cost.forward_causal < 0.6 * dense.forward_causal
    assert cost.train_step_causal == dense.train_step_causal
    mod = catalogue.load("models", "mod")
    costs = [mod.cost(case("mod", causal=how).config, 48, 2) for how in ("predictor", "threshold")]
    assert costs[0].forward_causal == costs[1].forward_causal
    assert costs[0].train_step_causal > costs[1].train_step_causal
