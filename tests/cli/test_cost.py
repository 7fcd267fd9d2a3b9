"""`modbench cost`: any size from closed forms, in milliseconds and without weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from in_process import succeeded

from modbench.harness.core.plain_text import SCREEN, WIDTH

SEVENTY_B = (
    *("--set", "d_model=8192", "--set", "n_layers=80", "--set", "n_heads=64", "--set", "n_kv_heads=8"),
    *("--set", "d_ff=28672", "--set", "vocab_size=128256", "--seq-len", "131072", "--dtype", "bf16"),
)


def told(modbench: Any, *arguments: object) -> list[dict[str, Any]]:
    done = succeeded(modbench("cost", *arguments, "--json"))
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


@pytest.mark.slow
def test_seventy_billion_parameters_by_hand(modbench: Any) -> None:
    """Parameters, FLOPs and cache of a well-known shape, from its own arithmetic."""
    (row,) = told(modbench, "dense", *SEVENTY_B)
    d, layers, ff, v, t, kv = 8192, 80, 28672, 128256, 131072, 1024
    block = 2 * d * d + 2 * d * kv + 3 * d * ff
    assert row["params"] == layers * (block + 2 * d) + 2 * v * d + d
    square = 2 * 2 * t * t * d * layers
    assert row["flops"]["forward"] == 2 * t * (layers * block + v * d) + square
    assert row["flops"]["forward/causal"] == row["flops"]["forward"] - square + square * (t + 1) // (2 * t)
    assert row["flops"]["forward/headless"] == row["flops"]["forward"] - 2 * t * v * d
    assert row["flops"]["train_step"] == 3 * row["flops"]["forward"]
    assert row["memory"]["kv_cache"] == 2 * 2 * layers * t * kv
    assert row["memory"]["optimizer"] == 2 * row["memory"]["parameters"] == 4 * row["params"]
    assert row["counter"]["difference"] == 0
    assert row["memory"]["peak_train_step"] > row["memory"]["optimizer"] + row["memory"]["gradients"]


@pytest.mark.slow
def test_lists_make_one_row_for_each(modbench: Any) -> None:
    rows = told(modbench, "mod", "--capacity", "0.125,0.5", "--batch-size", "4", "--seq-len", "256,512")
    assert [(row["config"]["capacity"], row["seq_len"]) for row in rows] == [
        (c, t) for c in (0.125, 0.5) for t in (256, 512)
    ]
    assert rows[0]["flops"]["forward"] < rows[2]["flops"]["forward"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["dense", "mod", "moe", "mode_staged", "mode_integrated", "early_exit"])
def test_every_number_is_there_or_has_a_reason(model: str, modbench: Any) -> None:
    (row,) = told(modbench, model)
    for group in ("flops", "bytes", "memory"):
        if None in row[group].values():
            assert row["reason"]
    assert row["counter"]["forward"] is not None or row["counter"]["reason"]
    text = modbench("cost", model).stdout
    assert "FLOPs" in text
    assert (len(text.splitlines()), max(map(len, text.splitlines()))) <= (SCREEN, WIDTH)
    assert "peak train step" in text


MINE = """
import torch
def build(config):
    d, v = config.d_model, config.vocab_size
    return torch.nn.Sequential(torch.nn.Embedding(v, d), torch.nn.Linear(d, v))
class looks(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
    def forward(self, x):
        return torch.zeros(1) if x.sum().item() else x
"""


def test_a_users_model_is_costed_by_the_counter(modbench: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    done = modbench("cost", "mine.py:build", "--set", "d_model=64", "--seq-len", 32, "--json", cwd=tmp_path)
    (row,) = json.loads(done.stdout)
    assert row["flops"]["forward"] == 2 * 32 * 64 * 256
    assert row["flops"]["forward/causal"] is None
    assert "shapes alone" in row["reason"]
    refused = modbench("cost", "mine.py:looks", cwd=tmp_path)
    assert refused.returncode == 2
    assert "on shapes alone" in refused.stderr
