"""A profile and a machine's peak on a GPU, with planted records and a virtual clock: every kernel counts once."""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Any

import pytest
from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import EventList, FunctionEvent

from modbench.harness.core.errors import Unmeasured
from modbench.harness.core.plain_text import SCREEN, WIDTH
from modbench.plugins.machine.profile import measurement as profile_pass
from modbench.plugins.machine.profile import result
from modbench.plugins.machine.profile.measurement import ProfileFinding
from modbench.plugins.machine.profile.ranges import MODULE, ROOT, SPANS, count_kernels_once, operators, tree


def event(name: str, start: float, end: float, *, kernel_us: float = 0.0, kind: str | None = None) -> FunctionEvent:
    made = FunctionEvent(
        id=1,
        name=name,
        thread=1,
        start_us=start,
        end_us=end,
        use_device="cuda",
        device_type=DeviceType.CPU,
    )
    made.activity_type = kind  # which torch 2.11 does not know
    if kernel_us:
        made.append_kernel("gemm", 0, kernel_us)
    return made


def profiled(*inner: FunctionEvent, calls: int = 2) -> EventList:
    """Calls of 100 µs each, with one product of 8 µs; further events are inside the last one."""
    events = list(inner)
    for call in range(calls):
        at = 100.0 * call
        events.append(event(ROOT, at, at + 100, kind="user_annotation"))
        events.append(event(f"{MODULE}head", at + 10, at + 40, kind="user_annotation"))
        events.append(event("aten::mm", at + 12, at + 30, kernel_us=8.0, kind="cpu_op"))
    made = EventList(events, use_device="cuda")
    made._build_tree()
    return made


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Activity Buffer Request", "overhead"),
        ("Lazy Function Loading", None),  # older versions of torch do not say of what kind an event is
        ("cudaLaunchKernel", "cuda_runtime"),
        ("cuLaunchKernelEx", None),
    ],
)
def test_a_kernel_counts_once_whatever_records_share_its_identifier(name: str, kind: str | None) -> None:
    events = profiled(event(name, 114, 118, kernel_us=8.0, kind=kind))
    twice = tree(events, {*SPANS, ROOT}, on_gpu=True)[-1]
    assert twice.seconds == pytest.approx(16e-6)  # as torch hands it over
    count_kernels_once(events)
    root = tree(events, {*SPANS, ROOT}, on_gpu=True)[-1]
    assert root.seconds == pytest.approx(8e-6)
    assert root.inner[0].seconds == pytest.approx(8e-6)
    (row,) = operators(events, [root], on_gpu=True)
    assert row == {"name": "aten::mm", "calls": 1.0, "own_seconds": pytest.approx(8e-6)}


def test_the_first_call_is_in_no_operators_time() -> None:
    """It is slow under a profiler, and the ranges leave it out too."""
    events = profiled(calls=3)
    events[2].append_kernel("autotuning", 0, 500.0)  # of the first call's product
    roots = tree(events, {*SPANS, ROOT}, on_gpu=True)[1:]
    assert operators(events, roots, on_gpu=True) == [
        {"name": "aten::mm", "calls": 1.0, "own_seconds": pytest.approx(8e-6)}
    ]


def test_kernels_that_take_longer_than_their_call_are_no_profile() -> None:
    events = profiled(event("an unknown record", 114, 118, kernel_us=99.0))
    roots = tree(events, {*SPANS, ROOT}, on_gpu=True)
    profile_pass._check(roots[:1], on_gpu=True)
    with pytest.raises(Unmeasured, match=r"0\.0001 s .*0\.000107 s"):
        profile_pass._check(roots, on_gpu=True)


def test_a_profile_without_calls_or_kernels_says_so() -> None:
    with pytest.raises(Unmeasured, match="no range"):
        profile_pass._check([], on_gpu=False)
    roots = tree(EventList([event(ROOT, 0, 100)], use_device="cuda"), {ROOT}, on_gpu=True)
    with pytest.raises(Unmeasured, match="no kernel"):
        profile_pass._check(roots, on_gpu=True)


