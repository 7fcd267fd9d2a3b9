"""Tiles: only what was measured, or failed; against the dense model of equal cost first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from planted import left, planted_suite

from modbench.reports.panels import tiles
from modbench.reports.tables.load import Loaded, load


def titles(folder: Path, metrics: list[str], **trouble: Any) -> list[str]:
    arms = [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}]
    made = planted_suite("draft", metrics=metrics, arms=arms, grid={"seq_len": [64]}, launches=3, rounds=2, train=None)
    counts = next(unit.name for unit in made.units if unit.made_in == "count")
    left(folder, made, leave_out=counts if trouble.pop("uncounted", False) else None, **trouble)
    return re.findall(r'<div class="tile[^"]*">\s*<h3>([^<,]*)', str(tiles.render(load(folder / "run")) or ""))


@pytest.mark.parametrize(
    ("metrics", "trouble", "found"),
    [
        (["flops/forward", "latency/forward"], {}, ["Forward pass", "Forward FLOPs"]),
        # Asked for, but never counted: its tile would be empty.
        (["flops/forward", "latency/forward"], {"uncounted": True}, ["Forward pass"]),
        (["flops/forward"], {"uncounted": True}, []),
        # A failure is shown.
        (["latency/forward"], {"fails": "mod[c0.125]"}, ["Forward pass"]),
    ],
)
def test_a_tile_for_what_was_measured(
    tmp_path: Path, metrics: list[str], trouble: dict[str, Any], found: list[str]
) -> None:
    assert titles(tmp_path, metrics, **trouble) == found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a dense model of equal FLOPs for MoD 0.125 alone: it takes 0.7 of dense's time, MoD 0.125 takes 0.625."""
    metrics = ["flops/forward", "latency/forward", "memory/peak_allocated"]
    planned = planted_suite("draft", metrics=metrics, launches=3, rounds=2, train=None)
    return left(tmp_path_factory.mktemp("tiles"), planned)


@pytest.fixture(scope="module")
def loaded(run: Path) -> Loaded:
    return load(run)


SETS = re.compile(
    r'<div class="set" data-arm="([^"]*)" data-length="(\d+)"(?: data-at="(\d)")?( hidden)?>'
    r'\s*<p class="compared">([^<]*)</p>(.*?)(?=<div class="set"|<p class="note">)',
    re.DOTALL,
)


def sets(loaded: Loaded) -> dict[tuple[str, str, str], tuple[bool, str, list[str], list[str]]]:
    """Sets of tiles by arm, length and choice: whether it is hidden, what is compared, titles, large numbers."""
    return {
        (arm, length, at): (
            bool(hidden),
            compared,
            [title.replace("\u00a0", " ") for title in re.findall(r"<h3>([^<]*)", body)],
            re.findall(r'class="big">([^<]*)', body),
        )
        for arm, length, at, hidden, compared, body in SETS.findall(str(tiles.render(loaded)))
    }


def test_a_dense_model_of_equal_cost_that_failed_is_no_choice(tmp_path: Path) -> None:
    planned = planted_suite("draft", metrics=["latency/forward"], launches=3, rounds=2, train=None)
    other = load(left(tmp_path, planned, fails="dense-f0.58"))
    assert {at for *_, at in sets(other)} == {""}
    assert 'data-group="against"' not in str(tiles.render(other))
