"""What a plug-in may not do: replace what is shipped, or leave notes of another type than its pass names; what it renders."""

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

REPORT = "def REPORT(folder, *, as_json, quiet): print(f'{folder.name}, {as_json}')"


TAKEN = {
    "metrics/mine.py": (
        "from modbench.harness.measure.metrics.latency import METRICS\n",
        "there is a metric 'latency/forward' already",
    ),
    "passes/mine.py": (
        "from modbench.harness.measure.passes.inspect import PASS\n",
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


def test_report_of_a_folder_that_a_plug_in_made(tmp_path: Path, modbench: Any) -> None:
    """The plug-in prints it; without the plug-in one line says which is needed."""
    folder, made = write(tmp_path / "own", {"reports/mine.py": REPORT}), tmp_path / "made"
    made.mkdir()
    (made / "mine.json").write_text('{"plugin": "own"}')
    done = modbench("report", made, "--plugin", folder)
    assert (done.returncode, done.stdout) == (0, "made, False\n")
    assert modbench("report", made, "--plugin", folder, "--baseline", "dense").returncode == 2
    missing = modbench("report", made)
    assert missing.returncode == 2
    assert f"{made} needs the plug-in 'own'" in missing.stderr
    (made / "mine.json").write_text("[")
    assert "no run.json" in modbench("report", made).stderr
