"""What a plug-in may not do: replace what is shipped, or leave notes of another type than its pass names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from own_plugin import write

from modbench.harness.domain.notes import Notes
from modbench.harness.domain.records import Outcome
from modbench.harness.execution import worker
from modbench.harness.registry import catalogue

SUITE = """
name = "layers"
effort = "smoke"
metrics = ["flops/forward", "latency/forward"]
[shape]
d_model = 64
n_layers = 2
[grid]
seq_len = [16]
[[variants]]
model = "dense"
[[variants]]
model = "mod"
"""


TAKEN = {
    "metrics/mine.py": (
        "from modbench.harness.metrics.latency import METRICS\n",
        "there is a metric 'latency/forward' already",
    ),
    "passes/mine.py": (
        "from modbench.harness.passes.inspect import PASS\n",
        "its PASS is named 'inspect'. Name it 'mine'",
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_shipped_cannot_be_replaced(tmp_path: Path, modbench: Any, name: str) -> None:
    """Whoever asks for the metric is told; a pass that nobody can ask for is named in the list."""
    text, said = TAKEN[name]
    write(tmp_path, {name: f'"""Mine."""\n{text}'})
    (tmp_path / "layers.toml").write_text(SUITE)
    done = modbench("plan", "layers.toml", "--plugin", ".", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == (2 if name.startswith("metrics") else 0), done.stderr
    assert (said in done.stderr) == name.startswith("metrics")
    kind = name.partition("/")[0]
    listed = modbench("list", kind, "--check", "--plugin", ".", cwd=tmp_path)
    assert listed.returncode == 1
    assert said in listed.stdout


def test_a_pass_that_leaves_other_notes_than_it_names_fails_at_once() -> None:
    """Its record could not be read back."""

    class Other(Notes):
        pass

    made_in = catalogue.passes()["inspect"]
    outcome = Outcome(
        case="c", metric="graph_breaks/forward", unit="count", status="skipped", reason="r", notes=Other()
    )
    with pytest.raises(AssertionError, match="inspect left Other"):
        worker._check_notes(made_in, [outcome])
    with pytest.raises(AssertionError, match="inspect left Other"):
        worker._check_notes(made_in, [Other()])
