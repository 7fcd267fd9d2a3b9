"""Training from the command line: one model, a run that is killed and resumed, and mistakes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from in_process import succeeded
from resealed import reseal

from modbench.harness.results.json_files import read_sealed
from modbench.reports.markup import html

pytestmark = pytest.mark.usefixtures("undrawn")  # words of pages are looked at

SUITE = """
name = "little"
metrics = ["loss/val", "loss/val_causal", "loss/gap", "bpb/val", "router/participation", "task/copy"]
seeds = [0]
corpus = "text.txt"
[shape]
d_model = 32
n_layers = 2
[grid]
seq_len = [32]
[[variants]]
model = "mod"
capacity = 0.25
[tasks]
steps = 8
batch_size = 4
[train]
seq_len = 32
batch_size = 4
steps = 100
val_tokens = 256
looks = 2
watch = true
flips = 8
checkpoint_s = 0.1
"""


def start(folder: Path) -> Path:
    """A folder with the suite and its text."""
    (folder / "text.txt").write_text("".join(f"{i} sheep jump over {i} fences. " for i in range(900)))
    (folder / "little.toml").write_text(SUITE)
    return folder


def noted(run: Path) -> dict[str, Any]:
    """Training losses, and what looks found during training, by job."""
    found = {}
    for file in sorted((run / "jobs").glob("train-*.json")):
        notes = [outcome["notes"] for outcome in json.loads(file.read_text())["outcomes"] if outcome["status"] == "ok"]
        losses = [each["curve"]["loss"] for each in notes if each.get("curve")]
        found[file.name] = (losses, [each["looks"] for each in notes if each.get("looks")])
    assert any(losses and looks for losses, looks in found.values())
    return found


@pytest.fixture(scope="module")
def whole(modbench: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, uninterrupted."""
    folder = start(tmp_path_factory.mktemp("whole"))
    with mock.patch.object(html, "to_svg", return_value="<svg></svg>"):
        done = modbench("run", "little.toml", "-o", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.mark.plugin("routing")
@pytest.mark.plugin("tasks")
def test_a_killed_run_is_gone_on_with_to_the_bit(modbench: Any, whole: Path, tmp_path: Path) -> None:
    """Killed without warning while it trains; what has a record stays, the rest goes on from its checkpoint."""
    folder = start(tmp_path)
    command = [sys.executable, "-m", "modbench", "run", "little.toml", "-o", "run"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not list((folder / "run").glob("checkpoints/train-*.pt")) and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list((folder / "run").glob("checkpoints/train-*.pt"))
    before = {file.name: file.read_bytes() for file in (folder / "run" / "jobs").iterdir()}
    for name in before:  # as of a worker that was killed when its record stood and its checkpoint did too
        (folder / "run" / "checkpoints" / name).with_suffix(".pt").touch()
    succeeded(modbench("resume", "run", cwd=folder))
    assert noted(folder / "run") == noted(whole), "what looks saw before the kill is there too"
    for name, content in before.items():
        assert (folder / "run" / "jobs" / name).read_bytes() == content
    assert not (folder / "run" / "checkpoints").exists()
    for file in (whole / "artifacts").iterdir():
        mine, theirs = (json.loads((run / "artifacts" / file.name).read_text()) for run in (folder / "run", whole))
        assert mine == theirs
    resumed = [json.loads(file.read_text()) for file in (folder / "run" / "jobs").glob("train-*.json")]
    assert any(outcome["notes"].get("resumed_at", 0) > 0 for record in resumed for outcome in record["outcomes"])


@pytest.mark.plugin("routing")
@pytest.mark.plugin("tasks")
def test_a_run_leaves_what_its_routers_did(whole: Path) -> None:
    found = {file.name: read_sealed(file) for file in (whole / "artifacts").iterdir()}
    mod = next(body for name, body in found.items() if "mod" in name)
    assert set(mod) == {"routing", "flips", "drift"}
    assert mod["routing"]["summary"]["participation"] == pytest.approx(0.25)
    page = (whole / "report.html").read_text()
    for title in ("Which words go", "What can they", "Who passes"):
        assert title in page


@pytest.mark.plugin("routing")
@pytest.mark.plugin("tasks")
def test_a_damaged_unit_and_one_whose_worker_died_are_measured_again(
    modbench: Any, whole: Path, tmp_path: Path
) -> None:
    """A bit of a record is flipped: its cells fail, and the file stays. What a parent wrote of a death is replaced."""
    run = shutil.copytree(whole, tmp_path / "run")
    shutil.copy(whole.parent / "text.txt", tmp_path)
    flipped, dead = sorted((run / "jobs").glob("train*-mod*"), key=lambda file: "copy" in file.name)
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    record = json.loads(dead.read_text())
    for outcome in record["outcomes"]:
        outcome |= {"status": "failed", "kind": "oom", "reason": "killed", "samples": {}, "notes": {}}
    reseal(dead, record | {"environment": None, "died": {"kind": "oom", "reason": "killed"}, "wall_s": 0.0})
    shutil.rmtree(run / "logs")  # as a copy may have lost it
    before = {file.name: file.stat().st_mtime_ns for file in (run / "jobs").iterdir()}
    done = modbench("report", "run", cwd=tmp_path)
    assert done.returncode == 4
    assert f"jobs/{flipped.name}: damaged: its content is not what was written" in done.stderr
    succeeded(modbench("resume", "run", cwd=tmp_path))
    assert noted(run) == noted(whole)
    assert flipped.with_suffix(".json.damaged").read_bytes() == content
    changed = {name for name, at in before.items() if (run / "jobs" / name).stat().st_mtime_ns != at}
    assert changed == {flipped.name, dead.name}
    assert {json.loads(dead.read_text())["outcomes"][0]["status"]} == {"ok"}
