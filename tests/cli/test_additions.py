"""A pass, a metric, a launcher, a doubt and a panel, each one file in a folder of one's own: planned, run and shown."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from modbench.harness.domain.notes import Notes
from modbench.harness.domain.records import Outcome
from modbench.harness.execution import worker
from modbench.harness.registry import catalogue
from modbench.reports.writers import html

FILES = {
    "passes/weigh_layers.py": '''
        """Count the layers of a built model."""
        from modbench.harness.domain.passes import Pass
        from modbench.harness.domain.notes import Notes
        from modbench.harness.results.outcomes import attempt, measured, missing
        from modbench.harness.domain.records import Missing

        class LayerNotes(Notes):
            """What was looked at."""

            kind: str

        def run(unit, metrics):
            from modbench.harness.subject.subject import Subject

            for case in unit.comparison.variants:
                module = Subject(case, unit.protocol.seed).module
                for metric in metrics:
                    value = attempt(lambda: metric.measure(module))
                    if isinstance(value, Missing):
                        yield missing(case, metric, value)
                    else:
                        yield measured(case, metric, {"value": [value]}, LayerNotes(kind=type(module).__name__))

        PASS = Pass(name="weigh_layers", run=run, notes=LayerNotes, no_interval="layers were counted: no interval")
    ''',
    "metrics/layers.py": '''
        """Layers of a model."""
        from modbench.harness.core.contracts import Metric

        METRICS = (
            Metric(
                key="layers/linear",
                unit="count",
                better="lower",
                measured_by="weigh_layers",
                workload="forward",
                about="Linear layers of the model",
                measure=lambda module: float(sum(type(part).__name__ == "Linear" for part in module.modules())),
                scored_as="difference",
            ),
            Metric(
                key="layers/parameters",
                unit="count",
                better="lower",
                measured_by="inspect",
                workload="forward",
                about="Parameter tensors of the model",
                measure=lambda subject: float(len(list(subject.module.parameters()))),
                scored_as="difference",
            ),
        )
    ''',
    "launchers/counting.py": '''
        """Local processes, each noted in a file."""
        import os
        from modbench.harness.execution.launch.local import LocalLauncher

        class Counting(LocalLauncher):
            """Notes what it starts."""

            def start(self, unit, folder, timeout_s):
                with open(os.environ["STARTED"], "a") as file:
                    file.write(unit.name + "\\n")
                return super().start(unit, folder, timeout_s)

        LAUNCHER = Counting
    ''',
    "doubts/many_layers.py": '''
        """A model has many layers."""
        from modbench.harness.domain.evidence import Doubt

        def check(evidence):
            if evidence.metric.key != "layers/linear" or not evidence.outcomes:
                return None
            notes = evidence.outcomes[0].notes
            return f"the {notes.kind} has {evidence.outcomes[0].samples['value'][0]:.0f} linear layers"

        DOUBT = Doubt(check=check, advice="Count them again.")
    ''',
    "panels/layers.py": '''
        """Layers."""
        from markupsafe import Markup
        from modbench.reports.panel import Panel

        def render(loaded):
            rows = loaded.cases[loaded.cases.metric == "layers/linear"]
            return Markup("<p>linear layers: {}</p>").format(", ".join(f"{row.variant} {row.value:.0f}" for row in
            rows.itertuples()))

        PANEL = Panel(title="How many layers?", order=5, span=12, render=render)
    ''',
}
SUITE = """
name = "layers"
effort = "smoke"
metrics = ["flops/forward", "layers/linear", "layers/parameters"]
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


@pytest.fixture(scope="module")
def ran(modbench: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A run with the five files, whose units run in processes that are told of their folder."""
    here = tmp_path_factory.mktemp("additions")
    for name, text in FILES.items():
        file = here / "mine" / name
        file.parent.mkdir(parents=True)
        lines = text.strip("\n").split("\n")
        file.write_text("\n".join(line[8:] for line in lines))
    (here / "layers.toml").write_text(SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODBENCH_PLUGINS", str(here / "mine"))
        patch.setenv("STARTED", str(here / "started"))
        patch.setattr(html, "to_svg", lambda *_: "<svg></svg>")  # the panel is words
        done = modbench("run", "layers.toml", "--launcher", "counting", "--device", "cpu", "-o", "run", cwd=here)
    catalogue.forget()  # another process would not know the folder
    for name in [name for name in sys.modules if name.startswith("modbench_include.")]:
        del sys.modules[name]
    return here, done


def test_five_additions_are_planned_run_and_shown(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    here, done = ran
    assert done.returncode == 0, done.stderr
    cases = pd.read_csv(here / "run" / "cases.csv").set_index("metric").loc["layers/linear"]
    assert (cases.status == "ok").all()
    assert (cases.value > 4).all()
    assert cases.reason.str.contains("layers were counted").all()
    pairs = pd.read_csv(here / "run" / "comparisons.csv").set_index("metric").loc["layers/linear"]
    assert pairs.difference > 0
    assert pd.isna(pairs.ratio)
    assert "no interval" in pairs.reason
    started = (here / "started").read_text().splitlines()
    assert "weigh_layers-T16-B1-fp32-cpu1" in started
    assert {unit.stem for unit in (here / "run" / "jobs").iterdir()} == set(started)
    page = (here / "run" / "report.html").read_text()
    assert "How many layers?" in page
    assert "linear layers: dense" in page
    assert "Count them again." in page
    assert "the Dense has" in page
    record = json.loads(next((here / "run" / "jobs").glob("weigh_layers-*")).read_text())
    assert record["outcomes"][0]["notes"] == {"kind": "Dense"}


@pytest.mark.parametrize("lost", ["", "weigh_layers-*", "inspect-*"])
def test_without_the_folder_their_names_are_refused(
    ran: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
    modbench: Any,
    lost: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With every record, and without those of one pass, for somebody who did not begin the run."""
    here, _ = ran
    monkeypatch.setenv("MODBENCH_STATE", str(tmp_path / "of another user"))
    shutil.copytree(here / "run", tmp_path / "run")
    for file in (tmp_path / "run" / "jobs").glob(lost) if lost else ():
        file.unlink()
    done = modbench("report", "run", cwd=tmp_path)
    assert done.returncode == 2
    assert "'layers/" in done.stderr
    assert f"--plugin {here / 'mine'}" in done.stderr
    assert len(done.stderr.splitlines()) <= 2


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
    file = tmp_path / name
    file.parent.mkdir()
    file.write_text(f'"""Mine."""\n{text}')
    (tmp_path / "layers.toml").write_text(SUITE.replace('"layers/linear", "layers/parameters"', '"latency/forward"'))
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
