"""Tiles: only what was measured, or failed; against the matched baseline first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from modbench.planted_runs import planted_plan, planted_run
from modbench.reports.sections import tiles
from modbench.reports.tables.load import load


def titles(folder: Path, metrics: list[str], **trouble: Any) -> list[str]:
    variants = [{"model": "dense"}, {"model": "mod", "capacity": [0.125]}]
    made = planted_plan(
        "draft", metrics=metrics, variants=variants, grid={"seq_len": [64]}, processes=3, rounds=2, train=None
    )
    counts = next(job.name for job in made.jobs if job.made_in == "count")
    planted_run(folder, made, leave_out=counts if trouble.pop("uncounted", False) else None, **trouble)
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


def test_a_dense_model_of_matched_that_failed_is_no_choice(tmp_path: Path) -> None:
    planned = planted_plan("draft", metrics=["latency/forward"], processes=3, rounds=2, train=None)
    page = str(tiles.render(load(planted_run(tmp_path, planned, fails="dense-f0.58"))))
    assert '<div class="set" data-variant="mod[c0.125]"' in page
    assert "data-at=" not in page
    assert 'data-group="against"' not in page
