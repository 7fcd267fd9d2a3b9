"""Where a training step's time goes: `python tests/bench/training_overhead.py [--steps N]`.

Forward, backward and optimizer are timed inside `harness/training/trainer.py`; the rest is data, logging and bookkeeping.
Evaluation is listed separately. `--profile` lists the functions that make up the rest.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats

import torch

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.train_plan import TrainRun
from modbench.harness.domain.case import Case, Place
from modbench.harness.process import allocator
from modbench.harness.registry import catalogue
from modbench.harness.registry.lookup import with_facts
from modbench.harness.subject.subject import Subject
from modbench.harness.text.tokens import encode
from modbench.harness.training.batches import Windows
from modbench.harness.training.trainer import Trainer


def trainer(model: str, d_model: int, seq_len: int, batch_size: int, steps: int) -> Trainer:
    """A trainer on the default corpus."""
    options = {"d_model": d_model, "n_layers": 4, "max_seq_len": seq_len, **catalogue.model_options(model)}
    place = Place(seq_len=seq_len, batch_size=batch_size, dtype="fp32", device="cpu", threads=1, compile=False)
    case = with_facts(Case(model=model, arm_parts=(), config=ModelConfig.model_validate(options), place=place))
    run = TrainRun(seq_len=seq_len, batch_size=batch_size, steps=steps, lr=1e-3)
    tokens = encode(catalogue.load("corpora", "stdlib").read(None), "bytes", 256)
    return Trainer(Subject(case, 0), Windows(tokens, run, 0), run, on_progress=lambda _: None)


def main() -> None:
    """Print the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--d-model", type=int, default=256)
    parser.add_argument("--seq-len", type=int, default=256)
    parser.add_argument("--profile", action="store_true", help="list the functions that make up the rest")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    allocator.keep_freed_memory()  # as in workers that train
    print("model  batch  step ms  forward  backward  optimizer  outside")
    for model in ("dense", "mod"):
        for batch_size in (1, 4, 8):
            trainer(model, arguments.d_model, arguments.seq_len, batch_size, 3).train()  # warm
            made = trainer(model, arguments.d_model, arguments.seq_len, batch_size, arguments.steps)
            made.train()
            spent, whole = made.spent, made.spent.whole
            parts = [spent.seconds[name] / whole for name in ("forward", "backward", "optimizer")]
            shares = "  ".join(f"{share:8.1%}" for share in (*parts, spent.outside / whole))
            print(f"{model:5}  {batch_size:5}  {whole / arguments.steps * 1e3:7.1f}  {shares}", flush=True)
    if arguments.profile:
        made = trainer("dense", arguments.d_model, arguments.seq_len, 1, arguments.steps)
        profile = cProfile.Profile()
        profile.runcall(made.train)
        pstats.Stats(profile).sort_stats("tottime").print_stats(20)


if __name__ == "__main__":
    main()
