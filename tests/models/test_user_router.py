"""A router of the user's in our MoD: what it computes is counted, the rest is checked against the closed form."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cases import case_of
from present import present
from toolbox import config, tokens
from torch import Tensor

from modbench.harness.call.subject.generation import set_missing
from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.errors import Unmeasured, UsageError
from modbench.harness.domain.case import Case
from modbench.harness.measure.passes import count
from modbench.harness.registry import user_routers
from modbench.harness.training.held_out import why_not_causal
from modbench.models.mod import MODEL, MoD

TWO_LAYERS = '''
"""Scores by a small MLP, twice as wide as the stream."""
import torch
from torch import nn
from modbench.models.layers.router import Calibrated, Router

class Mlp(Calibrated):
    has_loss = True
    def __init__(self, config, layer):
        super().__init__(config, layer)
        self.up, self.down = nn.Linear(config.d_model, 2 * config.d_model), nn.Linear(2 * config.d_model, 1)

    def score(self, x_BTD, ctx):
        return self.down(self.up(x_BTD.float()).relu()).squeeze(-1)

    def multiplier(self, r_BT):
        return r_BT

    def loss(self, x_BTD, r_BT, chosen_BT, real_BT):
        return 0.01 * self.score(x_BTD, None).square().mean()

ROUTER = Mlp
WIDTH = 3

class Wrong(Calibrated):
    def score(self, x_BTD, ctx):
        return x_BTD.sum(-1, keepdim=True)

class NoRule(Router):
    def score(self, x_BTD, ctx):
        return x_BTD.sum(-1)
'''
B, T, D = 2, 32, 32


@pytest.fixture
def mlp(tmp_path: Path) -> str:
    file = tmp_path / "two_layers.py"
    file.write_text(TWO_LAYERS)
    return f"{file}:ROUTER"


def routed_by(router: str, **changes: object) -> Case:
    keys = {**MODEL.options, "d_model": D, "n_layers": 4, "n_heads": 2, "max_seq_len": T, "capacity": 0.25}
    shape = {**keys, "router": router, **changes}
    return case_of("mod", shape, variant_parts=("c0.25",), seq_len=T, batch_size=B)


@pytest.mark.slow
def test_what_its_methods_compute_is_counted(mlp: str) -> None:
    """Two layers of D to 2·D to 1, in two of four blocks; in training its loss scores once more."""
    counted = count.count(routed_by(mlp), 0)
    assert counted.mismatch is None
    once = 2 * 2 * B * T * (D * 2 * D + 2 * D)
    plain = count.count(routed_by("every_n"), 0)
    assert counted["forward"] - plain["forward"] == once
    assert present(counted.notes.parts)["router"] == once
    # The input of its loss carries a gradient: forward and backward of two scores. A product's backward is twice its forward.
    assert counted["train_step"] - plain["train_step"] == 2 * 3 * once
    assert counted.params - plain.params == 2 * (D * 2 * D + 2 * D + 2 * D + 1)
    assert counted.notes.decode_elements == pytest.approx(
        (plain.notes.decode_elements or 0) + counted.params - plain.params
    )
    assert f"{mlp} has no closed form" in (counted.notes.source or "")
    assert "fvcore the whole forward pass" in counted.notes.explained
    # A top-k over the whole sequence reads later tokens, whoever wrote the scores; no declaration says otherwise.
    assert MODEL.sees_future(routed_by(mlp).config)
    assert present(counted.notes.causality).reads_future


def test_an_error_elsewhere_still_fails_the_case(mlp: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The router's own part is not compared, the rest is: an MLP that computes twice is found."""
    twice = MoD.forward

    def forward(self: MoD, tokens_BT: Tensor, *args: object, **named: object) -> object:
        twice(self, tokens_BT)
        return twice(self, tokens_BT, *args, **named)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(MoD, "forward", forward)
    assert count._reference(routed_by(mlp), 0, (), lambda _: None).mismatch is not None


def test_it_routes_causally_once_it_is_calibrated(mlp: str) -> None:
    """The threshold passes about the capacity; later tokens change nothing; a model decodes."""
    module = MoD(config(router=mlp, capacity=0.25)).eval()
    x_BT = tokens(t=64)
    with pytest.raises(ValueError, match="no threshold yet"):
        module(x_BT, causal=True)
    set_missing(module, lambda: x_BT)
    changed_BT = x_BT.clone()
    changed_BT[:, 40:] = 0
    with torch.no_grad():
        assert torch.allclose(module(x_BT, causal=True)[:, :40], module(changed_BT, causal=True)[:, :40], atol=1e-5)
        assert not torch.allclose(module(x_BT)[:, :40], module(changed_BT)[:, :40])
        logits_BV, cache = module.prefill(x_BT[:, :8], max_len=12)
        assert module.decode(logits_BV.argmax(-1), cache).isfinite().all()


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("WIDTH", UsageError, "a method `score`"),
        ("Wrong", ValueError, r"\[2, 12, 1\]: \[B, T\] = \[2, 12\]"),
        ("NoRule", Unmeasured, "NoRule has no rule"),
    ],
)
def test_what_is_no_router_is_refused(mlp: str, name: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        MoD(config(router=mlp.replace("ROUTER", name), capacity=0.5))(tokens(2, 12), causal=name == "NoRule")


def test_a_router_without_a_rule_has_a_reason_in_place_of_a_causal_loss(mlp: str) -> None:
    assert "defines no `selects`" in why_not_causal(Subject(routed_by(mlp.replace("ROUTER", "NoRule")), 0))
    assert why_not_causal(Subject(routed_by(mlp), 0)) == ""


def test_names_are_checked_without_running_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs.py").write_text("open('mark', 'w')\nROUTER = 1\n")
    Path("bad.py").write_text("def (")
    user_routers.check("runs.py:ROUTER")
    for spec, said in (
        ("runs.py:Other", "it defines no Other"),
        ("runs.py", "names no class"),
        ("bad.py:ROUTER", "line 1: invalid syntax"),
        ("nrom", "Did you mean 'norm'"),
    ):
        with pytest.raises(UsageError, match=said):
            user_routers.check(spec)
    assert not Path("mark").exists()
    names = [user_routers.short(each) for each in ("a/mine.py:ROUTER", "a/mine.py:Mine", "norm")]
    assert names == ["mine", "mine:Mine", "norm"]
