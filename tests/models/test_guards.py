"""What models are caught at: masking what they computed, reading the future, handing out a stored answer."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from present import present
from test_flops import case
from test_warnings import evidence
from toolbox import tokens
from torch import Tensor, nn
from torch.nn import functional as F

from modbench.harness.call.subject import check_caching, check_causality, check_skipping
from modbench.harness.call.subject.check_timed_calls import Watched
from modbench.harness.call.subject.subject import Subject
from modbench.harness.domain.notes import Claim, CountNotes
from modbench.harness.measure.passes.count import count
from modbench.harness.measure.passes.time import MANY_INPUTS
from modbench.harness.planning.flops import counter
from modbench.harness.registry import catalogue
from modbench.reports.markup.number_format import plain
from modbench.reports.sections.flops import claimed

V, D = 50, 32


COPIES: dict[str, Callable[[Tensor], Tensor]] = {
    "the weight": lambda w: w,
    "cloned": lambda w: w.clone(),
    "cast": lambda w: w.to(torch.float64).to(torch.float32),
    "transposed": lambda w: w.t().contiguous().t(),
    "joined": lambda w: torch.cat([w[:7], w[7:]]),
    "written": lambda w: torch.empty_like(w).copy_(w),
    "a leaf": lambda w: nn.Parameter(w.detach().clone()),
}
B, T, K = 2, 36, 9


class Part(nn.Module):
    """An MLP that is meant for a quarter of the tokens; it states that share, and may state how many tokens it processed."""

    def __init__(self, how: str = "first", *, copy: str = "the weight", states: bool = True) -> None:
        super().__init__()
        self.up, self.down, self.router = nn.Linear(D, 4 * D), nn.Linear(4 * D, D), nn.Linear(D, 1)
        self.table = nn.Parameter(torch.randn(B, T, D))
        self.how, self.copy, self.capacity = how, COPIES[copy], 0.25
        if states:
            self.executed_tokens = B * K

    def mlp(self, x_BTD: Tensor) -> Tensor:
        y_BTD = F.gelu(F.linear(x_BTD, self.copy(self.up.weight), self.up.bias))
        return x_BTD + F.linear(y_BTD, self.copy(self.down.weight), self.down.bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        if self.how == "all":
            return x_BTD + (self.mlp(x_BTD) - x_BTD) * (torch.arange(T) < K)[:, None]
        if "pieces" in self.how:
            pieces = x_BTD.detach().split(K, dim=1) if self.how == "cut pieces" else x_BTD.split(K, dim=1)
            return torch.cat([self.mlp(piece) for piece in pieces], dim=1)
        if self.how == "a table added":
            x_BTD = x_BTD + self.table
        if self.how in {"first", "a table added"}:
            return torch.cat([self.mlp(x_BTD[:, :K]), x_BTD[:, K:]], dim=1)
        chosen_BKD = self.router(x_BTD).topk(K, dim=1).indices.expand(-1, -1, D)
        x_BKD = x_BTD.gather(1, chosen_BKD)
        y_BKD = {
            "twice": lambda: self.mlp(self.mlp(x_BKD)),
            "side by side": lambda: self.mlp(x_BKD) + self.mlp(2 * x_BKD),
            "others": lambda: self.mlp(x_BKD) + self.mlp(x_BTD[:, -K:]),
        }[self.how]()
        return x_BTD.scatter(1, chosen_BKD, y_BKD)


class Model(nn.Module):
    """A user's model with such a part three modules deep."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, D)
        self.layers = nn.ModuleList([nn.ModuleDict({"inner": part})])
        self.head = nn.Linear(D, V)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        logits_BTV: Tensor = self.head(self.layers[0]["inner"](self.embedding(tokens_BT)))  # type: ignore[index]  # a ModuleDict
        return logits_BTV


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def claims(model: nn.Module) -> list[Claim]:
    return check_skipping.claims(model, tokens(B, T))


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize(
    ("how", "copy", "rows", "masked"),
    [
        *(
            (how, copy, rows, masked)
            for copy in COPIES
            for how, rows, masked in (("first", 18, False), ("all", 72, True))
        ),
        ("twice", "the weight", 36, False),
        ("side by side", "the weight", 36, False),
        ("others", "the weight", 36, True),
        ("pieces", "the weight", 72, True),
        ("cut pieces", "the weight", 72, True),
        ("a table added", "the weight", 18, False),  # their sum is no copy of the table
    ],
)
def test_weights_may_meet_the_stated_tokens_again_and_no_others(
    how: str, copy: str, rows: int, masked: bool, states: bool
) -> None:
    """At any depth, and through copies of the weights; a capacity alone is held too."""
    (claim,) = claims(Model(Part(how, copy=copy, states=states)))
    assert (claim.module, claim.capacity, claim.stated, claim.tokens) == ("layers.0.inner", 0.25, 18, 72)
    assert (claim.rows, claim.masked) == (rows, masked)


