"""One call opened up: ranges that nest, kernels that count once, bytes and kept memory by hand, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import succeeded
from torch import Tensor, nn
from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import EventList, FunctionEvent

from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.plain_text import SCREEN
from modbench.plugins.machine.profile import measurement as profile_pass
from modbench.plugins.machine.profile import ranges, result
from modbench.plugins.machine.profile.measurement import ProfileFinding
from modbench.plugins.machine.profile.ranges import MODULE, REST, ROOT, SPANS
from modbench.plugins.machine.profile.watch import Kept, Traffic

NAMED = {*SPANS, ROOT}
BLOCK = f"{MODULE}blocks.0"


def event(
    name: str, start: float, end: float, *, kernel_us: float = 0.0, kind: str | None = None, on_device: bool = False
) -> FunctionEvent:
    device = DeviceType.CUDA if on_device else DeviceType.CPU
    made = FunctionEvent(id=1, name=name, thread=1, start_us=start, end_us=end, use_device="cuda", device_type=device)
    made.activity_type = kind  # which torch 2.11 does not know
    if kernel_us:
        made.append_kernel("gemm", 0, kernel_us)
    return made


# A call of 100 µs on a CPU.
EVENTS = [
    event(ROOT, 0, 100),
    event(BLOCK, 0, 60),
    event(f"{BLOCK}.norm_mlp", 5, 10),
    event(f"{BLOCK}.mlp", 10, 40),
    event(f"{BLOCK}.mlp.up", 12, 20),
    event("gather", 60, 70),
    event("aten::mm", 12, 19),
    event(f"{MODULE}head", 80, 95),
]


def micros(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: each * 1e6 for name, each in seconds.items()}


# --- ranges and components


def test_ranges_nest_by_time_and_own_time_leaves_out_what_is_inside() -> None:
    rows = ranges.by_name(ranges.tree(EVENTS, NAMED))
    own = micros({name: row["own_seconds"] for name, row in rows.items()})
    blocks = {BLOCK: 25, f"{BLOCK}.norm_mlp": 5, f"{BLOCK}.mlp": 22, f"{BLOCK}.mlp.up": 8}
    assert own == pytest.approx({ROOT: 15, "gather": 10, f"{MODULE}head": 15, **blocks})


def test_components_add_up_to_the_whole() -> None:
    """A nameless module inside an MLP is the MLP's; whatever is in no component is the rest."""
    found = micros(ranges.components(ranges.tree(EVENTS, NAMED), SPANS))
    assert found == pytest.approx({REST: 40, "mlp": 30, "head": 15, "gather": 10, "norm": 5})


# --- kernels


def test_on_a_gpu_a_range_takes_what_its_kernels_take_and_stands_once() -> None:
    """The profiler draws every range again on the device's own timeline."""
    on_device = [event(ROOT, 5, 95, on_device=True), event("gather", 40, 70, on_device=True)]
    made = EventList([event(ROOT, 0, 10), event("gather", 2, 4), *on_device], use_device="cuda")
    made[0].append_kernel("one", 0, 60)
    made[1].append_kernel("other", 0, 30)
    made._build_tree()
    rows = ranges.by_name(ranges.tree(made, NAMED, on_gpu=True))
    assert {name: row["calls"] for name, row in rows.items()} == {ROOT: 1, "gather": 1}
    assert micros({name: row["own_seconds"] for name, row in rows.items()}) == pytest.approx({ROOT: 60, "gather": 30})


def profiled(*inner: FunctionEvent, calls: int = 2) -> EventList:
    """Calls of 100 µs each, with one product of 8 µs; further events are inside the last one."""
    events = list(inner)
    for at in range(0, 100 * calls, 100):
        events.append(event(ROOT, at, at + 100, kind="user_annotation"))
        events.append(event(f"{MODULE}head", at + 10, at + 40, kind="user_annotation"))
        events.append(event("aten::mm", at + 12, at + 30, kernel_us=8.0, kind="cpu_op"))
    made = EventList(events, use_device="cuda")
    made._build_tree()
    return made


PRODUCT = {"name": "aten::mm", "calls": 1.0, "own_seconds": pytest.approx(8e-6)}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Activity Buffer Request", "overhead"),
        ("Lazy Function Loading", None),  # older versions of torch do not say of what kind an event is
        ("cudaLaunchKernel", "cuda_runtime"),
    ],
)
def test_a_kernel_counts_once_whatever_records_share_its_identifier(name: str, kind: str | None) -> None:
    events = profiled(event(name, 114, 118, kernel_us=8.0, kind=kind))
    assert ranges.tree(events, NAMED, on_gpu=True)[-1].seconds == pytest.approx(16e-6)  # as torch hands it over
    ranges.count_kernels_once(events)
    root = ranges.tree(events, NAMED, on_gpu=True)[-1]
    assert (root.seconds, root.inner[0].seconds) == pytest.approx((8e-6, 8e-6))
    assert ranges.operators(events, [root], on_gpu=True) == [PRODUCT]


