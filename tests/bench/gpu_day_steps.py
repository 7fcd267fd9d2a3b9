"""The steps of a first day on a card, in order, each at three sizes: the day itself, a first look, and a rehearsal on a CPU."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Mode: TypeAlias = Literal["day", "look", "rehearse"]
Words: TypeAlias = Sequence[str]

HERE = Path(__file__).parent
# Limit of a step of a first look; all together are given six minutes.
LOOK_LIMIT_S = 100.0

# Shapes of a rehearsal; the heads are 64 wide, so that one is left.
TINY = ("--set", "d_model=64", "--set", "n_layers=2", "--set", "vocab_size=256")
TINY_KV = (*TINY, "--set", "n_kv_heads=1")
SMOKE = ("--effort", "smoke")
DRAFT = ("--effort", "draft", "--set", "rounds=5")


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: for `--only`.
        about: what it does, in a few words.
        minutes: how long it is expected to take on an H100. A guess until a day has been run.
        limit_s: after this it is interrupted.
        command: what every size begins with; `OUT` stands for the step's folder.
        day: what the day adds.
        look: what a first look adds.
        rehearse: what a rehearsal adds.
        alone: whether even a first look runs nothing beside it, since it tests times.
    """

    name: str
    about: str
    minutes: float
    limit_s: float
    command: Words
    day: Words = ()
    look: Words = ()
    rehearse: Words = ()
    alone: bool = False

    def command_line(self, mode: Mode, folder: Path) -> list[str]:
        """The command, with what it may write to."""
        words = (*self.command, *{"day": self.day, "look": self.look, "rehearse": self.rehearse}[mode])
        return [sys.executable, *(re.sub("^OUT", str(folder), word) for word in words)]


def suite(
    name: str,
    about: str,
    minutes: float,
    limit_s: float,
    *,
    out: str | None = None,
    day: Words = (),
    look: Words = (),
    rehearse: Words = (),
) -> Step:
    """A run of a shipped suite."""
    command = ("-m", "modbench", "run", name, "--device", "cuda", "-o", "OUT")
    return Step(out or name, about, minutes, limit_s, command, day, look, rehearse)


def train(model: str) -> Step:
    """One minute of training."""
    return Step(
        f"train-{model}",
        f"one minute of training {model} in bf16, compiled: tokens per second, MFU",
        1.3,
        240,
        (str(HERE / "timed_training.py"), model, "--device", "cuda", "-o", "OUT"),
        day=("--seconds", "60", *_shape(1024, 12, 1024, 32)),
        look=("--first", "10", "--seconds", "0", *_shape(256, 2, 512, 8)),
        rehearse=("--first", "4", "--seconds", "0", *_shape(64, 2, 64, 2)),
    )


def _shape(d_model: int, n_layers: int, seq_len: int, batch_size: int) -> Words:
    sizes = {"--d-model": d_model, "--n-layers": n_layers, "--seq-len": seq_len, "--batch-size": batch_size}
    return [word for flag, size in sizes.items() for word in (flag, str(size))]


FIT = ("--batch-size", "1", "--set", "metrics=memory/largest_seq_len", "--set", "grid.execution=eager")
TIMES = ("--batch-size", "1", "--set", "metrics=flops/forward,latency/forward,latency/train_step")
# The arm that most of the day looks at.
MOD = "mod[c0.125-T"
STEPS: tuple[Step, ...] = (
    Step(
        "tests",
        "the tests that need a card",
        1.8,
        240,
        (
            "-m",
            "pytest",
            "-q",
            "-m",
            "cuda",
            "-p",
            "no:xdist",
            "-p",
            "no:cacheprovider",
            "tests/gpu",
            "--junitxml",
            "OUT.xml",
        ),
        look=("-k", "not slow"),
        alone=True,
    ),
    Step(
        "doctor",
        "identical models told apart? the card's clocks and its measured peak",
        0.8,
        180,
        ("-m", "modbench", "doctor", "--device", "cuda", "--json"),
        day=("-n", "6"),
        look=("-n", "1"),
        rehearse=("-n", "1"),
        alone=True,
    ),
    suite(
        "gpu",
        "prefill and decode of dense and MoD: does it pay?",
        3.6,
        400,
        look=(*SMOKE, "-k", MOD, "--seq-len", "2048", "--set", "decode_grid.batch_size=1"),
        rehearse=(*SMOKE, *TINY_KV, "--seq-len", "256", "--batch-size", "1", "--set", "decode.tokens=4"),
    ),
    suite(
        "train-gpu",
        "forward passes and training steps, eager and compiled",
        3.9,
        450,
        day=(*DRAFT, *TIMES, "-k", f"dense-f0.57 or {MOD}", "--seq-len", "8192"),
        look=(
            *SMOKE,
            *TIMES,
            "-k",
            MOD,
            "--seq-len",
            "2048",
            "--set",
            "n_layers=2",
            "--set",
            "grid.execution=compiled",
        ),
        rehearse=(*SMOKE, *TIMES, *TINY, "-k", MOD, "--seq-len", "256"),
    ),
    suite(
        "prefill-gpu",
        "long inputs",
        0.9,
        180,
        day=(*DRAFT, "-k", f"dense-f0 or {MOD}", "--seq-len", "8192,32768", "--set", "grid.execution=eager"),
        look=(
            *SMOKE,
            "-k",
            MOD,
            "--seq-len",
            "2048",
            "--set",
            "grid.execution=eager",
            "--set",
            "metrics=latency/prefill",
        ),
        rehearse=(*SMOKE, *TINY, "-k", MOD, "--seq-len", "256", "--set", "grid.execution=eager"),
    ),
    suite(
        "decode-gpu",
        "decode steps of 1 to 256 rows, eager and as a CUDA graph",
        1.7,
        300,
        day=(*DRAFT, "--batch-size", "1,16,256", "--set", "decode.tokens=32"),
        look=(*SMOKE, "--batch-size", "4", "--set", "decode.tokens=8", "--set", "metrics=latency/decode"),
        rehearse=(*SMOKE, *TINY_KV, "--seq-len", "256", "--batch-size", "2", "--set", "decode.tokens=4"),
    ),
    *map(train, ("dense", "mod", "mode_staged", "mode_integrated")),
    suite(
        "train-gpu",
        "the longest sequence whose training step fits the card",
        0.7,
        240,
        out="fit",
        day=(*FIT, "-k", MOD, "--seq-len", "2048"),
        look=(*FIT, "-k", "dense[T", "--seq-len", "2048", "--set", "fit.most=4096"),
        rehearse=(*FIT, *TINY, "-k", "dense[T", "--seq-len", "256", "--set", "fit.most=512"),
    ),
    Step(
        "profile",
        "one MoD forward pass by module: which kernels take the rest?",
        0.3,
        120,
        ("-m", "modbench", "profile", "gpu", "--device", "cuda", "-o", "OUT", "-k"),
        day=("mod[c0.125-T8192-B1",),
        look=("mod[c0.125-T2048-B1-bf16-cuda]",),
        # Torch's profiler cannot be pretended a card.
        rehearse=("mod[c0.125-T256-B1-bf16-cpu1]", *TINY_KV, "--seq-len", "256", "--device", "cpu"),
    ),
)
