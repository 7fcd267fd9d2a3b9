"""What decode steps of MoD with a synthetic router must read, compared with dense: by batch, share of passes and policy.

    python benchmarks/decode_reads.py             # d 256, 4 layers, context 256: benchmarks/data/decode_reads.csv, a minute
    python benchmarks/decode_reads.py --large     # d 512, 8 layers, context 1,024, B = 1, 12.5 %

Nothing is timed. A cell is the ratio of bytes that must be read: weights that some row needs (independent rows all skip with
probability (1 - c)^B), keys and values of the rows that pass; of `budget` also the share of requests that did not fit. *All
skip* is the measured share of routed-block visits that no row passed. With
`--large` the bytes of keys and values stand below.
"""

from __future__ import annotations

import argparse
from statistics import fmean
from typing import Any

import torch
from printing import head, row

from modbench.harness.core.config import ModelConfig
from modbench.harness.registry import catalogue
from modbench.models.layers.decoder import Decoder

POLICIES = ("host", "budget", "masked")


def build(model: str, shape: dict[str, Any], **routing: Any) -> tuple[Decoder, ModelConfig]:
    config = ModelConfig.model_validate({**catalogue.model_options(model), **shape, **routing})
    torch.manual_seed(0)
    return catalogue.load("models", model).build(config).eval(), config


@torch.inference_mode()
def decoded(module: Decoder, batch_size: int, context: int, tokens: int) -> Any:
    """The cache after so many steps; counts are those of the steps alone."""
    generator = torch.Generator().manual_seed(1)
    made_BT = torch.randint(module.config.vocab_size, (batch_size, context + tokens), generator=generator)
    _, cache = module.prefill(made_BT[:, :context], max_len=context + tokens)
    cache.reset_counts()
    for i in range(context, context + tokens):
        module.decode(made_BT[:, i], cache)
    return cache


def all_skip(module: Decoder, batch_size: int, context: int, tokens: int) -> float:
    """Share of steps and routed blocks that no row of the batch passes."""
    position_BT = torch.arange(context, context + tokens)[None]
    routers = [router for block in module.blocks if (router := getattr(block, "router", None)) is not None]
    r_BTs = [router.noise(position_BT, batch_size) for router in routers]
    passes = [router.selects(r_BT, r_BT, None) for router, r_BT in zip(routers, r_BTs, strict=True)]
    return fmean((~each_BT.any(0)).float().mean().item() for each_BT in passes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="one batch size and capacity of a larger shape")
    large = parser.parse_args().large
    torch.set_num_threads(1)
    context, tokens = (1024, 256) if large else (256, 64)
    shape = {"d_model": 512 if large else 256, "n_layers": 8 if large else 4, "max_seq_len": context + tokens}
    dense, dense_config = build("dense", shape)
    head("B", "passed", "all skip", "`host`", "`budget` · overflow", "`masked`")
    kept: list[str] = []
    for batch_size in (1,) if large else (1, 2, 4, 8, 16, 32):
        dense_bytes = decoded(dense, batch_size, context, tokens).nbytes
        for share in (0.125,) if large else (0.0625, 0.125, 0.25, 0.5):
            cells = []
            for policy in POLICIES:
                module, config = build("mod", shape, router="synthetic", capacity=share, decode_policy=policy)
                cache, middle = decoded(module, batch_size, context, tokens), context + tokens // 2
                theirs, mine = (
                    catalogue.load("models", name).decode_cost(made, middle, batch_size).read
                    for name, made in (("dense", dense_config), ("mod", config))
                )
                wishes = sum(int(block.processed) + int(block.overflow) for block in cache.blocks)
                overflow = f" · {sum(cache.overflow()) / max(1, wishes):.0%}" if policy == "budget" else ""
                cells.append(f"{theirs / mine:.2f}{overflow}")
                kept.append(f"{policy} {cache.nbytes / dense_bytes:.3f}")
                if policy == "host":
                    passed = fmean(each for each in cache.participation() if each is not None)
                    cells[:0] = [f"{passed:.1%}", f"{all_skip(module, batch_size, context, tokens):.0%}"]
            row(batch_size, *cells)
    if large:
        print(f"\nBytes of keys and values, in parts of dense's: {'; '.join(kept)}")


if __name__ == "__main__":
    main()
