"""The museum of `modbench audit`: every seeded violation is named, and no honest model of an odd kind is accused.

In `museum/violates.py` each piece violates one property, and in `museum/honest.py` each looks as if it did. `museum/parts.py`
says what a piece says about itself.
"""

from __future__ import annotations

import gc
import importlib
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

import modbench as mb
from modbench.harness.core.config import ModelConfig
from modbench.plugins.audit import probing, question, targets
from modbench.plugins.audit.model import TOLERANCE
from modbench.plugins.audit.probes import training, zeroed
from modbench.plugins.audit.probing import probes
from modbench.plugins.audit.report import ARCHITECTURES, Architecture, AuditReport, Finding
from modbench.reports.markup.number_format import plain

MUSEUM = Path(__file__).parent / "museum"
sys.path.append(str(MUSEUM))


def pieces(file: str) -> dict[str, dict[str, Any]]:
    """What each piece of a file says about itself, by `file:piece`."""
    made = vars(importlib.import_module(file))
    return {f"{file}:{name}": piece.said for name, piece in made.items() if hasattr(piece, "said")}


parts = importlib.import_module("parts")
VIOLATES, HONEST = pieces("violates"), pieces("honest")
SAID = VIOLATES | HONEST
# Reported in any case: nothing violates them.
UNSEEDED = {"mod_causal_rule", "moe_load", "moe_dropped", "exit_cache"}
SHAPES: list[dict[str, Any]] = [
    {"d_model": 32, "n_layers": 4, "n_heads": 2, "seq_len": 40, "batch_size": 4},
    {"d_model": 48, "n_layers": 4, "n_heads": 4, "seq_len": 53, "batch_size": 3, "vocab_size": 64, "seed": 1},
]
# What runs in CI: faults that the cards of released code there do not show, and what honest models share with them. A proof runs
# all.
IN_CI = {
    *("FiveFaults", "MasksInTraining", "softmax_of_the_chosen", "plain_mod"),
    "weights_shared_over_depth",
}


def in_ci(names: Any) -> list[Any]:
    """Parameters of a test that runs all, where those that CI leaves out are a proof."""
    return [name if name.rpartition(":")[2] in IN_CI else pytest.param(name, marks=pytest.mark.proof) for name in names]


def audit(name: str, shape: dict[str, Any], only: tuple[str, ...] = ()) -> mb.Audit:
    """The card of a piece, with some properties or all."""
    file, _, piece = name.partition(":")
    build = "build" if SAID[name]["routes"] else "unrouted"
    return mb.audit(f"{MUSEUM / file}.py:{build}(piece={piece})", expect=SAID[name]["of"], properties=only, **shape)


def _trains_otherwise(found: Finding) -> bool:
    facts: dict[str, Any] = found.facts
    pairs = zip(facts["flops"], facts["flops_in_evaluation"], strict=True)
    apart = any(abs(one - other) > training.LITTLE * other for one, other in pairs)
    return apart or (facts["carried_nats"] or 0.0) > TOLERANCE


SHOWS = {"zeroed": lambda found: (found.value or 0.0) > zeroed.LITTLE, "training": _trains_otherwise}


def told(card: mb.Audit) -> set[str]:
    """What deviates, and properties that nobody is judged by, whose numbers show a violation."""
    shown = {name for name, shows in SHOWS.items() if card.verdicts[name] == "reported" and shows(card[name])}
    return {*card.deviates} | shown


def wrong(name: str, shape: dict[str, Any]) -> str | None:
    """How the card of a piece differs from what is expected; None if it does not."""
    said, card = SAID[name], audit(name, shape)
    wanted, got = said["deviates"] | said["shows"], told(card)
    missed, accused = sorted(wanted - got), sorted(got - wanted - said["may"])
    return f"{name} at {shape}: missed {missed}, accused {accused}\n{card}" if missed or accused else None


