"""The end of a sweep in the terminal: one row for each variant, at the best of its sizes, against the anchor's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from present import present
from test_confirming import BUDGET, SIZES
from test_confirming import sweep as suite_of

from modbench.extend import planted_run
from modbench.harness.core.labels import Label
from modbench.plugins.sweeps.isoflop import question as isoflop
from modbench.plugins.sweeps.isoflop.plan import budget_of
from modbench.reports.markup.number_format import plain
from modbench.reports.markup.short import FUTURE
from modbench.reports.section import InPlace
from modbench.reports.tables.load import Loaded, load
from modbench.reports.terminal import printed_run

HEAD = "FLOPs"


def planted(tmp_path: Path, **changes: Any) -> Loaded:
    """MoD ends 0.1 nats below dense and routing by noise 0.05; dense is best at width 16, the others at 24.

    Times grow with the width; MoD takes half of dense's.
    """
    made = suite_of(
        **{
            "metrics": ["flops/forward", "latency/train_step", "loss/val", "loss/val_causal"],
            "isoflop": {
                "train_flops": [BUDGET],
                "baseline_train_flops": [BUDGET / 2],
                "sizes": SIZES,
                "max_epochs": 1e9,
            },
            "seeds": [0, 1, 2],
            "confirm": None,
            **changes,
        }
    )
    losses, times = dict[str, float](), dict[tuple[str, str, int], float]()
    for case in made.cases:
        times[case.variant, "train_step", 32] = case.config.d_model / 16 * (0.5 if case.model == "mod" else 1)
        best = 16 if case.model == "dense" else 24
        lower = 0.1 * (case.model == "mod") - 0.05 * (case.config.router == "stochastic")
        losses[case.id] = 2.0 - lower + 0.05 * (case.config.d_model != best) + 0.1 * (budget_of(case) == BUDGET / 2)
    return load(str(planted_run(tmp_path, made, losses=losses, grid=times, run_noise=0.01)))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return planted(tmp_path_factory.mktemp("swept"))


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def closing(loaded: Loaded) -> str:
    return printed_run.closing(loaded, Path("report.html"), None)


def table(text: str) -> list[list[str]]:
    """The cells of the table of the sweep, line by line."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(HEAD))
    return [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[first : lines.index("", first)]
    ]


def shown(loaded: Loaded) -> InPlace:
    """What stands in place of the tables of times."""
    return present(isoflop.in_place(loaded))


def test_a_loss_that_saw_later_tokens_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses as trained stand there where none was routed causally."""
    swept = planted(tmp_path, metrics=["flops/forward", "loss/val"])
    routed = shown(swept).variants[1]
    monkeypatch.setattr(Loaded, "labelled", property(lambda _: {Label.NOT_AUTOREGRESSIVE: [routed]}))
    text = closing(swept)
    assert [FUTURE in row[2] for row in table(text)] == [False, False, True, False]
    assert f"{FUTURE} not causal" in text
    assert "where possible" in " ".join(text.split())


def test_what_lacks_seeds_is_named(tmp_path: Path) -> None:
    """A size that lacks one, and a variant of which every size does."""
    loaded = planted(tmp_path, metrics=["flops/forward", "loss/val_causal"])
    for file in (
        *loaded.path.glob("jobs/train-dense_d24*seed1*"),
        *loaded.path.glob("jobs/train-mod*stochastic*seed1*"),
    ):
        file.unlink()
    made: Any = shown(load(loaded.path)).tables[0]
    left_out = vars(made.notes[1].given["what"])["values"]
    assert [each.partition(" has ")[0] for each in left_out] == ["dense d24-L2-H1", "MoD 0.25 stochastic"]
    assert plain(made.notes[1]) in " ".join(closing(load(loaded.path)).split())


def test_with_v_a_table_stands_once(swept: Loaded) -> None:
    text = printed_run.closing(swept, Path("report.html"), None, verbose=True)
    assert text.count(f"\n{HEAD}") == closing(swept).count(f"\n{HEAD}") > 0


def test_before_any_size_is_trained_there_is_no_such_table(swept: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isoflop, "curves", lambda _: [])
    text = closing(swept)
    assert f"\n{HEAD}" not in text
    assert "÷ row" not in text
