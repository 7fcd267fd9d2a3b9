"""The museum of released code: each rebuild of `examples/released/` gets the card that its source predicts.

What must deviate and what must hold is written from papers and facts of released code; the whole card is a golden.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from expected_cards import FOLDER as CARDS
from expected_cards import check_card

from modbench.harness.planning.overrides import Overrides
from modbench.plugins.audit import targets, terminal
from modbench.plugins.audit.probing import audit, built
from modbench.plugins.audit.report import Architecture, AuditReport

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "examples" / "released"


@dataclass(frozen=True)
class Piece:
    """One rebuild and what its source says of it.

    Attributes:
        of: what it is held to.
        deviates: properties that its source breaks, in one text.
        holds: properties that its source keeps, though another of the museum breaks them.
        options: of `build`.
    """

    of: Architecture | None
    deviates: str
    holds: str
    options: str = ""


CAUSAL = "causal rows_independent deterministic"
OTHERS = "rows_independent deterministic"
PIECES = {
    "dense": Piece("dense", "", f"{CAUSAL} alone decode zeroed"),
    # k - 1 tokens, r · (x + f(x)), a decoded token is always taken
    "astramind": Piece(
        "mod", "causal decode mod_k mod_residual", f"skips zeroed {OTHERS} mod_bypass mod_routers", "capacity=0.125"
    ),
    # a softmax over the chosen, the stream twice
    "kyegomez": Piece(
        "mod", "causal mod_residual mod_stream", f"skips zeroed {OTHERS} mod_k mod_routers", "capacity=0.125"
    ),
    # the gate on the MLP alone, the stream twice, one router for all blocks, positions by rank
    "sramshetty": Piece(
        "mod", "causal mod_residual mod_stream mod_routers mod_attention", f"skips zeroed {OTHERS} mod_k mod_bypass"
    ),
    # no router, nothing is multiplied
    "a_mod": Piece(
        "mod", "causal mod_routers mod_gradient", f"skips zeroed {OTHERS} mod_k mod_bypass mod_stream", "capacity=0.5"
    ),
    # gate · Block(x) with Block's own residual; top-k in evaluation
    "mor": Piece("mod", "causal mod_stream", f"skips zeroed {OTHERS} mod_bypass mod_attention"),
    # computes everything, multiplies by 0 or 1; the mean of a sequence reads later tokens; decoding decides anew
    "router_tuning": Piece(None, "causal decode", OTHERS),
    "router_tuning_block": Piece("mod", "skips zeroed", CAUSAL, "part=block,level=token"),
    # noise in evaluation, everything computed
    "skipgpt": Piece("mod", "skips zeroed deterministic mod_residual", "causal rows_independent alone"),
    "skipgpt_quiet": Piece("mod", "skips zeroed", f"{CAUSAL} decode", "noise=False"),
    # row 0 decides for the batch, from the whole sequence
    "dr_llm": Piece(None, "causal rows_independent", "deterministic decode"),
    "dr_llm_uncoupled": Piece(None, "causal", f"{OTHERS} decode", "coupled=False"),
    "layerskip": Piece("early_exit", "", f"{CAUSAL} skips zeroed alone decode"),
    "zero_experts": Piece("mode", "", f"{CAUSAL} skips zeroed alone decode"),
}


# The others are a proof: a card takes seconds.
IN_CI = {"astramind", "dr_llm"}


def file_of(name: str) -> Path:
    """The file of a piece: a name may end in what its options make of it."""
    return next(file for file in sorted(FOLDER.glob("*.py"), reverse=True) if name.startswith(file.stem))


def card_of(name: str, only: tuple[str, ...] = ()) -> AuditReport:
    """The card of a piece, in the default shape."""
    model = f"{file_of(name)}:build({PIECES[name].options})"
    return audit(built(targets.case_of_flags(model, Overrides()), PIECES[name].of), only=only)


def test_every_rebuild_has_a_card() -> None:
    assert {file_of(name) for name in PIECES} == set(FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", PIECES)
def test_the_stored_card_says_what_the_source_says(name: str) -> None:
    stored, said = json.loads((CARDS / f"released_{name}.json").read_text(encoding="utf-8")), PIECES[name]
    found = {key: each["verdict"] for key, each in stored.items()}
    assert {found[key] for key in said.deviates.split()} <= {"no"}
    assert {found[key] for key in said.holds.split()} <= {"yes", "reported"}
    assert said.of != "mod" or list(found.values()).count("not observable") <= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in IN_CI else pytest.mark.proof) for name in PIECES]
)
def test_the_card_is_the_stored_one(name: str) -> None:
    card = card_of(name)
    assert len(terminal.card(card, 80).splitlines()) <= 30 - 1  # the path of the page follows
    check_card(card, f"released_{name}")


@pytest.mark.slow
def test_flops_are_compared_with_those_at_capacity_1_and_no_weight_decides_where_attention_does() -> None:
    """As a default of `build` too; a model that reads no capacity has nothing to be compared with. A-MoD has no router."""
    dense = card_of("dense", ("skips",))["skips"].facts["flops"]
    card = card_of("a_mod", ("skips", "mod_routers", "mod_gradient"))
    assert card["skips"].facts["flops_all_on"] == dense
    assert card["skips"].facts["flops_share"] == pytest.approx(card["skips"].facts["flops"] / dense)  # type: ignore[operator]
    assert card_of("layerskip", ("skips",))["skips"].facts["flops_share"] is None
    assert card.deviates == ("mod_routers", "mod_gradient")


@pytest.mark.slow
def test_a_shared_block_is_counted_by_its_passes() -> None:
    """Two recursions, of all tokens and of half: 1.5 of 2 passes."""
    d, ff, v = 128, 384, 256
    block = 4 * d * d + 3 * d * ff
    whole = 2 * block + 2 * block + v * d + 2 * d
    by_hand = (whole - 0.5 * block) / whole
    assert card_of("mor", ("skips",))["skips"].value == pytest.approx(by_hand)
