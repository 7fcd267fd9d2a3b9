"""What the reports say of a confirmation: the answer, its price, what would decide it, the table, the recommendation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planted_sweeps import confirmed as planted
from present import present

from modbench.plugins.sweeps.confirmation import question as confirmation
from modbench.reports.blocks import Sentence
from modbench.reports.markup.number_format import plain
from modbench.reports.questions import summary
from modbench.reports.tables.load import Loaded

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def paying(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A sweep in which MoD beats dense and noise."""
    return planted(tmp_path_factory.mktemp("confirm"), mod=-0.1, noise=0.1)


def rows_of(loaded: Loaded) -> list[confirmation.Row]:
    """What the best of each confirmation was compared with."""
    return [row for answer in confirmation.answers(loaded) for row in confirmation.rows(answer)]


def verdict(loaded: Loaded) -> str | None:
    """The verdict on the best against dense."""
    (found,) = (row for row in rows_of(loaded) if present(row.other).case.model == "dense")
    return found.verdict


@pytest.mark.parametrize(
    ("truth", "against_dense", "said"),
    [
        ({"mod": -0.1, "noise": 0.0}, "better", "Not shown to come from skipping"),
        ({"mod": -0.1, "noise": 0.1, "roles": ["baseline", "best"]}, "better", "no control"),
        ({"mod": 0.1, "noise": 0.1}, "worse", "dense is better"),
    ],
)
def test_skipping_gets_credit_only_where_it_beats_dense_and_noise(
    truth: dict[str, Any], against_dense: str, said: str, tmp_path: Path
) -> None:
    loaded = planted(tmp_path, **truth)
    assert verdict(loaded) == against_dense
    assert {answer.pays for answer in confirmation.answers(loaded)} != {True}
    assert said in plain(summary.answer(loaded)[-1])


def test_fewer_seeds_than_the_spread_asks_for_are_a_doubt(paying: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    (made,) = confirmation.answers(paying)
    told = made.confirmed.model_copy(update={"wanted": 41})
    monkeypatch.setattr(confirmation, "answers", lambda _: [replace(made, confirmed=told)])
    given = [each.given for each in summary.head(paying).doubts if isinstance(each, Sentence)]
    said = [[plain(each[key]) for key in ("wanted", "planned", "margin")] for each in given if "wanted" in each]
    assert said == [["41", "8", "1.5 %"]]


def test_what_is_not_decided_says_how_many_seeds_would(tmp_path: Path) -> None:
    loaded = planted(tmp_path, mod=-0.02, noise=0.1, run_noise=0.05)
    assert verdict(loaded) == "inconclusive"
    row = confirmation.TABLE.frame(loaded).iloc[0]
    assert row.verdict == "inconclusive"
    assert row.seeds_needed > 8
    assert row.hours_needed > 0
    (said,) = (each for each in confirmation.doubts(loaded) if "more" in each.given)
    assert said.given["more"] == str(row.seeds_needed)


def test_two_number_formats_are_told_apart(tmp_path: Path) -> None:
    grid = {"grid": {"seq_len": [32], "dtype": ["fp32", "bf16"]}}
    loaded = planted(tmp_path, mod=-0.1, noise=0.1, bf16=0.2, sweeps=grid, roles=["baseline", "best"])
    assert [(row.answer.dtype, row.verdict) for row in rows_of(loaded)] == [("fp32", "better"), ("bf16", "worse")]
    # In bf16 half the compute costs 0.2 nats: each format has a price of its own.
    assert [*confirmation.TABLE.frame(loaded).gain] == pytest.approx([2, 2**-0.5], rel=0.2)


def test_a_row_has_the_losses_of_its_own_difference(tmp_path: Path) -> None:
    table = confirmation.TABLE.frame(planted(tmp_path, mod=-0.1, noise=0.01, run_noise=0.02))
    assert len({*table.seeds}) > 1  # the best got more for the control
    assert list(table.loss - table.baseline_loss) == pytest.approx(list(table.difference))
