"""The cards of all models that modbench ships, and parts of probes; whole probes meet the models of the museum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from expected_cards import check_card
from present import present
from torch import nn

from modbench.harness.planning.overrides import Overrides
from modbench.harness.registry import catalogue
from modbench.plugins.audit import targets, terminal
from modbench.plugins.audit.model import ModuleState
from modbench.plugins.audit.probes import zeroed
from modbench.plugins.audit.probing import audit, built
from modbench.plugins.audit.products import Product
from modbench.plugins.audit.report import Architecture

# What each shipped model is.
KINDS: dict[str, Architecture] = {
    "dense": "dense",
    "mod": "mod",
    "mode_integrated": "mode",
    "mode_staged": "mode",
    "moe": "moe",
    "early_exit": "early_exit",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in {"dense", "mod"} else pytest.mark.proof)
        for name in sorted(catalogue.entries("models"))
    ],
)
def test_each_shipped_model_has_its_expected_card(name: str) -> None:
    of = KINDS.get(name)
    flags = Overrides(seq_len=(32,), batch_size=(3,), settings={"d_model": 64})
    card = audit(built(targets.case_of_flags(name, flags), of))
    check_card(card, name)
    lines = terminal.card(card, 80).splitlines()
    assert len(lines) <= 30 - 1  # the path of the page follows
    assert max(map(len, lines)) <= 80


def test_a_module_is_put_back_in_its_own_tensors() -> None:
    one, other, norm = nn.Linear(2, 2), nn.Linear(2, 2), nn.BatchNorm1d(2)
    module: Any = nn.Sequential(one, other, norm)  # with attributes of the user's
    other.weight = weight = one.weight
    one.register_buffer("wide", torch.ones(1).expand(4))  # nothing can write into it
    module.capacity, module.kept = 0.5, torch.zeros(2)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = ModuleState(module)
    with torch.no_grad():
        weight.add_(1)
        norm(torch.randn(4, 2))
        module.kept.add_(1)
        module.capacity, one.weight = 0.1, nn.Parameter(torch.zeros(2, 2))
    state.put_back()
    assert one.weight is other.weight is weight
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert (module.capacity, module.kept.tolist()) == (0.5, [0.0, 0.0])


def product(name: str, left: str, rows: int | None = None, cost: int = 10) -> Product:
    """A product of two sequences of four tokens; in `left` a 0 marks a row of which nothing is left."""
    mask_N = torch.tensor([each == "0" for each in left])
    return Product(name, rows or len(left), cost, -1, (len(left), cost), zeroed_N=mask_N)


@pytest.mark.parametrize(
    ("keys", "rest_rows", "counted"),
    [
        ("11001000", 3, 0),  # kept for tokens to come
        ("11110000", 3, 0),  # a whole sequence that left
        ("01110101", 3, 3),  # later tokens were processed, and nothing is left of these
        ("00000000", 0, 0),  # no token at all goes through the rest
        ("11110000", 8, 4),  # nothing is skipped, so that a sequence of which nothing is left is masked
    ],
)
def test_keys_that_are_kept_for_later_tokens_are_not_zeroed(keys: str, rest_rows: int, counted: int) -> None:
    rest = [product("blocks.1.mlp.weight", "1" * 8, rest_rows, cost=30)] * bool(rest_rows)
    sizes = {"blocks.1.k.weight": 10, "blocks.1.mlp.weight": 30}
    found = present(zeroed.lost([product("blocks.1.k.weight", keys), *rest], sizes, n=8, t=4))
    assert found.share == pytest.approx(counted * 10 / (8 * 10 + rest_rows * 30))
