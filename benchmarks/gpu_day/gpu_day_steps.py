"""The steps of a first day on a card, in order, each at three sizes: the day itself, a first look, and a rehearsal on a CPU."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Mode: TypeAlias = Literal["day", "look", "rehearse"]

HERE = Path(__file__).parent
# Limit of a step of a first look; all together are given six minutes.
LOOK_LIMIT_S = 180.0


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: for `--only`.
        about: what it does, in a few words.
        minutes: how long it is expected to take on an H100. A guess until a day has been run.
        limit_s: after this it is interrupted.
        command: what every size begins with, without the interpreter; `OUT` stands for the step's folder.
        day: what the day adds.
        look: what a first look adds.
        rehearse: what a rehearsal adds.
        alone: whether even a first look runs nothing beside it, since it tests times.
    """

    name: str
    about: str
    minutes: float
    limit_s: float
    command: str
    day: str = ""
    look: str = ""
    rehearse: str = ""
    alone: bool = False

    def command_line(self, mode: Mode, folder: Path) -> list[str]:
        """The command line at this size, in which `OUT` is the step's folder."""
        added = {"day": self.day, "look": self.look, "rehearse": self.rehearse}[mode]
        words = shlex.split(f"{self.command} {added}")
        return [sys.executable, *(word.replace("OUT", str(folder)) if word[:3] == "OUT" else word for word in words)]


def suite(
    name: str,
    about: str,
    minutes: float,
    limit_s: float,
    *,
    out: str | None = None,
    every: str = "",
    day: str = "",
    look: str = "",
    rehearse: str = "",
) -> Step:
    """A run of a shipped suite; every size has the flags of `every`."""
    command = f"-m modbench run {name} --device cuda -o OUT {every}"
    return Step(out or name, about, minutes, limit_s, command, day, f"{SMOKE} {look}", f"{SMOKE} {TINY} {rehearse}")


def train(model: str) -> Step:
    """About a minute of training."""
    return Step(
        f"train-{model}",
        f"about a minute of training {model} in bf16, compiled: tokens per second, MFU",
        0.9,
        240,
        f"{shlex.quote(str(HERE / 'timed_training.py'))} {model} --device cuda -o OUT",
        day="--seconds 20",  # and about as many to compile
        look="--steps 10 --d-model 256 --n-layers 2 --seq-len 512 --batch-size 8",
        rehearse="--steps 4 --d-model 64 --n-layers 2 --seq-len 64 --batch-size 2",
    )


SMOKE = "--effort smoke"
# Few processes: each starts anew, which takes seconds. Four rounds: calls on a GPU are expected to vary less than processes.
DRAFT = "--effort draft --set processes=3 --set rounds=4"
# The shape of a rehearsal; a head is 64 wide, so that there is one.
TINY = "--set d_model=64 --set n_layers=2 --set vocab_size=256"
# The variant that most of the day looks at.
MOD = "-k 'mod[c0.125-T'"