def test_every_property_is_seeded_and_imitated() -> None:
    """A model violates each property, and an honest one seems to; but for a top-k, which is the paper's."""
    every = {each for of in (None, *ARCHITECTURES) for each in probes(of)} - UNSEEDED
    assert every == {each for said in VIOLATES.values() for each in said["deviates"] | said["shows"]}
    assert every == {said["like"] for said in HONEST.values() if said["like"]}
    beside_top_k = {name: said["deviates"] - ({"causal"} if said["of"] else set()) for name, said in SAID.items()}
    assert [name for name in HONEST if beside_top_k[name]] == []
    assert [name for name in VIOLATES if not beside_top_k[name] | SAID[name]["shows"]] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", in_ci(SAID))
def test_audit_names_what_is_seeded_and_nothing_else(name: str) -> None:
    assert wrong(name, SHAPES[0]) is None


def drawn(run: int) -> dict[str, Any]:
    """A shape and a seed for a run."""
    draw = torch.Generator().manual_seed(run)

    def one_of(*values: float) -> Any:
        return values[int(torch.randint(len(values), (), generator=draw))]

    return {
        "d_model": one_of(16, 32, 48, 64),
        "n_layers": one_of(4, 6),
        "n_heads": one_of(2, 4),
        "vocab_size": one_of(64, 256),
        "seq_len": int(torch.randint(32, 80, (), generator=draw)),
        "batch_size": one_of(2, 3, 4, 5),
        "seed": 100 + run,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "probe", "verdict", "shape"),
    [
        ("violates:positions_halved", "mod_attention", "no", SHAPES[1]),
        ("violates:r_times_all", "mod_attention", "yes", drawn(1)),
        ("honest:CacheInHalfPrecision", "causal", "yes", drawn(5)),
    ],
)
def test_other_shapes_are_judged_alike(name: str, probe: str, verdict: str, shape: dict[str, Any]) -> None:
    """At these shapes the first was missed, and the others were accused."""
    assert audit(name, shape, (probe,)).verdicts[probe] == verdict


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.parametrize("name", SAID)
def test_audit_is_right_at_other_seeds_and_shapes(name: str) -> None:
    found = [wrong(name, shape) for shape in (SHAPES[1], *map(drawn, range(20)))]
    assert [each for each in found if each] == []


CONFIG = ModelConfig.model_validate({"d_model": 32, "n_layers": 4, "n_heads": 2, "vocab_size": 64})


def in_memory(module: Any, of: Architecture | None, *only: str) -> AuditReport:
    return probing.audit(targets.in_memory(module, of, targets.Called(32, 3)), only=only)


@pytest.mark.parametrize("share", [None, 0.25])
def test_what_is_computed_and_kept_is_called_so(share: float | None) -> None:
    """A number stands for what its title says: a dense model computes 100 % of rows, and skips none."""
    made = in_memory(parts.built(CONFIG, share, model=parts.TopK), None, "skips", "saves")
    rows = {plain(title): plain(said) for title, _, said in question.table(made).rows}
    d, head = CONFIG.d_model, 64 * CONFIG.d_model
    block = 4 * d * d + 8 * d * d
    # Of two routed blocks a quarter of the tokens, and a router for all, which is little.
    met = (2 * block + 2 * (share or 1.0) * block + head) / (4 * block + head)
    assert float(rows["computes"].split(" %")[0]) / 100 == pytest.approx(met, abs=0.002)
    if share is None:
        assert "MiB for backward" in rows["keeps"]
    else:  # two blocks, and of two a quarter and the routing
        assert 0.625 < float(rows["keeps"].split(" %")[0]) / 100 < 0.7


@pytest.mark.slow
def test_random_numbers_are_held_where_shapes_differ_and_no_model_stays_in_memory() -> None:
    noisy = parts.part(parts.Routed, score=lambda self, x: parts.Routed.score(self, x) + torch.randn(x.shape[:2]))
    module = parts.built(CONFIG, 0.25, routed=noisy, model=parts.TopK)
    seen = weakref.ref(module)
    card = in_memory(module, "mod", "deterministic", "alone", "mod_residual")
    assert (card.deviates, card.named("yes")) == (("deterministic",), ("alone", "mod_residual"))
    del module
    gc.collect()
    assert seen() is None