def found(device: str) -> ProfileFinding:
    """A call of 1 ms, of which a GPU works 0.4 ms, half of that in the head."""
    times = {"calls": 1, "own_seconds": 2e-4}
    peak = {"device": device, "dtype": "fp32", "threads": 1, "flop_per_s": 1e12, "shape": "s", "bytes_per_s": 1e11}
    return ProfileFinding.model_validate(
        {
            "case": "c",
            "workload": "forward",
            "wall_s": 1e-3,
            "ranges": {ROOT: {**times, "seconds": 4e-4}, f"{MODULE}head": {**times, "seconds": 2e-4}},
            "components": {"head": 2e-4, "the rest": 2e-4},
            "operators": (),
            "trace": None,
            "flops": {"": 2e8, "head": 1e8},
            "bytes": {},
            "kept": {},
            "peak": {**peak, "how": "h"},
        }
    )


def test_a_module_is_not_charged_for_what_the_device_waits() -> None:
    whole, head = result.rows(found("cuda"))
    assert (whole["seconds"], head["seconds"], head["share"]) == (4e-4, 2e-4, 0.5)
    assert head["of_peak"] == pytest.approx(0.5)
    assert result.shares(found("cuda"))[0]["seconds"] == pytest.approx(2e-4)
    # On a CPU the profiler slows the call down: its shares are scaled to a call without it.
    whole, head = result.rows(found("cpu"))
    assert (whole["seconds"], head["seconds"], head["share"]) == pytest.approx((1e-3, 5e-4, 0.5))


def test_the_text_says_whose_time_it_is() -> None:
    case: Any = types.SimpleNamespace(id="c", grid_point=types.SimpleNamespace(device="cuda"))
    text = result.as_text(result.Profiled(case, found("cuda"), Path(), {"cpu": "x"}))
    assert re.search(r"device works for 400 µs .*\(40%\)", text)


def test_a_screen_holds_the_largest_modules_and_those_they_lie_in() -> None:
    """Sixty blocks with one layer each, every block larger than the one before; verbosely all are shown."""
    case: Any = types.SimpleNamespace(id="c", grid_point=types.SimpleNamespace(device="cpu"))
    times = {f"blocks.{i}": 1e-5 * (1 + i / 60) for i in range(60)}
    ranges = {ROOT: {"calls": 1, "own_seconds": 0.0, "seconds": sum(times.values())}}
    for name, seconds in times.items():
        for path, share in ((name, 1.0), (f"{name}.mlp", 0.9)):
            ranges[f"{MODULE}{path}"] = {"calls": 1, "own_seconds": 0.0, "seconds": share * seconds}
    many = ProfileFinding.model_validate({**found("cpu").model_dump(), "ranges": ranges})
    profiled = result.Profiled(case, many, Path(), {"cpu": "x"})
    lines = result.as_text(profiled).splitlines()
    assert (len(lines), max(map(len, lines))) <= (SCREEN, WIDTH)
    blocks = [line.split()[0] for line in lines if line.startswith("  blocks.")]
    layers = [at for at, line in enumerate(lines) if line.startswith("    mlp ")]
    assert blocks == [*times][-len(blocks) :]
    assert all(lines[at - 1].startswith("  blocks.") for at in layers)
    assert layers
    assert f"{2 * 60 - len(blocks) - len(layers)} modules left out" in "\n".join(lines)
    assert sum(line.startswith("  blocks.") for line in result.as_text(profiled, verbose=True).splitlines()) == 60


def test_why_a_profile_failed_is_told(tmp_path: Path) -> None:
    log = tmp_path / "x.died.log"
    assert result._last_line(log) == "it left no message"
    log.write_text("Traceback\nUnmeasured: no kernel\n\n")
    assert result._last_line(log) == "Unmeasured: no kernel"
