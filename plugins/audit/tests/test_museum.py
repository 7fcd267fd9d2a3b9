"""The museum of `modbench audit`: every seeded violation is named, and no honest model of an odd kind is accused.

One file per model: in `museum/violates/` each violates one property, and in `museum/honest/` each looks as if it did. `EXPECTED`
says what the card of a model must say:

    of        what it is held to; absent: to nothing
    deviates  the properties that deviate, all of them. Top-k reads the future, so `causal` is one wherever it routes.
    may       properties that the same fault breaks too, by what is drawn
    shows     of an unjudged property, that its number shows a violation
    like      of an honest model: the property that it seems to violate
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

import modbench as mb
from modbench.harness.core.errors import UsageError
from modbench.plugins.audit.model import TOLERANCE
from modbench.plugins.audit.probes import training, zeroed
from modbench.plugins.audit.probing import probes
from modbench.plugins.audit.report import ARCHITECTURES, Finding

HERE = Path(__file__).parent / "museum"
CHEATS = Path(__file__).parents[3] / "tests" / "cheats"
VIOLATES = sorted(f"violates/{path.stem}" for path in (HERE / "violates").glob("*.py"))
HONEST = sorted(f"honest/{path.stem}" for path in (HERE / "honest").glob("*.py"))
# Reported in any case: nothing violates them.
UNSEEDED = {"mod_causal_rule", "moe_load", "moe_dropped", "exit_cache"}
SHAPES: list[dict[str, Any]] = [
    {"d_model": 32, "n_layers": 4, "n_heads": 2, "seq_len": 40, "batch_size": 4},
    {"d_model": 48, "n_layers": 4, "n_heads": 4, "seq_len": 53, "batch_size": 3, "vocab_size": 64, "seed": 1},
]


# What runs in CI, at the first shape: faults that neither the cards of released code there nor `stranger.py` show, and what
# honest models share with them. A proof runs all.
IN_CI = {
    *("masks_in_training", "softmax_of_the_chosen", "gate_on_the_mlp", "plain_mod", "weights_shared_over_depth"),
    *("dropout_off", "masks_what_it_computed", "tied_weights", "rare_shortcut"),
}


def in_ci(names: list[str]) -> list[Any]:
    """Parameters of a test that runs all, where those that CI leaves out are a proof."""
    return [name if name.rpartition("/")[2] in IN_CI else pytest.param(name, marks=pytest.mark.proof) for name in names]


def expected(name: str) -> dict[str, Any]:
    """What a file says about itself, without loading it."""
    tree = ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))
    (said,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "EXPECTED"
    )
    found: dict[str, Any] = ast.literal_eval(said)
    assert set(found) <= {"of", "deviates", "may", "shows", "like"}
    return found


def audit(name: str, shape: dict[str, Any], patch: pytest.MonkeyPatch, only: tuple[str, ...] = ()) -> mb.Audit:
    """The card of a piece, with some properties or all."""
    patch.chdir(HERE)
    patch.syspath_prepend(HERE)
    return mb.audit(f"{name}.py:build", expect=expected(name).get("of"), properties=only, **shape)


def shown(card: mb.Audit) -> set[str]:
    """Properties that nobody is judged by, whose numbers show a violation."""
    return {name for name, shows in SHOWS.items() if card.verdicts[name] == "reported" and shows(card[name])}


def _trains_otherwise(found: Finding) -> bool:
    facts: dict[str, Any] = found.facts
    pairs = zip(facts["flops"], facts["flops_in_evaluation"], strict=True)
    apart = any(abs(one - other) > training.LITTLE * other for one, other in pairs)
    return apart or (facts["carried_nats"] or 0.0) > TOLERANCE


SHOWS = {"zeroed": lambda found: (found.value or 0.0) > zeroed.LITTLE, "training": _trains_otherwise}


def wrong(name: str, shape: dict[str, Any], patch: pytest.MonkeyPatch) -> str | None:
    """How the card of a piece differs from what is expected; None if it does not."""
    said, card = expected(name), audit(name, shape, patch)
    wanted, got = set(said["deviates"]) | set(said.get("shows", ())), set(card.deviates) | shown(card)
    missed, accused = sorted(wanted - got), sorted(got - wanted - set(said.get("may", ())))
    return f"{name} at {shape}: missed {missed}, accused {accused}\n{card}" if missed or accused else None


def test_every_property_is_seeded_and_imitated() -> None:
    """At least two models violate each property, and at least two honest ones seem to."""
    every = {each for of in (None, *ARCHITECTURES) for each in probes(of)} - UNSEEDED
    said = {name: expected(name) for name in VIOLATES + HONEST}
    seeded = Counter(each for name in VIOLATES for each in {*said[name]["deviates"], *said[name].get("shows", ())})
    imitated = Counter(said[name].get("like", "") for name in HONEST)
    assert {name for name in every if seeded[name] < 2 or imitated[name] < 2} == set()
    beside_top_k = {
        name: set(each["deviates"]) - ({"causal"} if each.get("of") == "mod" else set()) for name, each in said.items()
    }
    assert [name for name in HONEST if beside_top_k[name]] == []
    assert [name for name in VIOLATES if not beside_top_k[name] and not said[name].get("shows")] == []


def test_pieces_are_small() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in HERE.rglob("*.py")}
    assert {path.name: n for path, n in lines.items() if n > 80} == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", in_ci(VIOLATES + HONEST))
def test_audit_names_what_is_seeded_and_nothing_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrong(name, SHAPES[0], monkeypatch) is None


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.parametrize("name", VIOLATES + HONEST)
def test_another_shape_and_seed_say_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrong(name, SHAPES[1], monkeypatch) is None


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
        ("violates/positions_halved", "mod_attention", "no", SHAPES[1]),
        ("violates/r_times_all", "mod_attention", "yes", drawn(1)),
        ("honest/cache_in_half_precision", "causal", "yes", drawn(5)),
    ],
)
def test_other_shapes_are_judged_alike(
    name: str, probe: str, verdict: str, shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At these shapes the first was missed, and the others were accused."""
    assert audit(name, shape, monkeypatch, (probe,)).verdicts[probe] == verdict


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.parametrize("name", VIOLATES + HONEST)
def test_audit_is_right_at_twenty_seeds_and_shapes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [wrong(name, drawn(run), monkeypatch) for run in range(20)]
    assert [each for each in found if each] == []


