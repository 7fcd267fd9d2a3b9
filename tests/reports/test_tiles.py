"""Tiles: only what was measured, or failed; against the dense model of equal cost first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from planted import left, planted_suite

from modbench.reports.model import Figure
from modbench.reports.panels import forest, speedup_map, tiles
from modbench.reports.tables.findings import between
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


def test_dense_of_equal_cost_comes_first_and_tiles_name_arm_and_length(loaded: Loaded) -> None:
    found = sets(loaded)
    assert [key for key, (hidden, *_) in found.items() if not hidden] == [
        ("mod[c0.125]", "128", "0"),
        ("mod[c0.125]", "128", "1"),
    ]
    _, compared, titles, big = found["mod[c0.125]", "128", "0"]
    assert compared == "MoD 0.125 at T = 128 against dense, 58 % of the FLOPs, a dense model of equal FLOPs"
    assert titles == ["Forward pass, T = 128", "Forward FLOPs, T = 128", "Peak memory, T = 128"]
    assert float(big[0].removesuffix("×")) == pytest.approx(0.7 / 0.625, rel=0.03)
    _, compared, _, big = found["mod[c0.125]", "128", "1"]
    assert compared == "MoD 0.125 at T = 128 against dense of the same shape"
    assert float(big[0].removesuffix("×")) == pytest.approx(1.6, rel=0.03)


def test_of_several_batch_sizes_the_one_that_is_shown_is_named(tmp_path: Path) -> None:
    grid = {"seq_len": [64], "batch_size": [1, 4]}
    planned = planted_suite("draft", metrics=["latency/forward"], grid=grid, launches=3, rounds=2, train=None)
    (_, compared, titles, _), *_ = sets(load(left(tmp_path, planned))).values()
    assert "T = 64, B = 1" in compared
    assert titles == ["Forward pass, T = 64, B = 1"]


@pytest.mark.parametrize(("arm", "said"), [("mod[c0.5]", True), ("moe", True), ("dense-f0.58", False)])
def test_without_a_dense_model_of_equal_cost_the_same_shape_is_shown_and_it_is_said(
    arm: str, said: bool, loaded: Loaded
) -> None:
    found = {key: each for key, each in sets(loaded).items() if key[0] == arm}
    assert list(found) == [(arm, "64", ""), (arm, "128", "")]  # shown whatever is chosen
    assert all(("no dense model of equal cost" in compared) is said for _, compared, *_ in found.values())


def test_without_any_there_is_no_choice(tmp_path: Path) -> None:
    arms = [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}]
    planned = planted_suite("draft", metrics=["latency/forward"], arms=arms, launches=3, rounds=2, train=None)
    other = load(left(tmp_path, planned))
    assert 'data-group="against"' not in str(tiles.render(other))
    (_, compared, *_), *_ = sets(other).values()
    assert compared.endswith("; no dense model of equal cost was measured")
    assert {
        each.against for each in (*forest.render(other), *speedup_map.render(other)) if isinstance(each, Figure)
    } == {""}


def test_a_dense_model_of_equal_cost_that_failed_is_no_choice(tmp_path: Path) -> None:
    planned = planted_suite("draft", metrics=["latency/forward"], launches=3, rounds=2, train=None)
    other = load(left(tmp_path, planned, fails="dense-f0.58"))
    assert {at for *_, at in sets(other)} == {""}
    assert 'data-group="against"' not in str(tiles.render(other))


def test_map_and_forest_show_the_pairs_of_the_choice(loaded: Loaded) -> None:
    """Rows are stored the other way round: what is drawn, and its data, are about the arm."""
    rung = next(case for case in loaded.arms if case.arm == "dense-f0.58")
    arm = next(case for case in loaded.arms if case.arm == "mod[c0.125]")
    wanted = {found.place.seq_len: found for found in between(loaded, "latency/forward", arm, rung)}
    maps = [each for each in speedup_map.render(loaded) if isinstance(each, Figure)]
    drawn = [*maps, *forest.render(loaded)]
    assert [(each.name, each.against) for each in drawn] == [
        ("map-cost", "equal cost"),
        ("map", "same shape"),
        ("forest-forward-cost", "equal cost"),
        ("forest-forward", "same shape"),
    ]
    for figure in (drawn[0], drawn[2]):
        assert figure.marks is not None
        assert {mark.arm for mark in figure.marks.said} == {"mod[c0.125]"}
        assert set(figure.data.arm) == {"mod[c0.125]"}
        assert set(figure.data.baseline_arm) == {"dense-f0.58"}
        for row in figure.data.itertuples(index=False):
            found = wanted[row.seq_len]  # type: ignore[index]  # pandas knows no more of it
            assert (row.ratio, row.ci_low, row.ci_high) == pytest.approx(
                (found.typical.value, found.typical.low, found.typical.high)
            )
            assert row.case_id == found.case.id
            assert row.verdict == found.verdict == "better"
            assert row.ideal == pytest.approx(1, abs=0.2)
    assert set(drawn[1].data.arm) == {case.arm for case in loaded.arms[1:]}
