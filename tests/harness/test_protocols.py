"""What a user's model may have beside its forward pass: the examples get it measured, and what is wrong is said."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from present import present
from protocol_cases import case, example, protocol
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.call.subject import check_skipping
from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.model_methods import parts_of
from modbench.harness.machine.process.torchrun import Ranks
from modbench.harness.measure.passes.train import notes_of
from modbench.harness.registry import catalogue, user_models
from modbench.harness.training import training_run
from modbench.harness.training.trainer import Trainer

collect = pytest.importorskip("modbench.plugins.routing.collect", reason="the plug-in is absent")
interventions = pytest.importorskip("modbench.plugins.routing.interventions", reason="the plug-in is absent")

METRICS = catalogue.metrics()


# --- what is found


def test_parts_are_methods_and_what_they_take_by_name() -> None:
    class Some(nn.Module):
        aux_loss = 0.5  # a number is no method
        calibrate = staticmethod(print)
        training_loss: nn.Module  # a submodule is none either

        def forward(self, tokens_BT: Tensor, *, causal: bool = False, **lengths_B: Any) -> Tensor:
            return tokens_BT.roll(causal + len(lengths_B))

    module = Some()
    module.training_loss = nn.CrossEntropyLoss()
    parts = parts_of(module, "mine.py:build")
    assert parts.takes == {"forward": {"causal"}, "calibrate": set()}
    assert parts.given("forward", causal=True, prompt_B=1) == {"causal": True}
    assert re.match("not reported: mine.py:build .*prefill and decode", parts.lacks("prefill and decode"))


# --- routing


@pytest.mark.slow
@pytest.mark.plugin("routing")
def test_what_is_skipped_is_claimed_checked_and_watched(tmp_path: Path) -> None:
    made = Subject(example("routing"), 0)
    found = check_skipping.claims(made.module, made.inputs(0, 1)[0])
    assert [(claim.stated, claim.rows, claim.masked) for claim in found] == [(8, 8.0, False)] * 2
    trained = training_run.train(example("routing"), protocol(tmp_path / "t.txt", watch=True))
    assert present(trained.routing)["participation"] == 0.25
    assert trained.routing_reason == ""
    assert METRICS["router/participation"].measure(trained) == 0.25
    with pytest.raises(Unmeasured, match="no causal rule"):
        METRICS["router/participation_causal"].measure(trained)
    unwatched = training_run.train(example("decoding"), protocol(tmp_path / "t.txt", watch=True))
    with pytest.raises(Unmeasured, match=r"^not reported: .*decoding\.py:build .*observe"):
        METRICS["router/participation"].measure(unwatched)


DECISION: dict[str, Any] = {"layer": 1, "score_BT": torch.zeros(2, 3), "chosen_BT": torch.ones(2, 3)}
TOKENS_BT = torch.zeros(2, 3, dtype=torch.int64)


class Observed(nn.Module):
    """Returns what it is given."""

    def __init__(self, decisions: Any, logits: Tensor | None = None) -> None:
        super().__init__()
        self.found = (torch.zeros(2, 3, 5) if logits is None else logits, decisions)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        return torch.zeros(*tokens_BT.shape, 5)

    def observe(self, tokens_BT: Tensor) -> Any:
        return self.found if tokens_BT.ndim == 2 else None


@pytest.mark.parametrize(
    ("decisions", "logits", "said"),
    [
        ([DECISION], None, "^$"),
        ([DECISION | {"chosen_BT": torch.ones(2, 4)}], None, r"chosen_BT .*\[2, 3\].*\[2, 4\]"),
        ([{"layer": 1}], None, "has no 'score_BT'"),
        ([3], None, "layer, score_BT, chosen_BT.* int"),
        ([DECISION], torch.arange(5.0).expand(2, 3, 5), "those of forward by"),
        ([DECISION], torch.zeros(2, 3, 6), r"returned logits \[2, 3, 6\], forward \[2, 3, 5\]"),
    ],
)
def test_what_is_wrong_with_decisions_is_said(decisions: Any, logits: Tensor | None, said: str) -> None:
    why = collect.why_not_watched(Observed(decisions, logits).eval(), TOKENS_BT, "mine.py:build")
    assert re.search(said, why), why


def test_decisions_are_given_as_the_sections_read_them() -> None:
    (decision,) = collect.observe(Observed([DECISION]), TOKENS_BT, causal=False, prompt_B=torch.ones(2)).decisions
    assert decision.chosen_BT.dtype == torch.bool
    with pytest.raises(ValueError, match=r"has no observe\(..., causal=…\)"):
        collect.observe(Observed([DECISION]), TOKENS_BT, causal=True)
    effects = interventions.flip_effects(Observed([DECISION]), TOKENS_BT, TOKENS_BT)
    assert "has no observe(..., flip_LBT=…)" in effects["reason"]


def test_a_gate_is_told_the_prompt_and_the_lengths() -> None:
    made = Subject(example("prompts"), 0)
    tokens_BT = made.inputs(0, 1)[0]
    whole_B, half_B = torch.tensor([16, 16]), torch.tensor([4, 12])
    with torch.no_grad():
        both, prompt, lengths = (
            made.logits(tokens_BT, lengths_B=lengths_B, prompt_B=prompt_B)[0]
            for lengths_B, prompt_B in ((whole_B, whole_B), (whole_B, half_B), (half_B, half_B))
        )
    assert not torch.equal(both, prompt)
    assert not torch.equal(prompt, lengths)
    assert len(made.module.realised) == 2  # type: ignore[arg-type]


# --- losses and training


def test_a_loss_of_ones_own_is_what_trains_and_a_cross_entropy_is_what_is_told() -> None:
    made = Subject(example("loss"), 0)
    module: Any = made.module.train()
    tokens_BT = made.inputs(0, 1)[0]
    targets_BT = made.targets(tokens_BT)
    own, auxiliary = made.loss(tokens_BT, targets_BT)
    told, again = made.loss(tokens_BT, targets_BT, told=True)
    logits_NV, targets_N = module(tokens_BT).flatten(0, 1), targets_BT.flatten()
    plain, smoothed = F.cross_entropy(logits_NV, targets_N), F.cross_entropy(logits_NV, targets_N, label_smoothing=0.1)
    for value, wanted in ((told, plain), (own, smoothed), (auxiliary, module.aux_loss()), (again, auxiliary)):
        torch.testing.assert_close(value, wanted)
    grads = [torch.autograd.grad(loss, module.head.weight, retain_graph=True)[0] for loss in (told, smoothed)]
    torch.testing.assert_close(*grads)
    module.eval()
    torch.testing.assert_close(made.loss(tokens_BT, targets_BT)[0], plain)
    module.train().aux_loss = lambda: 0.3
    with pytest.raises(TypeError, match=r"aux_loss\(\) .*scalar.* float"):
        made.backward(tokens_BT)


def test_a_term_that_reads_the_weights_is_not_trained_in_shards(tmp_path: Path) -> None:
    run = present(protocol(tmp_path / "t.txt", parallel="fsdp").train)
    batches = cast("Any", None)  # nobody asks for one
    with pytest.raises(Unmeasured, match="FSDP"):
        Trainer(Subject(example("loss"), 0), batches, run, ranks=Ranks(0, 2))


def test_a_router_that_decides_without_the_future_is_evaluated_so(tmp_path: Path) -> None:
    """The top-k of the example sees later tokens; with its threshold it does not, and its loss has no label."""
    given = protocol(tmp_path / "t.txt", steps=6)
    trained = training_run.train(example("loss"), given)
    held_out = trained.held_out
    assert held_out.causality.reads_future
    assert present(held_out.causal_causality).reads_future is False
    assert math.isfinite(present(held_out.causal))
    assert held_out.causal != held_out.loss
    assert notes_of(given, trained).sees_future
    assert trained.curve["loss"][0] == pytest.approx(math.log(256), abs=0.8)


class Told(nn.Embedding):
    """Notes what it is told; reads the last token where it is to be causal."""

    def __init__(self, config: Any) -> None:
        super().__init__(config.vocab_size, config.vocab_size)
        self.seen: list[Any] = []

    def forward(self, tokens_BT: Tensor, *, causal: bool = False) -> Tensor:
        x_BTV = super().forward(tokens_BT)
        return x_BTV + x_BTV[:, -1:] * causal

    def set_progress(self, done: float) -> None:
        self.seen.append(done)

    def calibrate(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> None:
        assert not torch.is_grad_enabled()
        self.seen.append((len(tokens_BT), lengths_B))


def test_progress_is_told_and_a_causal_claim_is_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Told(case("mine.py:build").config)
    monkeypatch.setattr(user_models, "load_user_model", lambda *_: lambda _config: made)
    held_out = training_run.train(case("mine.py:build"), protocol(tmp_path / "t.txt")).held_out
    assert made.seen == [0.0, 0.25, 0.5, 0.75, 1.0, (4, None)]
    assert (held_out.causality.reads_future, held_out.causal) == (False, None)
    assert "forward(causal=True) changed" in held_out.causal_reason