# The pieces of `tests/cheats`: what their cards say, where that is not nothing. Most mistakes there are in times and counts, at
# which no card looks; `docs/method-guards.md` says how these are found.
MISTAKES = {
    "copied_when_built": {"alone"},
    "drops_a_block_in_training": {"training"},
    "int8_products": {"causal", "rows_independent"},  # one scale for all rows and tokens
    "masks_what_it_computed": {"zeroed", "alone"},
    "reads_the_next_token": {"causal"},
    "works_in_numpy": {"training"},
}
# What they compute depends on earlier calls, so that a card depends on the order of its probes.
BY_CALLS = {"stored_by_tokens", "stored_on_third_sight"}
REFUSED = {"returns_from_elsewhere", "returns_no_numbers", "writes_into_its_input"}
# True of honest models, and no accusation: `tests/cheats` says the same of those that read the future.
TOLD = {
    "capacity_that_training_moves": {"causal", "training"},
    "early_exit": {"rows_independent"},  # the sum of all rows' first tokens decides
    "gate_at_its_threshold": {"causal", "rows_independent"},
    "gate_that_learns": {"rows_independent"},
    "lazy_table": {"alone"},  # its table follows the length of the batch
    "names_a_capacity": {"alone"},  # and so does its k
    "noise_in_every_call": {"deterministic"},
    "rare_shortcut": {"rows_independent"},  # the first row decides
    "router_with_a_capacity": {"alone"},  # its k follows the length too
    "running_statistics": {"training"},
    "spectral": {"training"},
}
SMALL = {"d_model": 32, "n_layers": 1, "n_heads": 2, "seq_len": 16, "batch_size": 4}


def of_cheats(file: str, patch: pytest.MonkeyPatch) -> set[str]:
    """What the card of a piece of `tests/cheats` names."""
    patch.chdir(CHEATS)
    patch.syspath_prepend(CHEATS)
    card = mb.audit(f"{file}.py:build", **SMALL)  # type: ignore[arg-type]
    return set(card.deviates) | shown(card)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", in_ci(sorted(path.stem for path in CHEATS.glob("*.py") if path.stem not in {"plain", "test_museum"}))
)
def test_cards_of_mistakes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in REFUSED:
        with pytest.raises(UsageError, match="cannot be audited"):
            of_cheats(name, monkeypatch)
        return
    named = of_cheats(name, monkeypatch)
    assert name in BY_CALLS or named == MISTAKES.get(name, set())


@pytest.mark.slow
@pytest.mark.parametrize("name", in_ci(sorted(path.stem for path in (CHEATS / "honest").glob("*.py"))))
def test_cards_accuse_no_honest_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_cheats(f"honest/{name}", monkeypatch) == TOLD.get(name, set())