def test_weights_that_are_used_outside_of_their_module_count() -> None:
    """Its own call keeps the claim; the model multiplies all tokens with its weights beside it."""

    class Beside(Model):
        def forward(self, tokens_BT: Tensor) -> Tensor:
            part: Any = self.layers[0]["inner"]  # type: ignore[index]  # a ModuleDict
            x_BTD = self.embedding(tokens_BT)
            return self.head(part(x_BTD) + 0 * part.mlp(x_BTD))  # type: ignore[no-any-return]  # a module's

    (claim,) = claims(Beside(Part("twice")))
    assert claim.masked


def test_a_claim_that_could_not_be_checked_says_so() -> None:
    """A module without a weight in any product: nothing was seen, which is not the same as nothing wrong."""
    part = nn.Identity()
    part.capacity, part.executed_tokens = 0.25, 18  # type: ignore[assignment]  # the protocol, by hand
    (claim,) = claims(Model(part))
    assert (claim.rows, claim.masked) == (None, False)
    assert "could not be checked" in plain(claimed(CountNotes(claims=(claim,))))
    doubted = evidence(counted={"claims": [claim.model_dump()]})
    assert "layers.0.inner" in str(catalogue.load("warnings", "unchecked").check(doubted))


class Leaking(nn.Module):
    """Says the next token out loud, and something that would blind a coarse look; or only at some places."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, tokens_BT: Tensor) -> Tensor:
        logits_BTV = 8.0 * F.one_hot(tokens_BT.roll(-1, dims=1), V).float()
        if self.how == "a forbidden token":
            logits_BTV[..., 0] = -1e9
        if self.how == "an impossible token":
            logits_BTV[..., 0] = -torch.inf
        if self.how == "seeded noise":
            logits_BTV = logits_BTV + 1e-3 * torch.randn(logits_BTV.shape)
        if self.how == "every fourth place":
            logits_BTV = logits_BTV * (torch.arange(tokens_BT.shape[1]) % 4 == 1)[:, None]
        return logits_BTV


@pytest.mark.parametrize("how", ["a forbidden token", "an impossible token", "seeded noise", "every fourth place"])
def test_a_leak_cannot_hide_behind_scale_noise_or_place(how: str) -> None:
    found = check_causality.guard(
        Leaking(how), torch.randint(V, (2, 128), generator=torch.Generator().manual_seed(1)), V
    )
    assert found.reads_future
    assert present(found.change) > 1


ANEW = itertools.count()


def drawn_anew(tokens_BT: Tensor) -> Tensor:
    """Noise that no seed controls."""
    return 0.1 * torch.randn((*tokens_BT.shape, V), generator=torch.Generator().manual_seed(next(ANEW)))


@pytest.mark.parametrize(
    ("forward", "length", "tried", "said"),
    [
        (drawn_anew, 24, True, "differ by up to"),
        # No difference to NaN is ever large.
        (lambda x_BT: torch.full((*x_BT.shape, V), torch.nan), 24, True, "not numbers"),
        (Leaking("openly"), 1, False, "token"),
    ],
)
def test_where_nobody_can_tell_causality_is_left_open(forward: Any, length: int, tried: bool, said: str) -> None:
    found = check_causality.guard(forward, tokens(2, length), V)
    assert (found.reads_future, found.tried) == (None, tried)
    assert said in str(found.reason)


# Models of the museum, which imports `plain` from its folder.
ODD = Path(__file__).parents[1] / "cheats" / "odd_but_honest.py"


@pytest.mark.slow
def test_a_cost_that_depends_on_the_input_is_the_mean_over_the_batches_that_are_timed() -> None:
    made = case(f"{ODD}:EarlyExit")
    found, subject = count(made, seed=0), Subject(made, 0)
    subject.module.eval()
    timed = subject.inputs(0, MANY_INPUTS)
    each = [counter.forward(subject.module, tokens_BT, causal=True).total for tokens_BT in timed]
    assert len(set(each)) > 1
    assert found.notes.counted_inputs == MANY_INPUTS
    assert found["forward"] == found["forward_causal"] == fmean(each)
    assert found["train_step_causal"] == 3 * fmean(each)


@pytest.mark.slow
def test_a_capacity_that_training_moves_is_counted_as_it_is_measured() -> None:
    """Called once in training mode, as the contract check did, it computes all tokens from then on."""
    made = case(f"{ODD}:CapacityThatTrainingMoves")
    found, subject = count(made, seed=0), Subject(made, 0)
    tokens_BT = subject.inputs(0, 1)[0]
    assert found["forward"] == counter.forward(subject.module, tokens_BT).total
    subject.module.train()(tokens_BT)
    assert counter.forward(subject.module, tokens_BT).total > 1.3 * found["forward"]
    assert found.notes.counted_inputs == 1


def test_both_counts_of_one_call_are_those_of_two_calls() -> None:
    """Attention over the square and over the triangle, with fused attention that masks."""
    subject = Subject(case("dense"), 0)
    tokens_BT = subject.inputs(0, 1)[0]
    whole, causal = counter.both(subject.module, tokens_BT)
    assert whole.total == counter.forward(subject.module, tokens_BT).total > causal
    assert causal == counter.forward(subject.module, tokens_BT, causal=True).total


class Changes(nn.Module):
    """A model whose timed calls differ from those before: they keep a part, or write into weights, inputs or a state."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.embedding, self.up, self.head = nn.Embedding(256, D), nn.Linear(D, 4 * D), nn.Linear(4 * D, 256)
        self.how, self.calls, self.kept = how, 0, torch.zeros(())

    def forward(self, tokens_BT: Tensor) -> Tensor:
        self.calls += 1
        late = self.calls > 3
        if self.calls > 4 and self.how == "dies":
            raise RuntimeError("no more")
        if late and self.how == "inputs":
            tokens_BT[0, 0] = 0
        if late and self.how == "weights":
            self.head.weight.detach().mul_(1.0)
        if not (late and self.how == "kept"):
            self.kept = self.up(self.embedding(tokens_BT))
        logits_BTV: Tensor = self.head(self.kept)
        return logits_BTV + torch.arange(256) * (self.calls if self.how == "state" else 1)


