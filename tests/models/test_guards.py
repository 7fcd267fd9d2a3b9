"""What models are caught at: masking what they computed, reading the future, handing out a stored answer."""

from __future__ import annotations

import math
import random
import re
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

from modbench.harness.call.subject import check_caching, check_causality, check_skipping, weight_rows
from modbench.harness.call.subject.check_timed_calls import Watched
from modbench.harness.call.subject.subject import Subject
from modbench.harness.domain.notes import CountNotes
from modbench.harness.measure.passes.count import Counted, count
from modbench.harness.measure.passes.time import MANY_INPUTS
from modbench.harness.planning.flops import counter
from modbench.harness.registry import catalogue
from modbench.reports.sections.flops import claimed
from modbench.reports.writers.number_format import plain

V, D = 50, 32


class Skipping(nn.Module):
    """An MLP that is meant for the first quarter of the tokens: gathered, or computed for all and masked."""

    def __init__(self, *, masks: bool, states: bool = True) -> None:
        super().__init__()
        self.up, self.down, self.masks = nn.Linear(D, 4 * D), nn.Linear(4 * D, D), masks
        if states:
            self.capacity, self.executed_tokens = 0.25, 0

    def forward(self, x_BTD: Tensor) -> Tensor:
        k = x_BTD.shape[1] // 4
        if hasattr(self, "capacity"):
            self.executed_tokens = x_BTD.shape[0] * k
        if self.masks:
            y_BTD: Tensor = self.down(F.gelu(self.up(x_BTD)))
            return x_BTD + y_BTD * (torch.arange(x_BTD.shape[1]) < k)[:, None]
        y_BkD: Tensor = self.down(F.gelu(self.up(x_BTD[:, :k])))
        return torch.cat([x_BTD[:, :k] + y_BkD, x_BTD[:, k:]], dim=1)


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


def test_a_module_that_masks_what_it_computed_is_found_at_any_depth() -> None:
    (claim,) = check_skipping.claims(Model(Skipping(masks=True)), tokens())
    assert (claim.module, claim.capacity, claim.stated, claim.tokens) == ("layers.0.inner", 0.25, 18, 72)
    assert claim.rows == 72
    assert claim.masked


def test_a_model_without_claims_is_not_reported() -> None:
    assert check_skipping.claims(Model(Skipping(masks=True, states=False)), tokens()) == []


def test_factors_come_after_a_bias_and_before_offsets() -> None:
    left, right, other = torch.ones(2, 3), torch.ones(3, 4), torch.ones(4)
    aten = torch.ops.aten
    for func, args in (
        (aten.mm.default, (left, right)),
        (aten.addmm.default, (other, left, right)),
        (aten._grouped_mm.default, (left, right, other)),
    ):
        found = weight_rows.factors(func, args)
        assert found[0] is left
        assert found[1] is right


COPIES: dict[str, Any] = {
    "scaled": lambda w: w * 1.0,
    "cloned": lambda w: w.clone(),
    "cast": lambda w: w.to(torch.float64).to(torch.float32),
    "transposed": lambda w: w.t().contiguous().t(),
    "added to": lambda w: w + torch.zeros_like(w),
    "joined": lambda w: torch.cat([w[:7], w[7:]]),
    "written": lambda w: torch.empty_like(w).copy_(w),
    "a leaf": lambda w: nn.Parameter(w.detach().clone()),
}


class CopiesFirst(Skipping):
    """Computes all tokens, or those of its claim, with copies of its weights."""

    def __init__(self, how: str, *, masks: bool = True) -> None:
        super().__init__(masks=masks)
        self.how = how
        del self.executed_tokens

    def forward(self, x_BTD: Tensor) -> Tensor:
        up, down = (COPIES[self.how](part.weight) for part in (self.up, self.down))
        k = x_BTD.shape[1] if self.masks else x_BTD.shape[1] // 4
        y_BkD: Tensor = F.linear(F.gelu(F.linear(x_BTD[:, :k], up)), down)
        return torch.cat([x_BTD[:, :k] + y_BkD, x_BTD[:, k:]], dim=1)


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("masks", [True, False])
def test_copies_of_weights_are_followed_and_a_capacity_alone_is_held(how: str, masks: bool) -> None:
    (claim,) = check_skipping.claims(Model(CopiesFirst(how, masks=masks)), tokens())
    assert claim.rows == (72 if masks else 18)
    assert claim.stated == 18
    assert claim.masked is masks


