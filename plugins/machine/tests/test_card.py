"""What `doctor` says of a card: its measured peak beside the data sheet's, and whether its clocks are locked."""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from fake_nvml import fake_pynvml, refuse

from modbench.commands.doctor import aa_comparisons, checkup
from modbench.harness.core.errors import ModbenchError
from modbench.harness.domain.notes import PeakFinding
from modbench.harness.domain.records import Death, Environment, Record
from modbench.harness.machine.certificate import Certificate
from modbench.harness.stats.effects import Effect
from modbench.harness.stats.verdicts import Rule, estimated
from modbench.plugins.machine.card import check as card_check
from modbench.plugins.machine.card import clocks as gpu_clocks
from modbench.plugins.machine.card.clocks import Clocks


def watched(seen: Callable[[dict[str, Clocks]], bool]) -> dict[str, Clocks]:
    """Clocks as read in the background until enough was seen."""
    with gpu_clocks.watching() as clocks:
        while not seen(clocks):
            time.sleep(0.01)
    return clocks


def enough(clocks: dict[str, Clocks]) -> bool:
    return len(clocks["GPU-1"].sm_MHz) >= gpu_clocks.ENOUGH


def test_clocks_are_read_while_another_process_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_clocks, "PERIOD_S", 0.001)
    readings = itertools.chain([345], itertools.cycle([1980, 1755]))  # idle, then under load
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(nvmlDeviceGetClockInfo=lambda *_: next(readings)))
    (card,) = watched(enough).values()
    assert (card.name, card.index, card.most_MHz) == ("Fake H100", 0, 1980)
    assert {*card.sm_MHz} == {1980, 1755}
    assert (card.power_W[0], card.temperature_C[0]) == (512, 61)
    assert card.verdict().startswith("not locked; ")
    assert "nvidia-smi -i 0 -lgc 1755,1755`" in card.verdict()
    assert "nvidia-smi -i 0 -rgc`" in card.verdict()


def test_an_idle_card_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings below a third of the highest clock are those of a card that does nothing."""
    monkeypatch.setattr(gpu_clocks, "PERIOD_S", 0.001)
    asked = itertools.count()
    quiet = fake_pynvml(nvmlDeviceGetClockInfo=lambda *_: next(asked) and 345)
    monkeypatch.setitem(sys.modules, "pynvml", quiet)
    (card,) = watched(lambda _: next(asked) > 50).values()
    assert card.sm_MHz == []
    assert "not known" in card.verdict()


@pytest.mark.parametrize(
    ("clocks", "said", "advice"),
    [
        ([1410.0] * 9, "below the maximum", "nvidia-smi -i 3 -rgc`"),
        ([1980.0] * 9, "at the maximum", "nvidia-smi -i 3 -lgc 1980,1980`"),
        ([1980.0] * 4, "not known", ""),
    ],
)
def test_what_readings_say_of_a_lock(clocks: list[float], said: str, advice: str) -> None:
    verdict = Clocks("card", 3, most_MHz=1980, sm_MHz=clocks).verdict()
    assert said in verdict
    assert advice in verdict


@pytest.mark.parametrize("change", [{"nvmlInit": refuse}, {"nvmlDeviceGetCount": refuse}])
def test_what_a_driver_does_not_say_is_null(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(**change))
    with gpu_clocks.watching() as clocks:
        assert clocks == {}
    refused = dict.fromkeys(("nvmlDeviceGetClockInfo", "nvmlDeviceGetMaxClockInfo", "nvmlDeviceGetPowerUsage"), refuse)
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(**refused))
    with gpu_clocks.watching() as clocks:
        (card,) = clocks.values()
    assert (card.most_MHz, card.power_W) == (None, [])


@pytest.mark.parametrize(
    ("name", "bf16"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_data_sheets_are_found_by_the_drivers_name(name: str, bf16: float | None) -> None:
    sheet = card_check.sheet_of(name)
    assert (sheet and sheet.bf16) == bf16


def record(dtype: str, flop_per_s: float | None, name: str = "NVIDIA H100 80GB HBM3") -> Record:
    job = next(job for job in card_check.jobs_of_card() if job.comparison.grid_point.dtype == dtype)
    environment = Environment(torch="2.11.0", threads=1, pid=1, device=name, device_uuid="1")
    if flop_per_s is None:
        died = Death(kind="oom", reason="the device is full", again=False)
        return Record(job=job, started="", wall_s=1.0, outcomes=(), died=died)
    found = PeakFinding(
        device="cuda", dtype=dtype, threads=1, flop_per_s=flop_per_s, shape="8192x8192x8192", bytes_per_s=3e12, how=""
    )
    return Record(job=job, started="", wall_s=1.0, environment=environment, outcomes=(), findings=found)


def test_the_peak_stands_beside_the_data_sheets() -> None:
    clocks = {"GPU-1": Clocks("card", 0, 1980, [1755.0, 1980.0] * 5, [61.0], [690.0]), "GPU-2": Clocks("other", 1)}
    card = card_check.judged([record("bf16", 798e12), record("fp32", 50e12)], clocks)
    found = checkup.MachineFinding([*card_check.rows(card)], card.as_dict())
    nothing = Certificate("m", 6, 0, 0.0, 0.4, 0.01, None, 0.02, 0.0, 1, "")
    text = checkup.as_text(
        checkup.Checkup([_aa_control()], nothing, [], "NVIDIA H100, driver 580", 60.0, {"card": found})
    )
    assert re.search(r"bf16 +798 TFLOP/s, 81% .* 989 TFLOP/s", text)
    assert re.search(r"fp32 +50\.0 TFLOP/s, 75% .* 67\.0 TFLOP/s", text)
    assert re.search(r"memory +3 TB/s .*90% .* 3\.35 TB/s", text)
    assert re.search(r"clocks +1,755–1,980 MHz .*; not locked", text)
    assert "up to 690 W, 61 °C" in text
    assert "CPU time" not in text  # of no use on a card
    data = checkup.as_json(checkup.Checkup([_aa_control()], nothing, [], "", 60.0, {"card": found}))["card"]
    assert data["clocks"]["most_MHz"] == 1980
    assert [peak["dtype"] for peak in data["peaks"]] == ["bf16", "fp32"]


def _aa_control() -> aa_comparisons.AAControl:
    return aa_comparisons.AAControl(estimated(Effect(0.0, low=-0.01, high=0.01, detectable=0.01), Rule()), {})


def test_an_unknown_card_has_no_promise_and_no_driver_no_clocks() -> None:
    found = [record(dtype, 1e14, "NVIDIA Z1") for dtype in ("bf16", "fp32")]
    card = card_check.judged(found, {})
    lines = dict(card_check.rows(card))
    assert lines["bf16"].startswith("100 TFLOP/s; no data sheet")
    assert "%" not in lines["bf16"]
    assert lines["clocks"].startswith("not known: ")


def test_a_peak_that_failed_says_why() -> None:
    with pytest.raises(ModbenchError, match="peak-fp32: the device"):
        card_check.judged([record("bf16", 1e14), record("fp32", None)], {})


def test_a_check_on_a_gpu_has_processes_for_the_card() -> None:
    assert checkup.processes(20, "cpu") == 81  # one more measures the peaks by shape
    assert checkup.processes(5, "cuda") == 22
    shapes = [job.comparison.grid_point for job in aa_comparisons.jobs(1, "cuda", 1)]
    assert {(grid_point.seq_len, grid_point.dtype, grid_point.device) for grid_point in shapes} == {
        (2048, "bf16", "cuda")
    }
