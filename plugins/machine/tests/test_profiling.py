"""One call opened up: nesting, components that add up, bytes and kept memory by hand, ranges for NVIDIA's tools."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import succeeded
from torch import Tensor, nn

from modbench.harness.core.plain_text import SCREEN
from modbench.plugins.machine.profile.ranges import MODULE, REST, ROOT, SPANS, by_name, components, tree, typical
from modbench.plugins.machine.profile.watch import Kept, Traffic


def event(name: str, start: float, end: float, device: str = "CPU", kernels_us: float = 0.0) -> Any:
    return types.SimpleNamespace(
        name=name,
        time_range=types.SimpleNamespace(start=start, end=end),
        device_type=types.SimpleNamespace(name=device),
        device_time_total=kernels_us,
    )


EVENTS = [
    event(ROOT, 0, 100),
    event(f"{MODULE}blocks.0", 0, 60),
    event(f"{MODULE}blocks.0.norm_mlp", 5, 10),
    event(f"{MODULE}blocks.0.mlp", 10, 40),
    event(f"{MODULE}blocks.0.mlp.up", 12, 20),
    event("gather", 60, 70),
    event("aten::mm", 12, 19),
    event(f"{MODULE}head", 80, 95),
]


def test_ranges_nest_by_time_and_own_time_leaves_out_what_is_inside() -> None:
    rows = by_name(tree(EVENTS, {*SPANS, ROOT}))
    assert "aten::mm" not in rows
    own = {name: row["own_seconds"] * 1e6 for name, row in rows.items()}
    assert own == pytest.approx(
        {
            ROOT: 15,
            f"{MODULE}blocks.0": 25,
            f"{MODULE}blocks.0.norm_mlp": 5,
            f"{MODULE}blocks.0.mlp": 22,
            f"{MODULE}blocks.0.mlp.up": 8,
            "gather": 10,
            f"{MODULE}head": 15,
        }
    )


def test_on_a_gpu_a_range_takes_what_its_kernels_take_and_stands_once() -> None:
    """The profiler draws every range again on the device's own timeline."""
    events = [event(ROOT, 0, 10, kernels_us=90), event("gather", 2, 4, kernels_us=30)]
    twice = [*events, event(ROOT, 5, 95, "CUDA"), event("gather", 40, 70, "CUDA")]
    rows = by_name(tree(twice, {*SPANS, ROOT}, on_gpu=True))
    assert {name: row["calls"] for name, row in rows.items()} == {ROOT: 1, "gather": 1}
    assert rows["gather"]["own_seconds"] == pytest.approx(30e-6)
    assert rows[ROOT]["own_seconds"] == pytest.approx(60e-6)


def test_components_add_up_to_the_whole() -> None:
    """A nameless module inside an MLP is the MLP's; whatever is in no component is the rest."""
    found = components(tree(EVENTS, {*SPANS, ROOT}), SPANS)
    micros = {name: seconds * 1e6 for name, seconds in found.items()}
    assert micros == pytest.approx({REST: 40, "mlp": 30, "head": 15, "gather": 10, "norm": 5})
    assert sum(micros.values()) == pytest.approx(100)


def test_several_calls_give_medians() -> None:
    calls = [{"a": {"calls": 1.0, "seconds": s}} for s in (3.0, 1.0, 2.0)]
    assert typical(calls) == {"a": {"calls": 1.0, "seconds": 2.0}}


class Two(nn.Module):
    """A product and a view of it, then an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 8, bias=False)

    def forward(self, x_BD: Tensor) -> Any:
        return self.one(x_BD).view(-1, 8) + 1.0


def test_bytes_moved_are_inputs_and_outputs_of_operators_and_views_move_nothing() -> None:
    module, x_BD = Two(), torch.randn(2, 4)
    traffic = Traffic(module)
    with torch.no_grad(), traffic.watching():
        module(x_BD)
    product = 4 * (2 * 4 + 4 * 8 + 2 * 8)
    assert traffic.moved["one"] == product
    assert traffic.moved[""] == product + 4 * (2 * 8 + 2 * 8)


def test_what_a_module_keeps_is_what_lives_on() -> None:
    module = nn.Sequential(nn.Linear(4, 8, bias=False), nn.GELU())
    watcher = Kept(module)
    with watcher.watching():
        out = module(torch.randn(2, 4))
    assert watcher.bytes["0"] == 4 * 2 * 8  # the product, which GELU's backward needs
    assert watcher.bytes["1"] == 4 * 2 * 8
    del out


def test_of_a_table_no_more_is_read_than_is_found() -> None:
    table, tokens_T = nn.Embedding(1000, 8), torch.arange(5)
    with Traffic(table) as traffic, torch.no_grad():
        table(tokens_T)
    assert traffic.moved[""] == 4 * 5 * 8 + 8 * 5 + 4 * 5 * 8  # rows read, indices, rows written


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_the_command_opens_up_one_case(modbench: Any, tiny_suite: Path, tmp_path: Path) -> None:
    done = succeeded(
        modbench(
            *("profile", tiny_suite, "-k", "mod[c0.25-T16", "--workload", "train_step", "-o", "out", "--device", "cpu"),
            cwd=tmp_path,
        )
    )
    told = json.loads((tmp_path / "out" / "profile.json").read_text())
    parts = {row["component"]: row["share"] for row in told["components"]}
    assert sum(parts.values()) == pytest.approx(1)
    assert list(parts.values()) == sorted(parts.values(), reverse=True)
    assert {"router", "top-k and sort", "gather", "scatter", "attention", "mlp", "backward", "optimizer"} <= set(parts)
    modules = {row["module"]: row for row in told["modules"]}
    assert modules["blocks.1.mlp"]["flops"] == 2 * 4 * 3 * 32 * 128
    assert modules["blocks.1.mlp"]["keeps"] > 0
    assert modules[""]["seconds"] == pytest.approx(told["wall_s"])
    assert told["peak"]["flop_per_s"] > 0
    trace = json.loads((tmp_path / "out" / "trace.json").read_text())
    assert any(each.get("name") == "gather" for each in trace["traceEvents"])
    for words in ("blocks.0", "gather", "roof, measured here", "open it in Perfetto"):
        assert words in done.stdout
    assert len(done.stdout.splitlines()) <= SCREEN
    assert max(map(len, done.stdout.splitlines())) <= 130


def test_a_profile_that_fits_several_cases_says_which(modbench: Any, tiny_suite: Path, tmp_path: Path) -> None:
    done = modbench("profile", tiny_suite, "-k", "mod", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 2
    assert "-k 'mod' matches" in done.stderr
    assert "mod[c0.25-T16-B1-fp32-cpu1]" in done.stderr
    none = modbench("profile", tiny_suite, "-k", "nosuch", "--device", "cpu", cwd=tmp_path)
    assert (none.returncode, "Their ids look like '" in none.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []
