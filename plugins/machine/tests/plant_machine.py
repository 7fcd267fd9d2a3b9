"""Plants the golden of a card, for `tests/goldens/plant.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def gpu(folder: Path) -> None:
    """Run a suite with device times, graphs, clocks and energy on a pretend card."""
    suite = folder / "gpu.toml"
    suite.write_text(GPU)
    paths = [str(ROOT / "tests" / "gpu" / "pretend"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"MODBENCH_PRETEND_CARD": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(paths)}
    environment["MODBENCH_STATE"] = str(folder / "state")
    command = [sys.executable, "-m", "modbench", "run", "gpu.toml", "--device", "cuda", "-o", "run"]
    subprocess.run(command, check=True, cwd=folder, env=environment)


GPU = """
name = "card"
about = "A pretend card: what a run on a GPU records"
effort = "smoke"
processes = 3
rounds = 2
device = "cuda"
metrics = ["flops/forward", "latency/forward", "latency/decode", "tokens_per_s/decode", "memory/peak_allocated",
           "memory/kv_cache", "energy/total", "energy/per_token", "mfu/train_step", "syncs/forward"]
[shape]
d_model = 64
n_layers = 2
n_heads = 2
[grid]
seq_len = [64, 128]
batch_size = [1]
dtype = ["bf16"]
[decode_grid]
seq_len = [64]
batch_size = [1, 4]
execution = ["graph"]
[decode]
tokens = 4
[energy]
window_s = 0.5
idle_s = 0.5
[[variants]]
model = "dense"
decode_policy = "masked"
[[variants]]
model = "mod"
router = "synthetic"
capacity = 0.25
decode_policy = "budget"
"""
