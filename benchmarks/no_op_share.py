"""Is the share of choices that reach a real expert what `capacity` says? Trains integrated MoDE with token choice, many times.

    python benchmarks/no_op_share.py                       # the whole table: kinds x logits x balance x capacity x seeds
    python benchmarks/no_op_share.py --kind zero --balance bias --seeds 1

Each run trains 600 steps of 8 x 128 bytes of the Python standard library (4 blocks of width 64, two of them with experts,
top-2, AdamW at 3e-3). It says the mean share over the last 100 steps, the block that is furthest off, the share of the trained
model token by token with a cache, on the text that it was trained on and on held-out text, and how far these logits are from
those of one causal forward pass: where a token chose otherwise, also how far the router's logits were apart that it chose by.
Losses and shares do not depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.train_plan import learning_rate
from modbench.harness.registry import catalogue
from modbench.models.layers.token_choice import TokenChoiceMLP
from modbench.models.mode_integrated import MoDEIntegrated

LAST, BATCH, LENGTH, TOP_K = 100, 8, 128, 2
LIMITS = {"loss": 0.05, "bias": 0.02, "threshold": 0.02}
# Logits that differ by more come from another choice of experts, not from rounding alone.
APART = 1e-3
# N experts for each capacity: with 4, 0.75 would ask for 1.33 no-ops.
EXPERTS = {0.25: 4, 0.5: 4, 0.75: 6}
KEYS = ("no_op", "no_op_logits", "balance", "capacity", "seed")


def train(settings: dict[str, Any], *, steps: int = 600, **shape: Any) -> dict[str, Any]:
    """One run: its settings, and what was measured."""
    torch.set_num_threads(1)
    seed, model = settings["seed"], catalogue.load("models", "mode_integrated")
    keys = {key: value for key, value in settings.items() if key != "seed"}
    width = {"d_model": 64, "n_layers": 4, "max_seq_len": 256, "choice": "token", "experts_top_k": TOP_K, **shape}
    config = ModelConfig(**{**model.options, "n_experts": EXPERTS.get(settings["capacity"], 4), **width, **keys})
    torch.manual_seed(seed)
    module = MoDEIntegrated(config).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1)
    text = catalogue.load("corpora", "stdlib").read(None)
    train_N, held_N = (torch.frombuffer(bytearray(side), dtype=torch.uint8).long() for side in (text.train, text.val))
    generator = torch.Generator().manual_seed(seed)
    shares, loss = [], torch.zeros(())
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(step, steps, 3e-3)
        tokens_BT = windows(train_N, generator)
        logits, auxiliary = module(tokens_BT[:, :-1], auxiliary=True)
        loss = F.cross_entropy(logits.flatten(0, 1), tokens_BT[:, 1:].flatten())
        optimizer.zero_grad()
        (loss + auxiliary).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        module.after_step()
        shares.append([pairs / (BATCH * LENGTH * TOP_K) for pairs in module.pairs or ()])
    last = torch.tensor(shares[-LAST:]).mean(0)
    rho: float = settings["capacity"]
    module.eval()
    rows = LAST * BATCH  # as many windows as the mean in training: between few, shares differ by several hundredths
    decoded, held_out = (decode(module, windows(side_N, generator, rows)[:, :-1]) for side_N in (train_N, held_N))
    return {
        **settings,
        "share": last.mean().item(),
        "worst": max((last - rho).tolist(), key=abs),
        "loss": loss.item(),
        "decoded": decoded[0],
        "held_out": held_out[0],
        "difference": max(decoded[1], held_out[1]),
        "apart": max(decoded[2], held_out[2]),
        "chose_by": max(decoded[3], held_out[3]),
        "unexplained": decoded[4] + held_out[4],
    }


def windows(text_N: Tensor, generator: torch.Generator, rows: int = BATCH) -> Tensor:
    """Random windows of a text, with the token after each."""
    start_B = torch.randint(len(text_N) - LENGTH - 1, (rows, 1), generator=generator)
    return text_N[start_B + torch.arange(LENGTH + 1)]


@torch.no_grad()
def decode(module: MoDEIntegrated, tokens_BT: Tensor) -> tuple[float, float, float, float, int]:
    """Decode token by token: the share of choices that are real, and how far the logits are from a causal forward pass.

    Two choices whose scores are nearly equal may change places by rounding, for one token, and through attention for those
    after it.

    Returns:
        The share; the largest difference of a logit; the share of tokens of which a logit is more than `APART` off; the largest
        difference of a router's logits where a sequence chooses otherwise for the first time (0: none does); how many sequences
        have a token that is off without one that chose otherwise before.
    """
    blocks, width = len(module.pairs or []), tokens_BT.shape[1]
    with chosen(module) as whole:
        wanted_BTV = module(tokens_BT, causal=True)
    assert isinstance(wanted_BTV, Tensor)
    pairs, off, chose_by = 0, [], []
    with chosen(module) as step:
        first_BV, cache = module.prefill(tokens_BT[:, :1])
        for i in range(width):
            logits_BV = module.decode(tokens_BT[:, i], cache) if i else first_BV
            pairs += sum(module.pairs or [])
            off.append((logits_BV - wanted_BTV[:, i]).abs().amax(-1))
            for (logit_BX, choice_Bk), (logit_NX, choice_Nk) in zip(step[-blocks:], whole, strict=True):
                otherwise_B = (choice_Bk != choice_Nk.view(-1, width, TOP_K)[:, i]).any(-1)
                distance_B = (logit_BX - logit_NX.view(-1, width, logit_BX.shape[1])[:, i]).abs().amax(-1)
                chose_by.append(torch.where(otherwise_B, distance_B, torch.nan))
    off_BT, by_BTL = torch.stack(off, 1), torch.stack(chose_by, 1).view(-1, width, blocks)
    otherwise_BTL = ~by_BTL.isnan()
    seen_BT = otherwise_BTL.any(-1).cumsum(1) > 0
    first_B = by_BTL.flatten(1).gather(1, otherwise_BTL.flatten(1).int().argmax(1, keepdim=True))
    unexplained = ((off_BT > APART) & ~seen_BT).any(1).sum().item()
    apart = (off_BT > APART).float().mean().item()
    return (
        pairs / (tokens_BT.numel() * TOP_K * blocks),
        off_BT.max().item(),
        apart,
        first_B.nan_to_num(0).max().item(),
        int(unexplained),
    )


@contextmanager
def chosen(module: MoDEIntegrated) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Router logits [N, X] and sorted choices [N, k] of every call of a routed block meanwhile; copies of a no-op are one."""
    mlps = [block.mlp for block in module.blocks if isinstance(block.mlp, TokenChoiceMLP)]
    calls: list[tuple[Tensor, Tensor]] = []

    def watch(mlp: TokenChoiceMLP) -> None:
        choose = mlp._choices

        def choices(logit_NX: Tensor, p_NX: Tensor) -> Tensor:
            choice_Nk = choose(logit_NX, p_NX)
            alike_Nk = choice_Nk if mlp.copies == 1 else choice_Nk.clamp(max=mlp.n_experts)
            calls.append((logit_NX, alike_Nk.sort(-1).values))
            return choice_Nk

        mlp._choices = choices  # type: ignore[method-assign]

    for mlp in mlps:
        watch(mlp)
    try:
        yield calls
    finally:
        for mlp in mlps:
            del mlp._choices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kind", default="zero,identity,constant")
    parser.add_argument("--logits", default="own,shared")
    parser.add_argument("--balance", default="loss,bias,threshold")
    parser.add_argument("--capacity", default="0.25,0.5,0.75")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--json", type=Path, help="file for one line of JSON for each run; those in it are not run again"
    )
    parser.add_argument("--table", action="store_true", help="only print the table of the runs in that file")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    each = (options.kind, options.logits, options.balance)
    values = [*(text.split(",") for text in each), map(float, options.capacity.split(",")), range(options.seeds)]
    plan = [dict(zip(KEYS, point, strict=True)) for point in itertools.product(*values)]
    kept = options.json.read_text(encoding="utf-8").splitlines() if options.json and options.json.exists() else []
    rows = {of(row): row for row in map(json.loads, kept)}
    if options.table:
        print(table([*rows.values()]))
        return
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for future in [
            pool.submit(train, settings, steps=options.steps) for settings in plan if of(settings) not in rows
        ]:
            row = future.result()
            rows[of(row)] = row
            if options.json:
                with options.json.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    print(table([rows[of(settings)] for settings in plan]))