@pytest.mark.parametrize(
    ("how", "field", "said"),
    [
        ("kept", "reused", "FLOPs, before it"),
        ("inputs", "unchecked", "wrote into their inputs"),
        ("weights", "unchecked", r"changed weights \(head.weight\)"),
        ("state", "unchecked", "of the same tokens moved by up to"),
        ("dies", "unchecked", "no more"),
        ("", "", ""),
    ],
)
def test_a_timed_call_does_the_same_before_and_after(how: str, field: str, said: str) -> None:
    subject = Subject(case("dense"), 0, module=Changes(how))
    batches = subject.inputs(3, 2)
    watched = Watched(subject, subject.forward, batches, 3, trains=False)
    for tokens_BT in batches:
        subject.forward(tokens_BT)
    found = watched.found()
    assert list(found) == [field] * bool(field)
    assert re.search(said, found.get(field, ""))


@pytest.mark.slow
def test_a_gate_that_hovers_at_its_threshold_is_not_accused() -> None:
    """What a step computes follows from the weights that the last one left: steps are not compared."""
    for seed in range(20):
        subject = Subject(case(f"{ODD}:GateAtItsThreshold", seq_len=4, batch_size=1), seed)
        batches = subject.inputs(seed, 3)
        subject.module.train()
        watched = Watched(subject, subject.train_step, batches, seed, trains=True)
        for step in range(12):
            subject.train_step(batches[step % 3])
        assert watched.found() == {}, seed


def test_a_call_draws_the_same_numbers_each_time_and_leaves_the_state_of_all_sources() -> None:
    """Models drop layers by Python's and numpy's numbers too."""

    def draws() -> list[float]:
        by_numpy = float(np.random.rand())  # noqa: NPY002  # what models use
        return [random.random(), by_numpy, float(torch.rand(1))]

    with check_caching.same_draws(tokens()):
        first = draws()
    state = random.getstate()
    with check_caching.same_draws(tokens()):
        assert draws() == first
    assert random.getstate() == state
    assert draws() != first