def test_a_weight_that_is_added_to_activations_is_not_multiplied() -> None:
    """A table of positions as large as the activations: their sum is no copy of the table."""

    class Positions(Skipping):
        def __init__(self) -> None:
            super().__init__(masks=False)
            self.table = nn.Parameter(torch.randn(40, D))

        def forward(self, x_BTD: Tensor) -> Tensor:
            return super().forward(x_BTD + self.table)

    (claim,) = check_skipping.claims(Model(Positions()), tokens(1, 40))
    assert claim.rows == 10
    assert not claim.masked


def test_a_capacity_is_a_claim_only_where_it_is_a_share_and_stands_alone() -> None:
    outer, slots = Model(CopiesFirst("scaled", masks=False)), nn.Linear(2, 2)
    outer.capacity, slots.capacity = 0.25, 64  # type: ignore[assignment]  # the protocol, by hand
    outer.slots = slots
    assert list(check_skipping.stating(outer)) == ["layers.0.inner"]


def test_a_claim_that_could_not_be_checked_says_so() -> None:
    """A module without a weight in any product: nothing was seen, which is not the same as nothing wrong."""
    part = nn.Identity()
    part.capacity, part.executed_tokens = 0.25, 18  # type: ignore[assignment]  # the protocol, by hand
    (claim,) = check_skipping.claims(Model(part), tokens())
    assert (claim.rows, claim.masked) == (None, False)
    assert "could not be checked" in plain(claimed(CountNotes(claims=(claim,))))
    doubted = evidence(counted={"claims": [claim.model_dump()]})
    assert "layers.0.inner" in str(catalogue.load("warnings", "unchecked").check(doubted))


def test_a_model_whose_logits_are_not_finite_is_not_called_causal() -> None:
    """No difference to NaN is ever above a tolerance."""
    found = check_causality.guard(lambda x_BT: torch.full((*x_BT.shape, V), torch.nan), tokens(), V)
    assert found.reads_future is None
    assert "not numbers" in str(found.reason)


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


def test_noise_that_no_seed_controls_leaves_causality_open() -> None:
    """Neither causal nor not: nobody can tell."""
    draws = iter(range(1000))

    def forward(tokens_BT: Tensor) -> Tensor:
        noise = torch.randn((*tokens_BT.shape, V), generator=torch.Generator().manual_seed(next(draws)))
        return 0.1 * noise

    found = check_causality.guard(forward, tokens(), V)
    assert found.reads_future is None
    assert found.tried
    assert "differ by up to" in str(found.reason)


def test_a_single_token_cannot_be_tested() -> None:
    found = check_causality.guard(Leaking("openly"), tokens(2, 1), V)
    assert found.reads_future is None
    assert found.reason is not None
    assert not found.tried


MUSEUM = Path(__file__).parents[1] / "cheats"


def counted(piece: str, monkeypatch: pytest.MonkeyPatch) -> Counted:
    monkeypatch.chdir(MUSEUM)
    monkeypatch.syspath_prepend(MUSEUM)
    return count(case(f"{piece}.py:build"), seed=0)


@pytest.mark.slow
def test_a_cost_that_depends_on_the_input_is_the_mean_over_the_batches_that_are_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = counted("honest/early_exit", monkeypatch)
    subject = Subject(case("honest/early_exit.py:build"), 0)
    subject.module.eval()
    timed = subject.inputs(0, MANY_INPUTS)
    each = [counter.forward(subject.module, tokens_BT, causal=True).total for tokens_BT in timed]
    assert len(set(each)) > 1
    assert found.notes.counted_inputs == MANY_INPUTS
    assert found["forward"] == found["forward_causal"] == fmean(each)
    assert found["train_step_causal"] == 3 * fmean(each)


@pytest.mark.slow
def test_a_capacity_that_training_moves_is_counted_as_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called once in training mode, as the contract check did, it computes all tokens from then on."""
    found = counted("honest/capacity_that_training_moves", monkeypatch)
    subject = Subject(case("honest/capacity_that_training_moves.py:build"), 0)
    tokens_BT = subject.inputs(0, 1)[0]
    assert found["forward"] == counter.forward(subject.module, tokens_BT).total
    subject.module.train()(tokens_BT)
    assert counter.forward(subject.module, tokens_BT).total > 1.3 * found["forward"]
    assert found.notes.counted_inputs == 1


def test_both_counts_of_one_call_are_those_of_two_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention over the square and over the triangle, with fused attention that masks."""
    monkeypatch.chdir(MUSEUM)
    monkeypatch.syspath_prepend(MUSEUM)
    subject = Subject(case("honest/rotary_attention.py:build"), 0)
    tokens_BT = subject.inputs(0, 1)[0]
    whole, causal = counter.both(subject.module, tokens_BT)
    assert whole.total == counter.forward(subject.module, tokens_BT).total > causal
    assert causal == counter.forward(subject.module, tokens_BT, causal=True).total


