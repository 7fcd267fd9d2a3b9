"""Devices that modbench does not measure on, or only in part: said in words, before anything runs."""

from __future__ import annotations

import pytest
import torch

from modbench.cli import main
from modbench.harness.machine import accelerators


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run quick", "plan quick", "doctor", "train dense"])
@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("mps", "Apple's GPU"),
        ("xpu", "Intel's GPU"),
        ("rocm", "Use --device cuda"),
        ("cuda:1", "CUDA_VISIBLE_DEVICES=1"),
        ("tpu", "unknown device 'tpu'"),
    ],
)
@pytest.mark.plugin("training")
def test_another_device_is_refused_in_words(
    command: str, device: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["modbench", *command.split(), "--device", device])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message
    assert device != "mps" or "energy" in message  # what would be missing


@pytest.mark.parametrize(
    ("hip", "cuda", "said"),
    [(None, None, "a CPU build"), (None, "13.0", "a CUDA 13.0 build"), ("6.4", None, "a ROCm 6.4 build")],
)
def test_a_build_is_named_for_what_it_is(
    hip: str | None, cuda: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    assert accelerators.build() == said
    gap = accelerators.not_measured("cuda")
    assert accelerators.not_measured("cpu") is None
    if hip is None:
        assert gap is None
    else:
        assert gap is not None
        assert accelerators.FROM_NVML in gap
        assert "AMD" in gap
