"""Labels on samples and blocks, from what witnesses saw."""

from __future__ import annotations

import pytest

from modbench.commands.doctor import aa_comparisons
from modbench.harness.measure.passes import time as time_pass
from modbench.harness.registry import catalogue
from modbench.harness.stats import noise

Columns = dict[str, list[float]]
STOLEN, THROTTLED, FOREIGN = "stolen by other guests", "throttled", "another process on the GPU"


def samples(**columns: float) -> Columns:
    """One sample of 10 ms in block 0."""
    return {"block": [0.0], "wall_s": [0.005], "calls": [2.0], **{name: [value] for name, value in columns.items()}}


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        ({"wait_s": 0.0002}, "preempted"),
        ({"wait_s": 0.01 * 0.01}, None),  # a hundredth, and no more
        ({"wait_s": 0.0, "involuntary": 3}, None),
        ({"involuntary": 1}, "preempted"),  # where the wait is not known
        ({"collect_s": 0.004}, None),  # the model's own cost
        ({"recompiles": 1}, "recompiled"),
        ({"wait_s": 0.0002, "sample_s": 0.64}, None),  # of 64 steps of which one is the value: witnesses saw all
        ({"wait_s": 0.0128, "sample_s": 0.64}, "preempted"),
    ],
)
def test_a_sample_is_labelled_with_its_cause(seen: dict[str, float], cause: str | None) -> None:
    assert noise.causes(samples(**seen)) == [frozenset({cause} if cause else ())]
    assert noise.noisy(samples(**seen)).tolist() == [cause is not None]


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        ({"steal_s": 0.03}, STOLEN),
        ({"steal_s": 0.02}, None),
        ({"pressure_s": 0.5}, None),  # of the whole machine: recorded and shown, no verdict on one thread
        *(({"throttle": bit}, THROTTLED) for bit in (0x8, 0x20, 0x40, 0x80)),
        ({"throttle": 0x4}, None),  # a power cap is normal at full load
        *(({name: 0.03}, THROTTLED) for name in noise.THROTTLED_S),  # by the driver's count
        ({"thermal_s": 0.02}, None),
        ({"foreign": 1}, FOREIGN),
        ({"unanswered": 1}, "not watched: the GPU's driver did not answer"),
    ],
)
def test_a_block_is_labelled_with_its_cause(seen: dict[str, float], cause: str | None) -> None:
    blocks = {"block": [0.0], "wall_s": [2.0], **{name: [value] for name, value in seen.items()}}
    assert noise.causes(samples(), blocks) == [frozenset({cause} if cause else ())]
    assert noise.share_of_blocks(samples(), blocks) == (cause is not None)
    assert noise.noisy(samples(), blocks).tolist() == [cause is not None]


@pytest.mark.parametrize(
    ("metric", "watched"),
    [
        ("latency/decode", True),  # one of 64 steps
        ("latency/decode/p95", True),  # a quantile over steps
        ("latency/forward/device", True),  # an event inside the call
        ("latency/forward", False),  # the call itself
        ("latency/train_step/backward", False),  # a wait counts against the part that it can have moved
    ],
)
def test_a_wait_is_held_against_what_was_watched(metric: str, watched: bool) -> None:
    job = aa_comparisons.jobs(1, "cpu", 1)[0]
    lap = catalogue.metrics()[metric].lap
    seen = {"block": [0.0], "wall_s": [0.32], "cpu_s": [0.32], "calls": [2.0], f"{lap}/wall_s": [0.01]}
    own = time_pass._samples(seen, catalogue.metrics()[metric], job)
    assert own.get("sample_s") == ([0.64] if watched else None)


def test_a_slow_clock_is_slow_against_the_runs_own() -> None:
    many = {"block": [0.0, 1.0, 2.0, 3.0], "wall_s": [0.01] * 4, "calls": [1.0] * 4}
    blocks = {"block": many["block"], "wall_s": [1.0] * 4, "sm_mhz": [1900.0, 2000.0, 1899.0, 2000.0]}
    assert [bool(each) for each in noise.causes(many, blocks)] == [False, False, True, False]
    assert noise.counted(noise.causes(many, blocks)) == {"slow GPU clock": 1}


def test_a_block_is_noisy_where_one_of_its_samples_is() -> None:
    both = {
        "block": [0.0, 0.0, 1.0, 2.0],
        "wall_s": [0.01] * 4,
        "calls": [1.0] * 4,
        "wait_s": [0.0, 0.009, 0.0, 0.009],
        "recompiles": [0.0, 1.0, 0.0, 0.0],
    }
    assert noise.noisy(both).tolist() == [False, True, False, True]
    assert noise.share_of_blocks(both) == pytest.approx(2 / 3)
    assert list(noise.counted(noise.causes(both)).items()) == [("preempted", 2), ("recompiled", 1)]
    assert noise.share_of_blocks({"block": [], "wall_s": []}) == 0


def test_work_of_calls_that_waited_is_stretched() -> None:
    busy = {"wall_s": [0.01, 0.03], "calls": [10.0, 10.0], "wait_s": [0.06, 0.18]}
    assert noise.stretch([busy]) == pytest.approx(0.4 / 0.16)
    assert noise.stretch([busy, {**busy, "wait_s": [0.0, 0.0]}]) == pytest.approx(0.8 / 0.56)
    assert noise.stretch([{"wall_s": [0.01], "calls": [10.0]}]) == noise.stretch([]) == 1.0  # not recorded here
    # Work that a stream does not see escapes beyond 5 % of it, and beyond what waiting for an idle device takes.
    assert [noise.escape_limit(seconds) for seconds in (0.0, 1e-3, 1.0)] == pytest.approx([5e-5, 5e-5, 0.05])
    assert noise.power_capped({"power_capped_s": [0.02, 0.03], "wall_s": [2.0, 2.0]}) == [False, True]
    assert noise.power_capped({"throttle": [4.0, 8.0]}) == [True, False]
