"""Attention's number formats."""

from __future__ import annotations

import torch
from toolbox import config

from modbench.models.layers.attention import RotaryTable


def test_a_bfloat16_model_rotates_by_exact_angles() -> None:
    """As training does, whose weights are float32; only the result is rounded, once."""
    table = RotaryTable(config(max_seq_len=4096))
    moved = RotaryTable(config(max_seq_len=4096)).to(torch.bfloat16)
    x_BTHd = torch.randn(1, 4096, 2, 8, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    wanted = table(4096).rotate(x_BTHd.float()).to(torch.bfloat16)
    got = moved(4096).rotate(x_BTHd)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, wanted)
    assert torch.equal(moved.at(torch.arange(7)[None]).cos, table(7).cos)
    assert table.to("meta")(4).cos.is_meta  # the views move too