class Again(Skipping):
    """Runs its weights twice: on the tokens that a router chose, on all of them in pieces, or on others the second time."""

    def __init__(self, how: str, *, states: bool = True) -> None:
        super().__init__(masks=False)
        self.router, self.how = nn.Linear(D, 1), how
        if not states:
            del self.executed_tokens

    def mlp(self, x_BkD: Tensor) -> Tensor:
        y_BkD: Tensor = self.down(F.gelu(self.up(x_BkD)))
        return x_BkD + y_BkD

    def forward(self, x_BTD: Tensor) -> Tensor:
        b, t, d = x_BTD.shape
        k = math.ceil(t / 4)
        self.executed_tokens = b * k
        chosen_Bk1 = self.router(x_BTD).topk(k, dim=1).indices
        x_BkD = x_BTD.gather(1, chosen_Bk1.expand(-1, -1, d))
        if self.how == "twice":
            y_BkD = self.mlp(self.mlp(x_BkD))
        elif self.how == "side by side":
            y_BkD = self.mlp(x_BkD) + self.mlp(2 * x_BkD)
        elif self.how == "others":
            y_BkD = self.mlp(x_BkD) + self.mlp(x_BTD[:, -k:])
        else:
            pieces = x_BTD.detach().split(k, dim=1) if self.how == "cut pieces" else x_BTD.split(k, dim=1)
            return torch.cat([self.mlp(piece) for piece in pieces], dim=1)
        return x_BTD.scatter(1, chosen_Bk1.expand(-1, -1, d), y_BkD)


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize(
    ("how", "masked"),
    [("twice", False), ("side by side", False), ("others", True), ("pieces", True), ("cut pieces", True)],
)
def test_weights_may_be_used_again_on_the_chosen_tokens_and_on_no_others(how: str, masked: bool, states: bool) -> None:
    torch.manual_seed(0)
    (claim,) = check_skipping.claims(Model(Again(how, states=states)), tokens(2, 36))
    assert (claim.stated, claim.rows, claim.masked) == (18, 72 if "pieces" in how else 36, masked)


def test_weights_that_are_used_outside_of_their_module_count() -> None:
    """Its own call keeps the claim; the model multiplies all tokens with its weights beside it."""

    class Beside(Model):
        def forward(self, tokens_BT: Tensor) -> Tensor:
            part: Any = self.layers[0]["inner"]  # type: ignore[index]  # a ModuleDict
            x_BTD = self.embedding(tokens_BT)
            return self.head(part(x_BTD) + 0 * part.mlp(x_BTD))  # type: ignore[no-any-return]  # a module's

    (claim,) = check_skipping.claims(Beside(Again("twice")), tokens(2, 36))
    assert claim.masked


class Changes(nn.Module):
    """A model whose timed calls differ from those before: they keep a part, or write into weights, inputs or a state."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.embedding, self.up, self.head = nn.Embedding(256, D), nn.Linear(D, 4 * D), nn.Linear(4 * D, 256)
        self.how, self.calls, self.kept = how, 0, torch.zeros(())

    def forward(self, tokens_BT: Tensor) -> Tensor:
        self.calls += 1
        late = self.calls > 3
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


def test_a_guard_that_a_model_does_not_survive_says_so() -> None:
    class Once(Changes):
        def forward(self, tokens_BT: Tensor) -> Tensor:
            if self.calls > 2:
                raise RuntimeError("no more")
            return super().forward(tokens_BT)

    subject = Subject(case("dense"), 0, module=Once(""))
    watched = Watched(subject, subject.forward, subject.inputs(3, 1), 3, trains=False)
    assert "no more" in watched.found()["unchecked"]


@pytest.mark.slow
def test_a_gate_that_hovers_at_its_threshold_is_not_accused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step computes follows from the weights that the last one left: steps are not compared."""
    monkeypatch.chdir(MUSEUM)
    monkeypatch.syspath_prepend(MUSEUM)
    for seed in range(20):
        subject = Subject(case("honest/gate_at_its_threshold.py:build", seq_len=4, batch_size=1), seed)
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
