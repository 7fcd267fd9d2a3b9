"""What each piece of a block costs: activation, norm and positions exchanged one by one, and all together, against the default.

    python tests/bench/pieces.py            # some minutes on one core
    python tests/bench/pieces.py --quick    # one shape, few rounds

All variants of a shape are interleaved in one process and one thread. Their FLOPs are not equal: GELU has two matrices of 4 times
the width, SwiGLU three of 8/3, rounded up to 64. So the ratio stands beside that of the causal FLOPs, and their quotient is the
speed at equal FLOPs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from interleaved import Ratio, add_options, compare, save

from modbench.harness.core.case import Case, Place
from modbench.harness.core.config import ModelConfig
from modbench.harness.flops.closed_form import case_cost
from modbench.harness.subject.subject import Subject

VARIANTS: dict[str, dict[str, str]] = {
    "default": {},
    "GELU": {"activation": "gelu"},
    "LayerNorm": {"norm": "layer"},
    "learned positions": {"position": "learned"},
    "all three": {"activation": "gelu", "norm": "layer", "position": "learned"},
}
SHAPES = ((64, 4, 128), (128, 4, 256), (256, 4, 512))
# Short calls are repeated, so that one sample takes some milliseconds.
SHORT = 200_000


def case(width: int, layers: int, seq_len: int, options: dict[str, str]) -> Case:
    config = ModelConfig.model_validate({"d_model": width, "n_layers": layers, "max_seq_len": seq_len, **options})
    place = Place(seq_len=seq_len, batch_size=1, dtype="fp32", device="cpu", threads=1, compile=False)
    return Case(model="dense", arm_parts=(), config=config, place=place)


def call(one: Case, *, training: bool) -> Callable[[], object]:
    subject = Subject(one, 0)
    tokens_BT = subject.inputs(0, 1)[0]
    subject.module.train(training)
    times = 3 if one.place.seq_len * one.config.d_model < SHORT else 1

    def run() -> None:
        for _ in range(times):
            (subject.train_step if training else subject.forward)(tokens_BT)

    return run


def flops(one: Case, *, training: bool) -> float:
    cost = case_cost(one)
    assert cost is not None
    return cost.train_step_causal if training else cost.forward_causal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser, rounds=40)
    parser.add_argument("--quick", action="store_true", help="one shape, eight rounds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[tuple[str, str, Ratio]] = []
    print(
        "| shape | piece | work | ratio to the default | 95 % within this launch | FLOPs default / piece | at equal FLOPs |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for width, layers, seq_len in SHAPES[1:2] if options.quick else SHAPES:
        shape = f"d {width}, {layers} layers, T {seq_len}"
        cases = {name: case(width, layers, seq_len, changes) for name, changes in VARIANTS.items()}
        for training in (False, True):
            work = "train step" if training else "forward"
            calls = {name: call(one, training=training) for name, one in cases.items()}
            found = compare(calls, "default", rounds=8 if options.quick else options.rounds)
            for name, ratio in found.items():
                assert ratio.value is not None
                fewer = flops(cases["default"], training=training) / flops(cases[name], training=training)
                between = f"{ratio.low:.3f}–{ratio.high:.3f}" if ratio.low is not None else str(ratio.reason)
                cells = (shape, name, work, f"{ratio.value:.3f}", between, f"{fewer:.3f}", f"{ratio.value / fewer:.3f}")
                print(f"| {' | '.join(cells)} |", flush=True)
                rows.append((f"{name} {work} {shape} flops {fewer:.4f}", "default", ratio))
    if options.json:
        save(options.json, rows)


if __name__ == "__main__":
    main()
