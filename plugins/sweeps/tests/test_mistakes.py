"""Mistakes in a sweep's settings, as a user makes them on the command line; a plug-in that is absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
@pytest.mark.plugin("routing")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "isoflop-cpu", "-k", "d32"], "-k leaves out"),
        (["plan", "isoflop-cpu", "--set", "capacity_warmup=0.5"], "Set capacity_warmup=0"),
        (["plan", "isoflop-cpu", "--set", "train.steps=5"], "isoflop.train_flops set how long"),
        (["plan", "isoflop-cpu", "--set", "isoflop.train_flops=[1e12,1.0001e12]"], "first three digits"),
        (["plan", "isoflop-cpu", "--set", "isoflop.train_flops=[inf]"], "less than or equal"),
        (["plan", "isoflop-cpu", "--set", "confirm.margin=1"], "0.05 is 5 %"),
        (["plan", "isoflop-cpu", "--set", "confirm.margin=nan"], "0.05 is 5 %"),
        (["plan", "isoflop-cpu", "--set", "confirm.margin=500%"], "0.05 is 5 %"),
    ],
)
@pytest.mark.plugin("routing")
def test_a_mistake_ends_in_words_and_2(modbench: Any, arguments: list[str], words: str, tmp_path: Path) -> None:
    done = modbench(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
