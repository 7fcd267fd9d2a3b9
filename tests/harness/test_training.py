"""The short training run: data, schedule, that it learns, and what is told of routers and vocabularies."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import case_of, protocol_of
from present import present

from modbench.harness.call.subject import subject as subject_module
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
METRICS = catalogue.metrics()
PLAN = TrainRun(seq_len=16, batch_size=4, steps=40, lr=5e-3, val_tokens=512)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "t.txt").write_text("".join(f"{i} sheep jump over {i} fences. " for i in range(600)))
    return tmp_path / "t.txt"


@pytest.fixture
def protocol(file: Path) -> Callable[..., Protocol]:
    """Makes a protocol of training on that text, with changes to its plan."""
    return lambda **changes: protocol_of(file, train=PLAN.model_copy(update=changes))


def case(model: str, dtype: str = "fp32", **changes: Any) -> Case:
    options = dict(catalogue.model_options(model))
    shape = {"d_model": 32, "n_layers": 4 if model == "depth_branches" else 2, "max_seq_len": 16, **options, **changes}
    return case_of(model, shape, batch_size=4, dtype=dtype)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns(model: str, protocol: Any) -> None:
    """From about ln 256 to well below the entropy of guessing letters; the curve has every step."""
    trained = train(case(model), protocol())
    curve, held_out = trained.curve, trained.held_out
    assert curve["step"] == list(range(40))
    assert curve["tokens"][-1] == 16 * 4 * 40
    assert curve["loss"][0] == pytest.approx(math.log(256), abs=0.8)
    assert held_out.loss < 3.2
    assert held_out.sees_future == catalogue.load("models", model).sees_future(case(model).config)
    # Short runs leave thresholds and predictors rough; a router that let nothing or everything through would be far off.
    assert present(held_out.causal) == pytest.approx(held_out.loss, abs=1.0 if held_out.sees_future else 0)


def test_held_out_loss_is_the_mean_over_its_tokens(file: Path, protocol: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against an independent sum over the same windows with the trained weights."""
    kept = subject_module.Subject(case("dense"), 0)
    monkeypatch.setattr(subject_module, "Subject", lambda *_, **__: kept)
    trained = train(case("dense"), protocol())
    nats, tokens = 0.0, 0
    for inputs_BT, targets_BT, *_ in Windows(encode(from_file(file), "bytes", 256), PLAN, 0).val():
        log_p = kept.module(inputs_BT).log_softmax(-1)
        nats -= log_p.gather(-1, targets_BT[..., None]).sum().item()
        tokens += targets_BT.numel()
    assert tokens == 512
    assert trained.held_out.loss == pytest.approx(nats / tokens, rel=1e-5)


def test_windows_depend_on_seed_and_step_alone_and_held_out_ones_are_held_out(file: Path) -> None:
    text = encode(from_file(file), "bytes", 256)
    drawn = [Windows(text, PLAN, seed).train(step)[0] for seed, step in ((3, 5), (3, 5), (3, 6), (4, 5))]
    assert [torch.equal(drawn[0], other) for other in drawn] == [True, True, False, False]
    inputs_BT, targets_BT, *_ = Windows(text, PLAN, 3).train(0)
    assert torch.equal(inputs_BT[:, 1:], targets_BT[:, :-1])
    assert inputs_BT.shape == (4, 16)
    sides = Windows(encode(Text("t", b"a" * 500, b"b" * 200, "x"), "bytes", 256), PLAN, 0)
    for batches, letter in ((sides.val(), "b"), (map(sides.train, range(20)), "a")):
        assert {int(token) for batch in batches for side in batch[:2] for token in side.unique()} == {ord(letter)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [pytest.param(each, marks=() if each == "mod" else pytest.mark.proof) for each in MODELS]
)
def test_bf16_trains_under_autocast_as_fp32_does(model: str, protocol: Any) -> None:
    """Five steps stay beside those of fp32, and learn."""
    short = protocol(steps=5, val_tokens=64)
    half, full = (train(case(model, dtype), short).curve["loss"] for dtype in ("bf16", "fp32"))
    assert half == pytest.approx(full, rel=0.02)
    assert half != full
    assert half[-1] < half[0] - 0.1


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"dtype": "fp16"}, "loss scaling"), ({"vocab_size": 100}, "256 byte tokens"), ({}, "corpus changed")],
)
def test_what_cannot_be_trained_has_a_reason(changes: dict[str, Any], words: str, file: Path, protocol: Any) -> None:
    made = protocol()
    if not changes:
        file.write_text("something else " * 100)
    with pytest.raises((Unmeasured, ValueError), match=words):
        train(case("dense", **changes), made)


@pytest.mark.slow
@pytest.mark.plugin("routing")
@pytest.mark.parametrize(
    "model",
    [
        "mod",
        "depth_predictor",
        *(pytest.param(each, marks=pytest.mark.proof) for each in ("mode_staged", "moe", "dense")),
    ],
)
def test_what_routers_did_stands_in_the_metrics(model: str, protocol: Any) -> None:
    """A number where there is a router, a reason where there is none."""
    trained = train(case(model), protocol(watch=True, looks=2, flips=4))
    held_out = trained.held_out
    assert trained.looks["step"] == [20, 40]
    assert trained.looks["loss"][-1] < trained.looks["loss"][0]
    assert len(held_out.by_position) == 16
    assert sum(held_out.by_position) / 16 == pytest.approx(held_out.loss)
    if held_out.causal is not None:
        assert METRICS["loss/gap"].measure(trained) == pytest.approx(held_out.causal - held_out.loss)
    if model in {"mod", "mode_staged"}:
        assert 0.8 < METRICS["router/base_rate"].measure(trained) <= 1
        assert 0 <= METRICS["router/balanced_accuracy"].measure(trained) <= 1
    if model == "mod":
        assert METRICS["router/participation"].measure(trained) == pytest.approx(2 / 16)  # k of 16 tokens at 0.125
    if model in {"dense", "depth_predictor"}:
        with pytest.raises(Unmeasured, match="no token router"):
            METRICS["router/participation"].measure(trained)


def test_a_vocabulary_of_pairs_is_trained_and_told_in_bytes(protocol: Any) -> None:
    """Fewer tokens than bytes; bits per byte account for that."""
    trained = train(case("dense", vocab_size=300), protocol(tokenizer="bpe"))
    assert trained.tokens_per_byte < 0.8
    bits = METRICS["bpb/val"].measure(trained)
    assert bits == pytest.approx(trained.held_out.loss / math.log(2) * trained.tokens_per_byte)
