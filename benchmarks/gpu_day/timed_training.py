"""Trains a model with a budget of FLOPs that takes about so many seconds, and prints its rate as JSON.

    python benchmarks/gpu_day/timed_training.py mod --device cuda --seconds 60 -o FOLDER

How long it takes depends on how good the guess is, `--flop-per-s`; the rate does not: it is over the last three quarters of the
steps. FLOP/s are those of the model, with causal attention and no recompute.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from modbench.harness.domain.notes import CountNotes, Curve, TrainNotes
from modbench.harness.results import run_folder
from modbench.harness.results.run_file import StoredRun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument(
        "--flop-per-s", type=float, default=2.8e14, help="a guess; default what an H100 may sustain in bf16"
    )
    parser.add_argument("--steps", type=int, help="so many steps, instead of seconds")
    for name, default in (("d-model", 2048), ("n-layers", 4), ("seq-len", 1024), ("batch-size", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    run, curve = trained(options, Path(options.out))
    print(json.dumps(described(options, run, curve), indent=1))


def trained(options: argparse.Namespace, folder: Path) -> tuple[StoredRun, Curve]:
    """Train with our own command, and return the run and its curve."""
    settings = {"d_model": options.d_model, "n_layers": options.n_layers}
    settings |= (
        {"train.steps": options.steps} if options.steps else {"train.flops": options.seconds * options.flop_per_s}
    )
    command = [
        sys.executable,
        "-m",
        "modbench",
        "train",
        options.model,
        "--compile",
        "--dtype",
        "bf16",
        "-o",
        str(folder),
    ]
    command += ["--device", options.device, "--seq-len", str(options.seq_len), "--batch-size", str(options.batch_size)]
    command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    subprocess.run(command, check=True, stdout=sys.stderr)
    run = run_folder.read(str(folder))
    made = [o for record in run.records if record.job.protocol.train for o in record.outcomes]
    curves = [outcome.noted(TrainNotes).curve for outcome in made if outcome.status == "ok"]
    curve = next((curve for curve in curves if curve is not None), None)
    if curve is None:
        sys.exit(f"{options.model} did not train: {made[0].reason if made else 'no record'}")
    return run, curve


def rate(curve: Curve) -> tuple[float, float]:
    """Steps and tokens per second over the last three quarters, when everything is compiled."""
    begin = len(curve.step) // 4
    seconds = curve.wall_s[-1] - curve.wall_s[begin]
    return (curve.step[-1] - curve.step[begin]) / seconds, (curve.tokens[-1] - curve.tokens[begin]) / seconds


def described(options: argparse.Namespace, run: StoredRun, curve: Curve) -> dict[str, Any]:
    """What is worth keeping of the run."""
    steps_per_s, tokens_per_s = rate(curve)
    counted = [
        outcome.notes.train_step_causal
        for record in run.records
        for outcome in record.outcomes
        if isinstance(outcome.notes, CountNotes) and outcome.notes.train_step_causal
    ]
    losses = {
        o.metric: o.samples["value"][0] for r in run.records for o in r.outcomes if o.metric == "loss/val" and o.samples
    }
    return {
        "model": options.model,
        "steps": len(curve.step),
        "seconds": curve.wall_s[-1],
        "step_s": 1 / steps_per_s,
        "tokens_per_s": tokens_per_s,
        "flop_per_s": counted[0] * steps_per_s if counted else None,
        "loss_val": losses.get("loss/val"),
        "shape": {key: getattr(options, key) for key in ("d_model", "n_layers", "seq_len", "batch_size")},
    }


if __name__ == "__main__":
    main()
