"""Routed models compared with dense ones of the same shape: do saved FLOPs become saved time?

    python tests/bench/routed.py --json routed.json        # about ten minutes on one core

Each row is a ratio of times, dense over routed, the theoretical speed-up from causal FLOPs, and their quotient, the
efficiency. A training step is forward, cross-entropy with auxiliary losses, backward and a fused AdamW update; its
theoretical speed-up counts the FLOPs of the whole step, predictor included. `--only` runs the rows whose name contains a
word."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from interleaved import Ratio, add_options, compare, save

from modbench.harness.call.subject.subject import Subject
from modbench.harness.core.config import ModelConfig
from modbench.harness.domain.case import Case, DecodePlan, GridPoint
from modbench.harness.registry import catalogue
from modbench.harness.registry.case_facts import with_facts

# Small models: one sample is several calls in a row. After the first, weights are cached, as when one model runs alone.
LOOP, SMALL = 3, 200_000
# name, models, shape, T, B
ROWS: tuple[tuple[str, tuple[str, ...], dict[str, int], int, int], ...] = (
    ("d256 L4 T512 B1", ("mod", "mode_staged", "mode_integrated", "moe"), {"d_model": 256, "n_layers": 4}, 512, 1),
    ("d256 L4 T512 B2", ("mod", "mode_staged", "mode_integrated"), {"d_model": 256, "n_layers": 4}, 512, 2),
    ("d256 L4 T1024 B1", ("mod",), {"d_model": 256, "n_layers": 4}, 1024, 1),
    ("d512 L8 T512 B1", ("mod",), {"d_model": 512, "n_layers": 8}, 512, 1),
    ("d512 L8 T2048 B1", ("mod",), {"d_model": 512, "n_layers": 8}, 2048, 1),
)


def case(model: str, shape: dict[str, int], seq_len: int, batch_size: int) -> Case:
    options = dict(catalogue.model_options(model))
    config = ModelConfig.model_validate({"max_seq_len": seq_len, **options, **shape})
    grid_point = GridPoint(seq_len=seq_len, batch_size=batch_size, dtype="fp32", device="cpu", threads=1, compile=False)
    return with_facts(Case(model=model, variant_parts=(), config=config, grid_point=grid_point))


def theoretical(mine: Case, dense: Case, *, train: bool) -> float:
    """Ratio of causal FLOPs; for a step, including what only training computes."""
    sides = []
    for one in (dense, mine):
        cost = catalogue.load("models", one.model).cost(one.config, one.grid_point.seq_len, one.grid_point.batch_size)
        sides.append(cost.train_step_causal if train else cost.forward_causal)
    return float(sides[0] / sides[1])


def call(one: Case, *, train: bool) -> Callable[[], object]:
    subject = Subject(one, 0, decode=DecodePlan())
    tokens_BT = subject.inputs(0, 1)[0]
    subject.module.train(train)

    def loop() -> None:
        for _ in range(LOOP if one.grid_point.seq_len * one.config.d_model < SMALL else 1):
            (subject.train_step if train else subject.forward)(tokens_BT)

    return loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser, rounds=40)
    parser.add_argument("--only", default="", help="run the rows whose name contains this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[tuple[str, str, Ratio]] = []
    print("| shape | model | work | ratio | 95 % within this process | theoretical | efficiency |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, models, shape, seq_len, batch_size in ROWS:
        for train in (False, True):
            work = "train step" if train else "forward"
            if options.only not in f"{name} {work}":
                continue
            cases = {model: case(model, shape, seq_len, batch_size) for model in ("dense", *models)}
            calls = {model: call(one, train=train) for model, one in cases.items()}
            rounds = max(8, options.rounds // (4 if seq_len * shape["d_model"] > 500_000 else 1))
            for model, ratio in compare(calls, "dense", rounds=rounds).items():
                promise = theoretical(cases[model], cases["dense"], train=train)
                assert ratio.value is not None
                between = f"{ratio.low:.3f}–{ratio.high:.3f}" if ratio.low is not None else str(ratio.reason)
                said = (
                    name,
                    model,
                    work,
                    f"{ratio.value:.3f}",
                    between,
                    f"{promise:.3f}",
                    f"{ratio.value / promise:.3f}",
                )
                print(f"| {' | '.join(said)} |", flush=True)
                rows.append((f"{model} {work} {name} theoretical {promise:.4f}", "dense", ratio))
    if options.json:
        save(options.json, rows)


if __name__ == "__main__":
    main()