def of(row: dict[str, Any]) -> tuple[Any, ...]:
    """The settings that identify a run."""
    return tuple(row[key] for key in KEYS)


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each balance and capacity: the lowest and the highest run; and how many runs miss their limit."""
    lines = [
        "| balance | capacity | runs | last 100 steps | worst block | decoding | decoding held-out text |",
        f"|{' --- |' * 7}",
    ]
    shares = ("share", "decoded", "held_out")
    for balance, capacity in sorted({(row["balance"], row["capacity"]) for row in rows}):
        group = [row for row in rows if (row["balance"], row["capacity"]) == (balance, capacity)]
        share, *decoded = [f"{min(r[key] for r in group):.3f} to {max(r[key] for r in group):.3f}" for key in shares]
        worst = max((row["worst"] for row in group), key=abs)
        cells = [f"`{balance}`", f"{capacity:g}", str(len(group)), share, f"{worst:+.3f}", *decoded]
        lines.append(f"| {' | '.join(cells)} |")
    missed = sum(any(abs(row[key] - row["capacity"]) > LIMITS[row["balance"]] for key in shares) for row in rows)
    far = [row for row in rows if row["difference"] > APART]
    near = max((row["difference"] for row in rows if row["difference"] <= APART), default=0.0)
    most, chose_by = (max((row[key] for row in rows), default=0.0) for key in ("difference", "chose_by"))
    return "\n".join(
        [
            *lines,
            "",
            f"{missed} of {len(rows)} runs miss their limit: {LIMITS}",
            f"logits of decoding and of a causal forward pass differ by at most {near:.0e} in {len(rows) - len(far)} runs",
            f"and by {most:.1f} in the others, where a token chose otherwise, for the first time in a sequence by logits of a",
            f"router at most {chose_by:.0e} apart; {sum(row['unexplained'] for row in rows)} sequences differ without that",
        ]
    )


if __name__ == "__main__":
    main()
