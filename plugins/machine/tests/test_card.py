"""What `doctor` says of a card: its measured peak beside the data sheet's, and whether its clocks are locked."""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
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


def watched(monkeypatch: pytest.MonkeyPatch, readings: Iterator[int]) -> Clocks:
    """A card's clocks as read in the background, at least thirty times."""
    asked = Counter[str]()

    def read(*_: object) -> int:
        asked["times"] += 1
        return next(readings)

    monkeypatch.setattr(gpu_clocks, "PERIOD_S", 0.001)
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(nvmlDeviceGetClockInfo=read))
    with gpu_clocks.watching() as clocks:
        while asked["times"] < 30:
            time.sleep(0.01)
    return clocks["GPU-1"]


def test_clocks_are_read_while_another_process_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings below a third of the highest clock are those of a card that does nothing, and no evidence."""
    card = watched(monkeypatch, itertools.chain([345], itertools.cycle([1980, 1755])))
    assert (card.name, card.index, card.most_MHz) == ("Fake H100", 0, 1980)
    assert {*card.sm_MHz} == {1980, 1755}
    assert (card.power_W[0], card.temperature_C[0]) == (512, 61)
    assert card.verdict().startswith("not locked; ")
    assert "nvidia-smi -i 0 -lgc 1755,1755`" in card.verdict()
    assert "nvidia-smi -i 0 -rgc`" in card.verdict()
    idle = watched(monkeypatch, itertools.repeat(345))
    assert idle.sm_MHz == []
    assert "not known" in idle.verdict()


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
        ("NVIDIA A100 80GB PCIe", 312e12),
    ],
)
def test_data_sheets_are_found_by_the_drivers_name(name: str, bf16: float | None) -> None:
    sheet = card_check.sheet_of(name)
    assert (sheet and sheet.bf16) == bf16


def record(dtype: str, flop_per_s: float | None, name: str = "NVIDIA H100 80GB HBM3") -> Record:
    """Of a card whose peak was measured, or whose memory was full."""
    job = next(job for job in card_check.jobs_of_card() if job.comparison.grid_point.dtype == dtype)
    if flop_per_s is None:
        how: dict[str, Any] = {"died": Death(kind="oom", reason="the device is full", again=False)}
    else:
        peak = {"dtype": dtype, "flop_per_s": flop_per_s, "shape": "8192x8192x8192", "bytes_per_s": 3e12, "how": ""}
        how = {"findings": PeakFinding.model_validate({"device": "cuda", "threads": 1, **peak})}
        how |= {"environment": Environment(torch="2.11.0", threads=1, pid=1, device=name, device_uuid="1")}
    return Record(job=job, started="", wall_s=1.0, outcomes=(), **how)


def test_the_peak_stands_beside_the_data_sheets() -> None:
    clocks = {"GPU-1": Clocks("card", 0, 1980, [1755.0, 1980.0] * 5, [61.0], [690.0]), "GPU-2": Clocks("other", 1)}
    card = card_check.judged([record("bf16", 798e12), record("fp32", 50e12)], clocks)
    found = checkup.MachineFinding([*card_check.rows(card)], card.as_dict())
    nothing = Certificate("m", 6, 0, 0.0, 0.4, 0.01, None, 0.02, 0.0, 1, "")
    effect = Effect(0.0, low=-0.01, high=0.01, detectable=0.01)
    aa_control = aa_comparisons.AAControl(estimated(effect, Rule()), {})
    made = checkup.Checkup([aa_control], nothing, [], "NVIDIA H100, driver 580", 60.0, {"card": found})
    text = checkup.as_text(made)
    assert re.search(r"bf16 +798 TFLOP/s, 81% .* 989 TFLOP/s", text)
    assert re.search(r"fp32 +50\.0 TFLOP/s, 75% .* 67\.0 TFLOP/s", text)
    assert re.search(r"memory +3 TB/s .*90% .* 3\.35 TB/s", text)
    assert re.search(r"clocks +1,755–1,980 MHz .*; not locked", text)
    assert "up to 690 W, 61 °C" in text
    assert "CPU time" not in text  # of no use on a card
    data = checkup.as_json(made)["card"]
    assert data["clocks"]["most_MHz"] == 1980
    assert [peak["dtype"] for peak in data["peaks"]] == ["bf16", "fp32"]


def test_an_unknown_card_has_no_promise_and_no_driver_no_clocks() -> None:
    lines = dict(card_check.rows(card_check.judged([record(each, 1e14, "NVIDIA Z1") for each in ("bf16", "fp32")], {})))
    assert lines["bf16"].startswith("100 TFLOP/s; no data sheet")
    assert "%" not in lines["bf16"]
    assert lines["clocks"].startswith("not known: ")


def test_a_peak_that_failed_says_why() -> None:
    with pytest.raises(ModbenchError, match="peak-fp32: the device"):
        card_check.judged([record("bf16", 1e14), record("fp32", None)], {})
