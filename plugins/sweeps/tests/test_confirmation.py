"""What the reports say of a confirmation: the answer, its price, what would decide it, the table, the recommendation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planted_sweeps import confirmed as planted
from present import present
from sections_of import shown

from modbench.plugins.sweeps.confirmation import question as confirmation
from modbench.plugins.sweeps.section import CONFIRM
from modbench.reports.blocks import Sentence
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import summary
from modbench.reports.tables.load import Loaded

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def paying(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A sweep in which MoD beats dense and noise."""
    return planted(tmp_path_factory.mktemp("confirm"), mod=-0.1, noise=0.1)


def sentences(loaded: Loaded) -> list[Sentence]:
    """All that is said of what was confirmed."""
    return [sentence for answer in confirmation.answers(loaded) for sentence in confirmation.of(loaded, answer)]


def verdicts(loaded: Loaded) -> dict[str, str | None]:
    """The verdicts on the best of each confirmation, by what it was compared with."""
    rows = [row for answer in confirmation.answers(loaded) for row in confirmation.rows(answer)]
    return {row.answer.name(row.compared.role): row.verdict for row in rows if row.compared is not None}


def conclusion(loaded: Loaded) -> str:
    """What the first screen concludes from that."""
    return plain(summary.answer(loaded)[-1])


@pytest.mark.parametrize(
    ("truth", "verdict", "said"),
    [
        ({"mod": -0.1, "noise": 0.0}, "better", "Not shown to come from skipping"),
        ({"mod": -0.1, "noise": 0.1, "roles": ["baseline", "best"]}, "better", "no control"),
        ({"mod": 0.1, "noise": 0.1}, "worse", "dense is better"),
    ],
)
def test_skipping_gets_credit_only_where_it_beats_dense_and_noise(
    truth: dict[str, Any], verdict: str, said: str, tmp_path: Path
) -> None:
    loaded = planted(tmp_path, **truth)
    assert verdicts(loaded)["dense"] == verdict
    assert {answer.pays for answer in confirmation.answers(loaded)} != {True}
    assert said in conclusion(loaded)


@pytest.mark.parametrize(("wanted", "asked"), [(41, "41"), (None, "more than 2,000"), (8, "")])
def test_fewer_seeds_than_the_spread_asks_for_are_a_doubt(
    paying: Loaded, monkeypatch: pytest.MonkeyPatch, wanted: int | None, asked: str
) -> None:
    (made,) = confirmation.answers(paying)
    told = made.confirmed.model_copy(update={"wanted": wanted})
    monkeypatch.setattr(confirmation, "answers", lambda _: [replace(made, confirmed=told)])
    doubts: Any = summary.head(paying).doubts
    said = [each.given for each in doubts if isinstance(each, Sentence) and "wanted" in each.given]
    assert [(plain(each["wanted"]), each["planned"]) for each in said] == ([(asked, 8)] if asked else [])
    assert all(plain(each["margin"]) == "1.5 %" for each in said)


def test_what_is_not_decided_says_how_many_seeds_would(tmp_path: Path) -> None:
    loaded = planted(tmp_path, mod=-0.02, noise=0.1, run_noise=0.05)
    assert verdicts(loaded)["dense"] == "inconclusive"
    rows: Any = present(confirmation.table(loaded)).rows
    assert [plain(row[-1]) for row in rows if plain(row[0]) == "dense"] == ["? inconclusive"]
    row = confirmation.TABLE.frame(loaded).iloc[0]
    assert row.verdict == "inconclusive"
    assert row.seeds_needed > 8
    assert row.hours_needed > 0
    (said,) = (each for each in confirmation.doubts(loaded) if "more" in each.given)
    assert said.given["more"] == str(row.seeds_needed)


def test_two_number_formats_are_told_apart(tmp_path: Path) -> None:
    grid = {"grid": {"seq_len": [32], "dtype": ["fp32", "bf16"]}}
    loaded = planted(tmp_path, mod=-0.1, noise=0.1, bf16=0.2, sweeps=grid, roles=["baseline", "best"])
    rows = [row for answer in confirmation.answers(loaded) for row in confirmation.rows(answer)]
    assert [(row.answer.dtype, row.verdict) for row in rows] == [("fp32", "better"), ("bf16", "worse")]
    rows_shown: Any = present(confirmation.table(loaded)).rows
    assert [plain(row[1]).rpartition(" in ")[2] for row in rows_shown] == ["fp32", "bf16"]
    # In bf16 half the compute costs 0.2 nats: each format has a price of its own.
    speedup = confirmation.TABLE.frame(loaded).gain
    assert speedup[0] == pytest.approx(2, rel=0.2)
    assert speedup[1] == pytest.approx(2**-0.5, rel=0.2)


def test_a_row_has_the_losses_of_its_own_difference(tmp_path: Path) -> None:
    table = confirmation.TABLE.frame(planted(tmp_path, mod=-0.1, noise=0.01, run_noise=0.02))
    assert len(set(table.seeds)) > 1  # the best got more for the control
    assert list(table.loss - table.baseline_loss) == pytest.approx(list(table.difference))


def test_a_control_that_is_no_noise_is_not_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = planted(
        tmp_path,
        mod=-0.1,
        noise=0.1,
        controls="0.5 and learned",
        candidates="0.25 and learned",
        roles=["baseline", "best", "control"],
    )
    assert "MoD 0.5 learned" in shown(CONFIRM, loaded)
    monkeypatch.setattr(confirmation.Answer, "verdict", lambda _, role: "better" if role == "baseline" else "undecided")
    *_, said = sentences(loaded)
    assert said.given["control"] == "MoD 0.5 learned"
    assert "noise" not in conclusion(loaded)
