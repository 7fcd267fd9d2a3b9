"""Examples that no other test runs: what they show is accepted by the command that they name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Modbench = Callable[..., CompletedProcess[str]]
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_a_router_of_ones_own_is_planned(modbench: Modbench) -> None:
    spec = f"{EXAMPLES / 'routers' / 'scaled_norm.py'}:ROUTER"
    done = modbench("plan", "quick", "--router", spec, "-k", "mod and c0.125 and T128")
    assert done.returncode == 0, done.stderr
    assert "scaled_norm" in done.stdout
