"""Decode steps of MoD with a synthetic router compared with dense: by batch, participation and policy, with the expected ratio.

    python benchmarks/decode.py --json decode.json            # d 256, 4 layers: the table of policies, some minutes
    python benchmarks/decode.py --large                       # d 512, 8 layers, context 1,024, B = 1: the headline

One sample is `--tokens` successive steps from the same context, so each is a mean over positions: a median over tokens
would see only those that skip everything. Positions, and with them the synthetic decisions, are the same at every sample.
`expected` is the ratio of bytes that must be read: weights that some row needs (independent rows all skip with
probability (1 - c)^B), keys and values of the rows that pass. `all skip` is the measured share of routed-block visits
that no row passed; `passed` the realised participation; `overflow` the share of requests that a fixed shape refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from interleaved import Ratio, add_options, compare, save

from modbench.harness.core.config import ModelConfig
from modbench.harness.registry import catalogue
from modbench.models.layers.decoder import Decoder

POLICIES = ("host", "budget", "masked")


def build(model: str, shape: dict[str, Any], **routing: Any) -> tuple[Decoder, ModelConfig]:
    options = dict(catalogue.model_options(model))
    config = ModelConfig.model_validate({**options, **shape, **routing})
    torch.manual_seed(0)
    return catalogue.load("models", model).build(config).eval(), config


def steps(module: Decoder, batch_size: int, context: int, tokens: int) -> tuple[Callable[[], None], Any]:
    """A call that decodes `tokens` steps after the context, and its cache."""
    vocabulary = module.config.vocab_size
    made = torch.randint(vocabulary, (batch_size, context + tokens), generator=torch.Generator().manual_seed(1))
    _, cache = module.prefill(made[:, :context], max_len=context + tokens)
    mark = cache.mark()

    def call() -> None:
        cache.rewind(mark)
        for i in range(tokens):
            module.decode(made[:, context + i], cache)

    return call, cache


def all_skip(module: Decoder, batch_size: int, context: int, tokens: int) -> float:
    """Share of steps and routed blocks that no row of the batch passes."""
    position_BT = torch.arange(context, context + tokens)[None]
    skipped = []
    for block in module.blocks:
        router = getattr(block, "router", None)
        if router is not None:
            r_BT = router.noise(position_BT, batch_size)
            skipped.append((~router.passes(None, r_BT, None).any(0)).float().mean().item())
    return float(sum(skipped) / len(skipped))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser, rounds=8)
    parser.add_argument("--large", action="store_true", help="d 512, 8 layers, context 1,024, B = 1, 12.5 %% only")
    parser.add_argument("--tokens", type=int, help="steps of one sample (256 with --large, else 64)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    large = options.large
    context, tokens = (1024, options.tokens or 256) if large else (256, options.tokens or 64)
    shape = {"d_model": 512 if large else 256, "n_layers": 8 if large else 4, "max_seq_len": context + tokens}
    batches = (1,) if large else (1, 2, 4, 8, 16, 32)
    shares = (0.125,) if large else (0.0625, 0.125, 0.25, 0.5)
    rows: list[tuple[str, str, Ratio]] = []
    print(
        f"{shape['n_layers']} layers, d {shape['d_model']}, context {context}, {tokens} steps a sample, fp32, one thread\n"
    )
    print("| B | passed | all skip | policy | ratio | 95 % within this process | expected | overflow | KV bytes |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for batch_size in batches:
        for share in shares:
            dense, dense_config = build("dense", shape)
            calls: dict[str, Callable[[], object]] = {}
            caches: dict[str, Any] = {}
            calls["dense"], caches["dense"] = steps(dense, batch_size, context, tokens)
            expected: dict[str, float] = {}
            for policy in POLICIES:
                module, config = build("mod", shape, router="synthetic", capacity=share, decode_policy=policy)
                calls[policy], caches[policy] = steps(module, batch_size, context, tokens)
                middle = context + tokens // 2
                read = [
                    catalogue.load("models", name).decode_cost(made, middle, batch_size).read
                    for name, made in (("dense", dense_config), ("mod", config))
                ]
                expected[policy] = read[0] / read[1]
                skips = all_skip(module, batch_size, context, tokens)
            for cache in caches.values():
                cache.reset_counts()
            for policy, ratio in compare(calls, "dense", rounds=options.rounds, warm_up_calls=1).items():
                cache = caches[policy]
                passed = [p for p in cache.participation() if p is not None]
                wishes = sum(int(block.processed) + int(block.overflow) for block in cache.blocks)
                assert ratio.value is not None
                said = (
                    str(batch_size),
                    f"{sum(passed) / len(passed):.1%}",
                    f"{skips:.0%}",
                    policy,
                    f"{ratio.value:.2f}",
                    f"{ratio.low:.2f}–{ratio.high:.2f}" if ratio.low is not None else str(ratio.reason),
                    f"{expected[policy]:.2f}",
                    f"{sum(cache.overflow()) / max(1, wishes):.0%}",
                    f"{cache.nbytes / caches['dense'].nbytes:.3f}",
                )
                print(f"| {' | '.join(said)} |", flush=True)
                rows.append((f"B {batch_size} share {share} {policy} expected {expected[policy]:.4f}", "dense", ratio))
    if options.json:
        save(options.json, rows)


if __name__ == "__main__":
    main()
