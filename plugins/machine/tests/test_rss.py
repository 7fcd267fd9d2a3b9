"""Memory as the operating system sees it: within 2 % of the sum of tensors, and only where malloc returns their pages."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from test_flops import case

from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.errors import Unmeasured
from modbench.plugins.machine.rss.measurement import MALLOC, high_water

RSS = """
import json, sys
from modbench.harness.domain.case import Case
from modbench.harness.call.step_peak_memory import of_training
from modbench.plugins.machine.rss.measurement import high_water
from modbench.harness.call.subject.subject import Subject
import torch
torch.set_num_threads(1)
made = Case.model_validate(json.loads(sys.argv[1]))
print(high_water(Subject(made, 0)), of_training(Subject(made, 0)).peak)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="VmHWM is Linux's")
@pytest.mark.parametrize("model", [pytest.param("dense", marks=pytest.mark.proof), "mod"])
def test_rss_counts_tensors_within_two_percent(model: str) -> None:
    """In a cold process whose malloc gives every tensor its own pages, whatever the parent's size is."""
    made = case(model, 256, 4, d_model=256)
    command = [sys.executable, "-c", RSS, json.dumps(made.model_dump(mode="json"))]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | MALLOC, check=False)
    assert done.returncode == 0, done.stderr
    rss, peak = map(float, done.stdout.split())
    assert rss == pytest.approx(peak, rel=0.02)


def test_rss_without_the_settings_is_null() -> None:
    with pytest.raises(Unmeasured, match="malloc was set"):
        high_water(Subject(case("dense"), 0))