def test_the_first_call_is_in_no_operators_time() -> None:
    """It is slow under a profiler, and the ranges leave it out too."""
    events = profiled(calls=3)
    events[2].append_kernel("autotuning", 0, 500.0)  # of the first call's product
    assert ranges.operators(events, ranges.tree(events, NAMED, on_gpu=True)[1:], on_gpu=True) == [PRODUCT]


def test_calls_without_ranges_or_kernels_or_with_too_many_are_no_profile() -> None:
    roots = ranges.tree(profiled(event("an unknown record", 114, 118, kernel_us=99.0)), NAMED, on_gpu=True)
    profile_pass._check(roots[:1], on_gpu=True)
    idle = ranges.tree(EventList([event(ROOT, 0, 100)], use_device="cuda"), NAMED, on_gpu=True)
    for those, why in ((roots, r"0\.0001 s .*0\.000107 s"), (idle, "no kernel"), ([], "no range")):
        with pytest.raises(Unmeasured, match=why):
            profile_pass._check(those, on_gpu=True)


# --- bytes


class Two(nn.Module):
    """A product and a view of it, then an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 8, bias=False)

    def forward(self, x_BD: Tensor) -> Any:
        return self.one(x_BD).view(-1, 8) + 1.0


def test_bytes_moved_are_inputs_and_outputs_of_operators_and_views_move_nothing() -> None:
    """Of a table no more is read than is found."""
    module, table = Two(), nn.Embedding(1000, 8)
    product = 4 * (2 * 4 + 4 * 8 + 2 * 8)
    rows = 4 * 5 * 8 + 8 * 5 + 4 * 5 * 8  # read, indices, written
    for model, given, moved in (
        (module, torch.randn(2, 4), {"one": product, "": product + 4 * (2 * 8 + 2 * 8)}),
        (table, torch.arange(5), {"": rows}),
    ):
        traffic = Traffic(model)
        with torch.no_grad(), traffic.watching():
            model(given)
        assert {name: traffic.moved[name] for name in moved} == moved


def test_what_a_module_keeps_is_what_lives_on() -> None:
    module = nn.Sequential(nn.Linear(4, 8, bias=False), nn.GELU())
    watcher = Kept(module)
    with watcher.watching():
        out = module(torch.randn(2, 4))
    assert (watcher.bytes["0"], watcher.bytes["1"]) == (4 * 2 * 8, 4 * 2 * 8)  # GELU's backward needs the product
    del out


# --- what is told of it


def found(device: str, seconds: Mapping[str, float]) -> ProfileFinding:
    """A call of 1 ms, and what its ranges take of it on a device."""
    peak = {"device": device, "dtype": "fp32", "threads": 1, "flop_per_s": 1e12, "shape": "s", "bytes_per_s": 1e11}
    ranges_of = {name: {"calls": 1, "own_seconds": 0.0, "seconds": each} for name, each in seconds.items()}
    said = {"case": "c", "workload": "forward", "wall_s": 1e-3, "operators": (), "trace": None, "ranges": ranges_of}
    said |= {"components": {"head": 2e-4, "the rest": 2e-4}, "flops": {"": 2e8, "head": 1e8}, "bytes": {}, "kept": {}}
    return ProfileFinding.model_validate(said | {"peak": {**peak, "how": "h"}})


# A GPU works 0.4 ms, half of that in the head.
HALF = {ROOT: 4e-4, f"{MODULE}head": 2e-4}


def test_a_module_is_not_charged_for_what_the_device_waits() -> None:
    on_gpu = found("cuda", HALF)
    whole, head = result.rows(on_gpu)
    assert (whole["seconds"], head["seconds"], head["share"]) == (4e-4, 2e-4, 0.5)
    assert head["of_peak"] == pytest.approx(0.5)
    assert result.shares(on_gpu)[0]["seconds"] == pytest.approx(2e-4)
    # On a CPU the profiler slows the call down: its shares are scaled to a call without it.
    whole, head = result.rows(found("cpu", HALF))
    assert (whole["seconds"], head["seconds"], head["share"]) == pytest.approx((1e-3, 5e-4, 0.5))


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_the_command_opens_up_one_case(modbench: Any, tiny_suite: Path, tmp_path: Path) -> None:
    asked = ("profile", tiny_suite, "-k", "mod[c0.25-T16", "--workload", "train_step", "-o", "out", "--device", "cpu")
    done = succeeded(modbench(*asked, cwd=tmp_path))
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


def test_a_profile_that_fits_several_cases_says_which(modbench: Any, tiny_suite: Path, tmp_path: Path) -> None:
    done = modbench("profile", tiny_suite, "-k", "mod", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 2
    assert "mod[c0.25-T16-B1-fp32-cpu1]" in done.stderr
    assert list(tmp_path.iterdir()) == []
