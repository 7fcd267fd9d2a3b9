"""The short training run: data, schedule, and that it learns."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import case_of, protocol_of
from present import present

from modbench.harness.core.contracts import Text
from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.train_plan import TrainRun
from modbench.harness.domain.case import Case, Protocol
from modbench.harness.planning.text.corpus import from_file
from modbench.harness.planning.text.tokens import encode
from modbench.harness.registry import catalogue
from modbench.harness.training.batches import Windows
from modbench.harness.training.training_run import train

MODELS = sorted(catalogue.entries("models"))
PLAN = TrainRun(seq_len=16, batch_size=4, steps=40, lr=5e-3, val_tokens=512)


def text(path: Path) -> Any:
    path.write_text("".join(f"{i} sheep jump over {i} fences. " for i in range(600)))
    return encode(from_file(path), "bytes", 256)


def case(model: str, dtype: str = "fp32", **changes: Any) -> Case:
    options = dict(catalogue.model_options(model))
    shape = {"d_model": 32, "n_layers": 4 if model == "depth_branches" else 2, "max_seq_len": 16, **options, **changes}
    return case_of(model, shape, batch_size=4, dtype=dtype)


def protocol(path: Path) -> Protocol:
    text(path)
    return protocol_of(path, train=PLAN)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns(model: str, tmp_path: Path) -> None:
    """From about ln 256 to well below the entropy of guessing letters; the curve has every step."""
    trained = train(case(model), protocol(tmp_path / "t.txt"))
    curve = trained.curve
    assert curve["step"] == list(range(40))
    assert curve["tokens"][-1] == 16 * 4 * 40
    assert curve["loss"][0] == pytest.approx(math.log(256), abs=0.8)
    assert trained.held_out.loss < 3.2
    made = case(model)
    assert trained.held_out.sees_future == catalogue.load("models", model).sees_future(made.config)
    # Short runs leave thresholds and predictors rough; a router that let nothing or everything through would be far off.
    assert present(trained.held_out.causal) == pytest.approx(
        trained.held_out.loss, abs=1.0 if trained.held_out.sees_future else 0
    )


def test_held_out_loss_is_the_mean_over_all_its_tokens(tmp_path: Path) -> None:
    """Against an independent sum over the same windows with the trained weights."""
    from modbench.harness.call.subject import subject as subject_module

    kept: list[Any] = []

    class Keeping(subject_module.Subject):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            kept.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject_module, "Subject", Keeping)
        trained = train(case("dense"), protocol(tmp_path / "t.txt"))
    windows = Windows(text(tmp_path / "t.txt"), PLAN, 0)
    nats, tokens = 0.0, 0
    for inputs_BT, targets_BT, *_ in windows.val():
        log_p = kept[0].module(inputs_BT).log_softmax(-1)
        nats -= log_p.gather(-1, targets_BT[..., None]).sum().item()
        tokens += targets_BT.numel()
    assert tokens == 512
    assert trained.held_out.loss == pytest.approx(nats / tokens, rel=1e-5)


def test_windows_depend_on_seed_and_step_alone_and_held_out_ones_are_held_out(tmp_path: Path) -> None:
    made = text(tmp_path / "t.txt")
    one, two, other = (Windows(made, PLAN, seed) for seed in (3, 3, 4))
    assert torch.equal(one.train(5)[0], two.train(5)[0])
    assert not torch.equal(one.train(5)[0], one.train(6)[0])
    assert not torch.equal(one.train(5)[0], other.train(5)[0])
    inputs_BT, targets_BT, *_ = one.train(0)
    assert torch.equal(inputs_BT[:, 1:], targets_BT[:, :-1])
    assert inputs_BT.shape == (4, 16)
    sides = Windows(encode(Text("t", b"a" * 500, b"b" * 200, "x"), "bytes", 256), PLAN, 0)
    for batches, letter in ((sides.val(), "b"), (map(sides.train, range(20)), "a")):
        assert {int(token) for batch in batches for side in batch[:2] for token in side.unique()} == {ord(letter)}


SHORT = PLAN.model_copy(update={"steps": 5, "val_tokens": 64})


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [pytest.param(each, marks=() if each == "mod" else pytest.mark.proof) for each in MODELS]
)
def test_bf16_trains_under_autocast_as_fp32_does(model: str, tmp_path: Path) -> None:
    """Five steps stay beside those of fp32, and learn."""
    made = protocol(tmp_path / "t.txt").model_copy(update={"train": SHORT})
    half, full = (train(case(model, dtype), made).curve["loss"] for dtype in ("bf16", "fp32"))
    assert half == pytest.approx(full, rel=0.02)
    assert half != full
    assert half[-1] < half[0] - 0.1


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"dtype": "fp16"}, "loss scaling"), ({"vocab_size": 100}, "256 byte tokens")],
)
def test_what_cannot_be_trained_has_a_reason(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(Unmeasured, match=words):
        train(case("dense", **changes), protocol(tmp_path / "t.txt"))


def test_a_corpus_that_changed_is_refused(tmp_path: Path) -> None:
    made = protocol(tmp_path / "t.txt")
    (tmp_path / "t.txt").write_text("something else " * 100)
    with pytest.raises(ValueError, match="corpus changed"):
        train(case("dense"), made)


@pytest.mark.slow
def test_the_default_corpus_is_the_standard_library() -> None:
    made = catalogue.load("corpora", "stdlib").read(None)
    assert len(made.train) + len(made.val) > 5e6
    assert 0.03 < len(made.val) / len(made.train) < 0.3
    assert made.sha256 == catalogue.load("corpora", "stdlib").read(None).sha256


WATCHED = PLAN.model_copy(update={"watch": True, "looks": 2, "flips": 4})


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        *("mod", "depth_predictor"),
        *(pytest.param(model, marks=pytest.mark.proof) for model in ("mode_staged", "moe", "dense")),
    ],
)
@pytest.mark.plugin("routing")
def test_what_routers_did_stands_in_the_metrics(model: str, tmp_path: Path) -> None:
    """A number where there is a router, a reason where there is none."""
    made = protocol(tmp_path / "t.txt").model_copy(update={"train": WATCHED})
    trained = train(case(model), made)
    assert trained.looks["step"] == [20, 40]
    assert trained.looks["loss"][-1] < trained.looks["loss"][0]
    assert len(trained.held_out.by_position) == 16
    assert sum(trained.held_out.by_position) / 16 == pytest.approx(trained.held_out.loss)
    metrics = catalogue.metrics()
    if trained.held_out.causal is not None:
        gap = metrics["loss/gap"].measure(trained)
        assert gap == pytest.approx(trained.held_out.causal - trained.held_out.loss)
    if model in {"mod", "mode_staged"}:
        base = metrics["router/base_rate"].measure(trained)
        assert 0.8 < base <= 1
        assert 0 <= metrics["router/balanced_accuracy"].measure(trained) <= 1
    if model == "mod":
        assert metrics["router/participation"].measure(trained) == pytest.approx(2 / 16)  # k of 16 tokens at 0.125
    if model in {"dense", "depth_predictor"}:
        with pytest.raises(Unmeasured, match="no token router"):
            metrics["router/participation"].measure(trained)


def test_a_vocabulary_of_pairs_is_trained_and_told_in_bytes(tmp_path: Path) -> None:
    """Fewer tokens than bytes; bits per byte account for that."""
    plan = PLAN.model_copy(update={"tokenizer": "bpe"})
    made = protocol(tmp_path / "t.txt").model_copy(update={"train": plan})
    trained = train(case("dense", vocab_size=300), made)
    assert trained.tokens_per_byte < 0.8
    bits = catalogue.metrics()["bpb/val"].measure(trained)
    assert bits == pytest.approx(trained.held_out.loss / math.log(2) * trained.tokens_per_byte)
