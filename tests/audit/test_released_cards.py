"""The museum of released code: each rebuild of `examples/released/` gets the card that its source predicts.

What must deviate and what must hold is written from papers and facts of released code; the whole card is a golden.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from expected_cards import check_card

from modbench.commands.audit import targets
from modbench.harness.audit.auditing import audit, built, probes
from modbench.harness.audit.card import Architecture, Card
from modbench.harness.planning.overrides import Overrides
from modbench.reports.questions.audit import MARKS

ROOT = Path(__file__).parents[2]
FOLDER, PAGE, CARDS = ROOT / "examples" / "released", ROOT / "docs" / "audits.md", Path(__file__).parent / "cards"
ALWAYS = ("causal", "rows_independent", "deterministic", "alone", "decode")


@dataclass(frozen=True)
class Piece:
    """One rebuild and what its source says of it.

    Attributes:
        of: what it is held to.
        deviates: properties that its source breaks.
        holds: properties that its source keeps, though another of the museum breaks them.
        options: of `build`.
    """

    of: Architecture | None
    deviates: frozenset[str]
    holds: frozenset[str]
    options: dict[str, object] = field(default_factory=dict)


def piece(of: Architecture | None, deviates: str, holds: str, **options: object) -> Piece:
    return Piece(of, frozenset(deviates.split()), frozenset(holds.split()), options)


CAUSAL = "causal rows_independent deterministic"
PIECES = {
    "dense": piece("dense", "", f"{CAUSAL} alone decode zeroed"),
    # k - 1 tokens, r · (x + f(x)), a decoded token is always taken
    "astramind": piece(
        "mod",
        "causal decode mod_k mod_residual",
        "skips zeroed rows_independent deterministic mod_bypass mod_routers",
        capacity=0.125,
    ),
    # a softmax over the chosen, the stream twice
    "kyegomez": piece(
        "mod",
        "causal mod_residual mod_stream",
        "skips zeroed rows_independent deterministic mod_k mod_routers",
        capacity=0.125,
    ),
    # the gate on the MLP alone, the stream twice, one router for all blocks, positions by rank
    "sramshetty": piece(
        "mod",
        "causal mod_residual mod_stream mod_routers mod_attention",
        "skips zeroed rows_independent deterministic mod_k mod_bypass",
    ),
    # no router, nothing is multiplied
    "a_mod": piece(
        "mod", "causal", "skips zeroed rows_independent deterministic mod_k mod_bypass mod_stream", capacity=0.5
    ),
    # gate · Block(x) with Block's own residual; top-k in evaluation
    "mor": piece("mod", "causal mod_stream", "skips zeroed rows_independent deterministic mod_bypass mod_attention"),
    # computes everything, multiplies by 0 or 1; the mean of a sequence reads later tokens; decoding decides anew
    "router_tuning": piece(None, "causal decode", "rows_independent deterministic"),
    "router_tuning_block": piece("mod", "skips zeroed", CAUSAL, part="block", level="token"),
    # noise in evaluation, everything computed
    "skipgpt": piece("mod", "skips zeroed deterministic", "causal rows_independent"),
    "skipgpt_quiet": piece("mod", "skips zeroed", f"{CAUSAL} decode", noise=False),
    # row 0 decides for the batch, from the whole sequence
    "dr_llm": piece(None, "causal rows_independent", "deterministic decode"),
    "dr_llm_uncoupled": piece(None, "causal", "rows_independent deterministic decode", coupled=False),
    "layerskip": piece("early_exit", "", f"{CAUSAL} skips zeroed alone decode"),
    "zero_experts": piece("mode", "", f"{CAUSAL} skips zeroed alone decode"),
}


# The others are a proof: a card takes seconds.
IN_CI = {"astramind", "dr_llm"}


def file_of(name: str) -> Path:
    """The file of a piece: a name may end in what its options make of it."""
    return next(file for file in sorted(FOLDER.glob("*.py"), reverse=True) if name.startswith(file.stem))


def card_of(name: str, only: tuple[str, ...] = ()) -> Card:
    """The card of a piece, in the default shape."""
    given = ",".join(f"{key}={value}" for key, value in PIECES[name].options.items())
    model = f"{file_of(name)}:build({given})"
    return audit(built(targets.case_of_flags(model, Overrides()), PIECES[name].of), only=only)


def test_every_rebuild_has_a_card() -> None:
    assert {file_of(name) for name in PIECES} == set(FOLDER.glob("*.py"))


def shown() -> dict[str, list[dict[str, str]]]:
    """The tables of `docs/audits.md`: of each model the marks of its columns, by the title of the property."""
    columns: dict[str, list[dict[str, str]]] = {}
    head: list[str] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("| ") else []
        if cells[:1] == ["property"]:
            head = cells[1:]
            for name in head:
                columns.setdefault(name, []).append({})
        elif cells and head:
            for name, cell in zip(head, cells[1:], strict=True):
                columns[name][-1][cells[0]] = cell[:1]
        elif not line.startswith("|"):
            head = []
    return columns


def test_the_page_shows_the_marks_of_the_goldens() -> None:
    """Of every rebuild: what is judged without `--of` in any table, and all of its card where it was held to the same."""
    columns, pieces = shown(), {}
    for name, said in PIECES.items():
        given = ",".join(f"{key}={value}" for key, value in said.options.items() if key != "capacity")
        pieces[name] = f"{file_of(name).name}:build" + (f"({given})" if given else "")
    on_page = [name for name, model in pieces.items() if model in columns]
    assert len(on_page) >= 11
    titles = {key: probe.title for of in (None, "mod") for key, probe in probes(of).items()}
    for name in on_page:
        card = json.loads((CARDS / f"released_{name}.json").read_text(encoding="utf-8"))
        for column in columns[pieces[name]]:
            held = (titles["mod_k"] in column) == (PIECES[name].of == "mod")
            for key, found in card.items():
                if key in ALWAYS or (held and PIECES[name].of in {None, "mod"}):
                    assert column[titles[key]] == MARKS[found["verdict"]], (name, key)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in IN_CI else pytest.mark.proof) for name in PIECES]
)
def test_the_card_says_what_the_source_says(name: str) -> None:
    card, said = card_of(name), PIECES[name]
    assert said.deviates <= set(card.deviates)
    assert said.holds <= set(card.named("holds") + card.named("reported"))
    check_card(card, f"released_{name}")


@pytest.mark.slow
def test_flops_are_compared_with_capacity_1_where_capacity_reaches_something() -> None:
    """As a default of `build` too; a model that reads no capacity has nothing to be compared with."""
    dense = card_of("dense", ("skips",))["skips"].facts["flops"]
    facts = card_of("a_mod", ("skips",))["skips"].facts
    assert facts["flops_all_on"] == dense
    assert facts["flops_share"] == pytest.approx(facts["flops"] / dense)  # type: ignore[operator]
    assert {name: card_of(name, ("skips",))["skips"].facts["flops_share"] for name in ("layerskip", "mor")} == {
        "layerskip": None,
        "mor": None,
    }


@pytest.mark.slow
def test_a_shared_block_is_counted_by_its_passes() -> None:
    """Two recursions, of all tokens and of half: 1.5 of 2 passes."""
    d, ff, v = 128, 384, 256
    block = 4 * d * d + 3 * d * ff
    whole = 2 * block + 2 * block + v * d + 2 * d
    by_hand = (whole - 0.5 * block) / whole
    assert card_of("mor", ("skips",))["skips"].value == pytest.approx(by_hand)
