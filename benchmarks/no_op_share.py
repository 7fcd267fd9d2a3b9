"""Is the share of choices that reach a real expert what `capacity` says? Trains integrated MoDE with token choice, many times.

    python benchmarks/no_op_share.py                       # the whole table: kinds x logits x balance x capacity x seeds
    python benchmarks/no_op_share.py --kind zero --balance bias --seeds 1

Each run trains 600 steps of 8 x 128 bytes of the Python standard library (4 blocks of width 64, two of them with experts,
top-2, AdamW at 3e-3). It says the mean share over the last 100 steps, the block that is furthest off, the share of the trained
model token by token with a cache, on the text that it was trained on and on held-out text, and how far these logits are from
those of one causal forward pass. Losses and shares do not depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from printing import head
from printing import row as print_row
from torch import Tensor
from torch.nn import functional as F

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.train_plan import learning_rate
from modbench.harness.registry import catalogue
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
    }


def windows(text_N: Tensor, generator: torch.Generator, rows: int = BATCH) -> Tensor:
    """Random windows of a text, with the token after each."""
    start_B = torch.randint(len(text_N) - LENGTH - 1, (rows, 1), generator=generator)
    return text_N[start_B + torch.arange(LENGTH + 1)]


@torch.no_grad()
def decode(module: MoDEIntegrated, tokens_BT: Tensor) -> tuple[float, float, float]:
    """Decode token by token: the share of choices that are real, and how far the logits are from a causal forward pass.

    Two choices whose scores are nearly equal may change places by rounding, for one token, and through attention for those
    after it.

    Returns:
        The share; the largest difference of a logit; the share of tokens of which a logit is more than `APART` off.
    """
    wanted_BTV = module(tokens_BT, causal=True)
    assert isinstance(wanted_BTV, Tensor)
    logits_BV, cache = module.prefill(tokens_BT[:, :1])
    pairs, off = sum(module.pairs or []), [(logits_BV - wanted_BTV[:, 0]).abs().amax(-1)]
    for i in range(1, tokens_BT.shape[1]):
        logits_BV = module.decode(tokens_BT[:, i], cache)
        pairs += sum(module.pairs or [])
        off.append((logits_BV - wanted_BTV[:, i]).abs().amax(-1))
    off_BT = torch.stack(off, 1)
    apart = (off_BT > APART).float().mean().item()
    return pairs / (tokens_BT.numel() * TOP_K * len(module.pairs or [])), off_BT.max().item(), apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kind", default="zero,identity,constant")
    parser.add_argument("--logits", default="own,shared")
    parser.add_argument("--balance", default="loss,bias,threshold")
    parser.add_argument("--capacity", default="0.25,0.5,0.75")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--out", type=Path, default=Path("no_op_share.jsonl"), help="a line for each run; not made again"
    )
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    each = (options.kind, options.logits, options.balance)
    values = [*(text.split(",") for text in each), map(float, options.capacity.split(",")), range(options.seeds)]
    plan = [dict(zip(KEYS, point, strict=True)) for point in itertools.product(*values)]
    kept = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    rows = [json.loads(line) for line in kept]
    known = [{key: row[key] for key in KEYS} for row in rows]
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for row in pool.map(train, [settings for settings in plan if settings not in known]):
            rows.append(row)
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    print_table(rows)


def print_table(rows: list[dict[str, Any]]) -> None:
    """A line for each balance and capacity: the lowest and the highest run; and how many runs miss their limit."""
    head("balance", "capacity", "runs", "last 100 steps", "worst block", "decoding", "decoding held-out text")
    shares = ("share", "decoded", "held_out")
    for balance, capacity in sorted({(row["balance"], row["capacity"]) for row in rows}):
        group = [row for row in rows if (row["balance"], row["capacity"]) == (balance, capacity)]
        share, *decoded = [f"{min(r[key] for r in group):.3f} to {max(r[key] for r in group):.3f}" for key in shares]
        worst = max((row["worst"] for row in group), key=abs)
        print_row(f"`{balance}`", f"{capacity:g}", len(group), share, f"{worst:+.3f}", *decoded)
    missed = sum(any(abs(row[key] - row["capacity"]) > LIMITS[row["balance"]] for key in shares) for row in rows)
    near = [row["difference"] for row in rows if row["difference"] <= APART]
    most = max(row["difference"] for row in rows)
    print(f"\n{missed} of {len(rows)} runs miss their limit: {LIMITS}")
    print(
        f"Decoding has the logits of a causal forward pass to {max(near, default=0.0):.0e} in {len(near)} runs; ",
        end="",
    )
    print(f"the largest difference is {most:.1f}, where rounding moved a choice")


if __name__ == "__main__":
    main()
