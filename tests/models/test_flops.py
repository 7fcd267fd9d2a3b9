"""Closed form = counter, for every model and capacity; fvcore as the third opinion; both on every supported torch."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from modbench.harness import catalogue
from modbench.harness.case import Case, Place, Protocol, TrainPlan
from modbench.harness.config import ModelConfig
from modbench.harness.contracts import Cost
from modbench.harness.flops import count_forward, count_train
from modbench.harness.passes.count import _count_own, _count_reference, disagreement
from modbench.harness.passes.memory import weigh
from modbench.models.dense import Dense

MODELS = sorted(catalogue.entries("models"))
CAPACITIES = [0.0625, 0.125, 0.25, 0.5, 1.0]


def case(model: str, seq_len: int = 48, batch_size: int = 2, **changes: Any) -> Case:
    options = dict(catalogue.model_options(model)) if ":" not in model else {}
    shape = {"d_model": 64, "n_layers": 4, "n_heads": 4, "max_seq_len": 256, **options, **changes}
    place = Place(seq_len=seq_len, batch_size=batch_size, dtype="fp32", device="cpu", threads=1, compile=False)
    return Case(model=model, arm_parts=(), config=ModelConfig.model_validate(shape), place=place)


def realised_cost(module: Any, made: Case, seq_len: int) -> Cost:
    """The closed form; of a model whose cost depends on the input, of what its last call did."""
    model = catalogue.load("models", made.model)
    realised = (module.realised,) if model.dynamic else ()
    cost: Cost = model.cost(made.config, seq_len, 2, *realised)
    return cost


def capacities(model: str) -> list[float | None]:
    return [*CAPACITIES] if "capacity" in catalogue.model_options(model) else [None]


@pytest.mark.parametrize(("model", "capacity"), [(m, c) for m in MODELS for c in capacities(m)])
def test_closed_form_equals_counter_exactly(model: str, capacity: float | None) -> None:
    """Forward, train step and parameters: not within 0.5 %, but to the last FLOP."""
    counted = _count_reference(case(model, capacity=capacity), seed=0)
    assert counted.mismatch is None
    assert counted.forward == counted.notes["counter_forward"]
    assert counted.train_step == counted.notes["counter_train_step"]
    assert sum(counted.notes["parts"].values()) == counted.forward


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    model=st.sampled_from(MODELS),
    t=st.integers(1, 100),
    b=st.integers(1, 3),
    heads=st.sampled_from([(4, 4), (4, 2), (2, 1)]),
    layers=st.integers(2, 5),
    shape=st.fixed_dictionaries(
        {
            "tied": st.booleans(),
            "activation": st.sampled_from(["swiglu", "gelu"]),
            "mixer": st.sampled_from(["attention", "window", "convolution"]),
            "window": st.integers(1, 60),
            "bidirectional": st.booleans(),
        }
    ),
    routing=st.fixed_dictionaries(
        {
            "capacity": st.floats(0.01, 1.0),
            "every": st.integers(1, 3),
            "granularity": st.sampled_from(["block", "attention", "mlp"]),
            "router": st.sampled_from(sorted(catalogue.entries("routers"))),
            "causal": st.sampled_from(["predictor", "aux_loss", "threshold", "none"]),
            "round_k": st.sampled_from([1, 8]),
            "choice": st.sampled_from(["expert", "token"]),
            "experts_top_k": st.integers(1, 2),
            "n_no_ops": st.integers(1, 2),
            "gate": st.sampled_from(["straight_through", "gumbel"]),
            "exit_by": st.sampled_from(["sequence", "token"]),
        }
    ),
)
def test_closed_form_equals_counter_on_any_shape(
    model: str,
    t: int,
    b: int,
    heads: tuple[int, int],
    layers: int,
    shape: dict[str, Any],
    routing: dict[str, Any],
) -> None:
    """Every option that a model reads; to the last FLOP and the last parameter."""
    options = catalogue.model_options(model)
    changes = {key: value for key, value in routing.items() if key in options}
    if shape["bidirectional"] and shape["mixer"] == "window":
        shape = {**shape, "mixer": "attention"}
    if changes.get("exit_by") == "token" and (shape["bidirectional"] or shape["mixer"] == "convolution"):
        changes["exit_by"] = "sequence"
    if model == "depth_branches":
        layers = max(layers, 4)
    counted = _count_reference(
        case(model, t, b, n_heads=heads[0], n_kv_heads=heads[1], n_layers=layers, **shape, **changes), seed=0
    )
    assert counted.mismatch is None
    assert counted.forward == counted.notes["counter_forward"]
    assert counted.train_step == counted.notes["counter_train_step"]


@pytest.mark.parametrize("model", MODELS)
def test_causal_closed_form_equals_causal_counter_on_real_tensors(model: str) -> None:
    """On a CPU torch up to 2.13 counts fused attention as 0 without a word; the registered formulas count it right."""
    made = case(model, 40)
    module = catalogue.load("models", model).build(made.config)
    x_BT = torch.zeros(2, 40, dtype=torch.int64)
    assert count_forward(module, x_BT) > 0
    cost = realised_cost(module, made, 40)
    assert count_forward(module, x_BT) == cost.forward
    assert count_forward(module, x_BT, causal=True) == cost.forward_causal


def test_attention_is_counted_on_a_cpu() -> None:
    """Trap 1 of the fact sheet: one layer of attention, nothing else; 2 x B x H x T x T x (d + d)."""

    class OnlyAttention(torch.nn.Module):
        def forward(self, q_BHTd: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(q_BHTd, q_BHTd, q_BHTd, is_causal=True)

    q_BHTd = torch.randn(2, 4, 64, 16)
    assert count_forward(OnlyAttention(), q_BHTd) == 2 * 2 * 4 * 64 * 64 * 32
    assert count_forward(OnlyAttention(), q_BHTd, causal=True) == 2 * 2 * 4 * (64 * 65 // 2) * 32


def test_backward_is_twice_forward_on_meta() -> None:
    with torch.device("meta"):
        module = Dense(case("dense").config)
        x_BT = torch.zeros(2, 48, dtype=torch.int64)
    assert count_train(module, x_BT) == 3 * count_forward(module, x_BT)


@pytest.mark.parametrize("model", MODELS)
def test_fvcore_doubled_is_a_third_opinion(model: str) -> None:
    """fvcore counts one multiply-add as one and no attention: doubled, with a handle, it agrees."""
    nn = pytest.importorskip("fvcore.nn", reason="fvcore does not import here")
    from fvcore.nn.jit_handles import get_shape

    def attention(inputs: list[Any], _outputs: list[Any]) -> int:
        (b, h, q, d), (_, _, k, _), (*_, v) = (get_shape(tensor) for tensor in inputs[:3])
        return int(b * h * q * k * (d + v))

    made = case(model)
    module = catalogue.load("models", model).build(made.config).eval()
    logging.getLogger("fvcore").setLevel(logging.ERROR)  # its list of uncounted cheap operators
    analysis = nn.FlopCountAnalysis(module, torch.zeros(2, 48, dtype=torch.int64))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.set_op_handle("aten::scaled_dot_product_attention", attention)
    # Norms and softmax count 0 by our convention; fvcore charges some of them.
    ours = 0.0
    for operator, count in analysis.by_operator().items():
        ours += (
            2 * count if operator in {"linear", "matmul", "bmm", "scaled_dot_product_attention", "addmm", "mm"} else 0
        )
    wanted = realised_cost(module, made, 48)
    # The branches' gate decides on the host: to a tracer nothing depends on it, so it is dropped as dead.
    unseen = wanted.parts["gate"] if model == "depth_branches" else 0
    assert ours == pytest.approx(wanted.forward - unseen, rel=1e-9)


def test_a_disagreement_over_half_a_percent_is_named() -> None:
    assert disagreement("forward FLOPs", 1000, 1004) is None
    said = disagreement("forward FLOPs", 1000, 1006)
    assert said is not None
    assert "closed form 1000" in said
    assert "0.60%" in said


def test_a_users_model_is_counted_by_the_counter_alone(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def build(config):\n"
        "    d, v = config.d_model, config.vocab_size\n"
        "    return torch.nn.Sequential(torch.nn.Embedding(v, d), torch.nn.Linear(d, v))\n"
        "class Recurrent(torch.nn.Module):\n"
        "    def __init__(self, config):\n"
        "        super().__init__()\n"
        "        self.inner, self.rnn = build(config), torch.nn.LSTM(config.vocab_size, config.vocab_size, batch_first=True)\n"
        "    def forward(self, x):\n"
        "        return self.rnn(self.inner(x))[0]\n"
        "def recurrent(config):\n"
        "    return Recurrent(config)\n"
        "def no_matmul(config):\n"
        "    return torch.nn.Embedding(config.vocab_size, config.vocab_size)\n"
    )
    monkeypatch.chdir(tmp_path)
    counted = _count_own(case("mine.py:build"), seed=0)
    assert counted.forward == 2 * 2 * 48 * 64 * 256
    assert counted.train_step == 3 * counted.forward
    assert "no closed form" in counted.notes["source"]
    assert counted.notes["uncounted"] == []
    partial = _count_own(case("mine.py:recurrent"), seed=0)
    assert "mkldnn_rnn_layer" in partial.notes["source"] or "lstm" in partial.notes["source"]
    assert "a lower bound" in partial.notes["source"]
    with pytest.raises(ValueError, match="0 FLOPs would be a lie"):
        _count_own(case("mine.py:no_matmul"), seed=0)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("t", [64, 256])
def test_memory_forecast_is_near_the_measured_peak(model: str, t: int) -> None:
    """The closed form is an estimate: held within a tenth of what the storage tracker sees."""
    from modbench.harness.catalogue import metrics

    made = case(model, t, 4, d_model=128)
    protocol = Protocol(
        rounds=1,
        warm_up_calls=1,
        seed=0,
        train=TrainPlan(),
        corpus="stdlib",
        corpus_path=None,
        corpus_sha256="",
    )
    measured = weigh(made, protocol, metrics()["memory/peak_allocated"])
    forecast = catalogue.load("models", model).cost(made.config, t, 4).memory_train(4)
    assert forecast == pytest.approx(measured, rel=0.1)


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
