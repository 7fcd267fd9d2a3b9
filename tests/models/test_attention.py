"""Attention's number formats, and the heads that it hands to a kernel."""

from __future__ import annotations

import pytest
import torch
from present import present
from toolbox import build, config, tokens

from modbench.models.layers import kernels
from modbench.models.layers.kernels import RotaryTable


def test_a_bfloat16_model_rotates_by_exact_angles() -> None:
    """As training does, whose weights are float32; only the result is rounded, once."""
    table = RotaryTable(config(max_seq_len=4096))
    moved = RotaryTable(config(max_seq_len=4096)).to(torch.bfloat16)
    x_BTHd = torch.randn(1, 4096, 2, 8, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    wanted = table(4096).rotate(x_BTHd.float()).to(torch.bfloat16)
    got = moved(4096).rotate(x_BTHd)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, wanted)
    views, rows = present(table(7)), present(moved.at(torch.arange(7)[None]))
    assert torch.equal(rows.cos, views.cos)
    moved_views = present(table.to("meta")(4))
    assert moved_views.cos.is_meta  # the views move too


def test_grouped_heads_that_no_kernel_takes_are_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    module = build("dense", n_kv_heads=2).eval()
    wanted = module(tokens())
    monkeypatch.setattr(kernels, "lacks_grouped_kernel", lambda _q: True)
    torch.testing.assert_close(module(tokens()), wanted)
