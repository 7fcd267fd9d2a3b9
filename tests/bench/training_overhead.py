"""What a training step costs, and what a change of modbench made of it.

    python tests/bench/training_overhead.py                        # shares of a step's parts
    python tests/bench/training_overhead.py --against FOLDER --d-model 48     # a step before and after
    python tests/bench/training_overhead.py --compile --d-model 48            # a step compiled, and what compiling takes

Forward, backward and optimizer are timed inside `harness/training/trainer.py`; the rest is data, logging and bookkeeping.
`--profile` lists the functions that make up the rest.

FOLDER is a checkout of an earlier revision (`git worktree add FOLDER REVISION`). Steps are then timed in blocks that alternate
between processes, each with the code of its checkout; losses of the steps that both made are compared too.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from interleaved import HEADER, Ratio, add_options, compare, print_row, save

from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.config import ModelConfig
from modbench.harness.core.train_plan import TrainRun
from modbench.harness.domain.case import Case, GridPoint
from modbench.harness.planning.text.tokens import encode
from modbench.harness.registry import catalogue
from modbench.harness.registry.case_facts import with_facts
from modbench.harness.training.batches import Windows
from modbench.harness.training.trainer import Trainer

HERE = Path(__file__).resolve().parents[2]
# Lengths and batch sizes of 1,024 tokens a step.
SHAPES = ((128, 8), (256, 4), (512, 2), (1024, 1))
MODELS = ("dense", "mod")


def trainer(
    model: str,
    d_model: int,
    seq_len: int,
    batch_size: int,
    steps: int,
    *,
    compiled: bool = False,
    look: Callable[[int], None] | None = None,
) -> Trainer:
    """A trainer on the default corpus; `look` is called after each step."""
    options = {"d_model": d_model, "n_layers": 4, "max_seq_len": seq_len, **catalogue.model_options(model)}
    grid_point = GridPoint(
        seq_len=seq_len, batch_size=batch_size, dtype="fp32", device="cpu", threads=1, compile=compiled
    )
    case = with_facts(
        Case(model=model, variant_parts=(), config=ModelConfig.model_validate(options), grid_point=grid_point)
    )
    run = TrainRun(seq_len=seq_len, batch_size=batch_size, steps=steps, lr=1e-3, looks=steps if look else 0)
    tokens = encode(catalogue.load("corpora", "stdlib").read(None), "bytes", 256)
    return Trainer(Subject(case, 0), Windows(tokens, run, 0), run, on_progress=lambda _: None, look=look)


def serve(model: str, d_model: int, seq_len: int, batch_size: int, *, compiled: bool) -> None:
    """Make a training step for each line that comes, and answer with its loss."""

    def look(step: int) -> None:
        print(made.curve["loss"][step - 1], flush=True)
        if not sys.stdin.readline():
            raise SystemExit

    torch.set_num_threads(1)
    made = trainer(model, d_model, seq_len, batch_size, 10_000, compiled=compiled, look=look)
    sys.stdin.readline()
    made.train()


class Steps:
    """A process that makes training steps on request, with the code of a checkout.

    Attributes:
        losses: of the steps made so far.
        first_s: seconds of the first step.
    """

    def __init__(self, checkout: Path, arguments: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", *arguments],
            env=os.environ | {"PYTHONPATH": str(checkout / "src")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.losses: list[float] = []
        began = time.perf_counter()
        self.step()  # this process has started by then
        self.first_s = time.perf_counter() - began

    def step(self) -> None:
        """Make one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.losses.append(float(self.process.stdout.readline()))

    def end(self) -> None:
        """Let the process end."""
        self.process.communicate()


def compared(options: argparse.Namespace) -> list[tuple[str, str, Ratio]]:
    """Print and return the ratio of each model and shape: of this checkout, or of compiled steps."""
    variant = "compiled" if options.compile else "now"
    anchor = "eager" if options.compile else "before"
    rows = []
    print(HEADER)
    notes = []
    for model in MODELS:
        for seq_len, batch_size in SHAPES:
            row = f"{model} d{options.d_model} T{seq_len} B{batch_size}"
            if options.only not in row:
                continue
            what = [model, str(options.d_model), str(seq_len), str(batch_size)]
            made = {
                anchor: Steps(HERE if options.compile else options.against.resolve(), what),
                variant: Steps(HERE, [*what, *(["--compile"] if options.compile else [])]),
            }
            ratio = compare({name: each.step for name, each in made.items()}, anchor, rounds=options.rounds)[variant]
            rows.append((f"{row} {variant}", anchor, ratio))
            print_row(*rows[-1])
            for each in made.values():
                each.end()
            pairs = list(zip(*(each.losses for each in made.values()), strict=False))
            differ = max(abs(one - other) for one, other in pairs)
            notes.append(f"{row}: losses of {len(pairs)} steps differ by at most {differ:.2g}")
            if options.compile:
                notes[-1] += (
                    f"; start and first step take {made[anchor].first_s:.1f} s, compiled {made[variant].first_s:.1f} s"
                )
    print(*notes, sep="\n")
    return rows


def main() -> None:
    """Print the shares, or ratios."""
    if sys.argv[1:2] == ["--serve"]:
        model, *sizes = [word for word in sys.argv[2:] if word != "--compile"]
        serve(model, *map(int, sizes), compiled="--compile" in sys.argv)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--d-model", type=int, default=256)
    parser.add_argument("--seq-len", type=int, default=256)
    parser.add_argument("--profile", action="store_true", help="list the functions that make up the rest")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="a checkout whose steps these are compared with")
    parser.add_argument("--compile", action="store_true", help="compare compiled steps with eager ones")
    parser.add_argument("--only", default="", help="compare the rows whose name contains this")
    add_options(parser, rounds=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.against or arguments.compile:
        rows = compared(arguments)
        if arguments.json:
            save(arguments.json, rows)
        return
    shares(arguments)


def shares(arguments: argparse.Namespace) -> None:
    """Print where a step's time goes."""
    print("model  batch  step ms  forward  backward  optimizer  outside")
    for model in MODELS:
        for batch_size in (1, 4, 8):
            trainer(model, arguments.d_model, arguments.seq_len, batch_size, 3).train()  # warm
            made = trainer(model, arguments.d_model, arguments.seq_len, batch_size, arguments.steps)
            made.train()
            spent, whole = made.spent, made.spent.whole
            parts = [spent.seconds[name] / whole for name in ("forward", "backward", "optimizer")]
            line = "  ".join(f"{share:8.1%}" for share in (*parts, spent.outside / whole))
            print(f"{model:5}  {batch_size:5}  {whole / arguments.steps * 1e3:7.1f}  {line}", flush=True)
    if arguments.profile:
        made = trainer("dense", arguments.d_model, arguments.seq_len, 1, arguments.steps)
        profile = cProfile.Profile()
        profile.runcall(made.train)
        pstats.Stats(profile).sort_stats("tottime").print_stats(20)


if __name__ == "__main__":
    main()