STEPS: tuple[Step, ...] = (
    Step(
        "packages",
        "one small run on the CPU: do the packages of this machine fit?",
        0.2,
        120,
        f"-m modbench run quick --device cpu -o OUT {SMOKE} --set d_model=64 --set n_layers=2 --seq-len 64 {MOD}",
    ),
    Step(
        "audit",
        "the audit of one model, on the CPU: do its probes run with this torch?",
        0.1,
        120,
        "-m modbench audit dense --expect dense -o OUT",
        rehearse="--seq-len 16 --batch-size 2 --set d_model=32 --set n_layers=2 --set n_heads=1",
    ),
    Step(
        "tests",
        "the tests that need a card",
        2.0,
        420,
        "-m pytest -q -W default -m cuda -p no:xdist -p no:cacheprovider tests/gpu --junitxml OUT.xml",
        look="-k 'not slow'",
        rehearse="-k '(dense or mod) and not mode and not budget and not masked'",  # of policies of decoding one
        alone=True,
    ),
    Step(
        "doctor",
        "does the card tell identical models apart? its clocks and measured peak",
        0.8,
        240,
        "-m modbench doctor --device cuda --json",
        day="-n 4",
        look="-n 1",
        rehearse="-n 1",
        alone=True,
    ),
    suite(
        "gpu",
        "prefill and decode of dense and MoD: does it pay?",
        4.0,
        480,
        look=f"{MOD} --seq-len 2048 --set decode_grid.batch_size=1",
        rehearse=f"{MOD} --set n_kv_heads=1 --seq-len 256 --set decode_grid.batch_size=1 --set decode.tokens=4",
    ),
    suite(
        "train-gpu",
        "forward passes and training steps of 8,192 tokens, eager and compiled",
        3.0,
        480,
        every=f"{MOD} --batch-size 1 --set metrics=flops/forward,latency/forward,latency/train_step",
        day=f"{DRAFT} --seq-len 8192 --set n_layers=6",  # half as deep: compiling takes half as long
        look="--seq-len 2048 --set n_layers=2 --set grid.execution=compiled",
        rehearse="--seq-len 256 --set grid.execution=compiled",
    ),
    suite(
        "prefill-gpu",
        "prompts of 32,768 tokens",
        1.2,
        300,
        every=f"{MOD} --set grid.execution=eager --set metrics=flops/forward,latency/prefill,tokens_per_s/prefill",
        day=f"{DRAFT} --seq-len 32768",
        look="--seq-len 2048",
        rehearse="--seq-len 256",
    ),
    suite(
        "decode-gpu",
        "decode steps of 1 and 16 rows, eager, three policies",
        1.5,
        360,
        every="--set grid.execution=eager --set metrics=latency/decode,tokens_per_s/decode",
        day=f"{DRAFT} --batch-size 1,16 --set decode.tokens=16",
        look="--batch-size 4 --set decode.tokens=8",
        rehearse="--set n_kv_heads=1 --seq-len 256 --batch-size 2 --set decode.tokens=4",
    ),
    suite(
        "map-gpu",
        "time and loss of dense and MoD at two lengths, trained at each",
        1.4,
        300,
        every=f"{MOD} --seeds 0 --set metrics=flops/forward,latency/forward,loss/val_causal",
        day=f"{DRAFT} --seq-len 1024,8192 --set train.seq_len=[1024,8192] --set train.batch_size=[64,8] --set train.flops=1e15",
        look="--seq-len 1024,2048 --set train.seq_len=[1024,2048] --set train.batch_size=[4,2]",
        rehearse="--seq-len 64,128 --batch-size 2 --set train.seq_len=[64,128] --set train.batch_size=[2,1] "
        "--set train.tokenizer=bytes",
    ),
    *map(train, ("dense", "mod", "mode_staged", "mode_integrated")),
    suite(
        "train-gpu",
        "the longest sequence whose training step fits 16 GB, or less in a first look",
        0.8,
        300,
        out="fit",
        every="--batch-size 1 --set grid.execution=eager --set metrics=memory/largest_seq_len",
        day=f"{MOD} --seq-len 2048 --set fit.memory_limit=16000000000",
        look="-k 'dense[T' --seq-len 2048 --set fit.memory_limit=8000000000",
        # Everything fits the pretend card. FLOPs are counted beside it, since a run that measures nothing fails.
        rehearse="-k 'dense[T' --seq-len 256 --set fit.memory_limit=16000000000 --set fit.most=512 "
        "--set metrics=memory/largest_seq_len,flops/forward",
    ),
    Step(
        "profile",
        "one MoD forward pass by module: which kernels take the rest?",
        0.4,
        180,
        "-m modbench profile gpu --device cuda -o OUT",
        day="-k 'mod[c0.125-T8192-B1'",
        look="-k 'mod[c0.125-T2048-B1-bf16-cuda]'",
        # Torch's profiler does not see the pretend card, so this runs on the CPU.
        rehearse=f"-k 'mod[c0.125-T256-B1-bf16-cpu1]' {TINY} --set n_kv_heads=1 --seq-len 256 --device cpu",
    ),
)
