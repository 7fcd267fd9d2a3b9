"""What routing among experts and no-ops costs beside the products: the share of the theoretical saving that arrives.

    python tests/bench/no_op_dispatch.py                       # about ten minutes on one core
    python tests/bench/no_op_dispatch.py --only decode --clock wall

One process, one thread. Each round calls every variant once, in random order. A ratio is dense time over the variant's, the
median over rounds; `achieved_share` is (ratio - 1) / (theoretical - 1). `layer` is one MLP alone against the dense one,
theoretical speed-up 1 / capacity; `forward` and `prefill` are the model, theoretical speed-up from causal FLOPs; `decode` is
a step, theoretical speed-up from bytes that must be read, with the experts that its tokens chose. With `--clock cpu` (the
default) times are the thread's CPU time, which other processes disturb less. The last column is what skipping asks for in
return: parameters over those of dense.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch

from modbench.harness.core.config import ModelConfig
from modbench.harness.registry import catalogue
from modbench.models.layers.decode_cache import Cache
from modbench.models.layers.decoder import Decoder
from modbench.models.layers.experts import Experts

CLOCKS = {"cpu": time.thread_time, "wall": time.perf_counter}
STEPS = 8  # of decoding in one call
TOKEN: dict[str, Any] = {
    "choice": "token"
}  # of an untrained model with as many no-ops, a share capacity of the choices is real


@dataclass(frozen=True)
class Variant:
    """A model, its module, and how many pairs its tokens chose, if they choose."""

    name: str
    model: str
    config: ModelConfig
    module: Decoder

    def forward_flops(self, seq_len: int, batch_size: int) -> float:
        """Causal FLOPs; where tokens choose, those of the last call."""
        entry = catalogue.load("models", self.model)
        pairs = entry.pairs(self.module)
        return float(entry.cost(self.config, seq_len, batch_size, *(() if pairs is None else (pairs,))).forward_causal)

    def decode_read(self, context: int, batch_size: int, experts: float | None = None) -> float:
        """Elements that one step must read: as expected, or with so many experts of all blocks together."""
        if experts is None:
            return float(catalogue.load("models", self.model).decode_cost(self.config, context, batch_size).read)
        mlps: list[Any] = [block.mlp for block in self.module.blocks if hasattr(block.mlp, "experts")]
        dense = catalogue.load("models", "dense").decode_cost(self.config, context, batch_size).read
        mlp = mlps[0].experts.up_EDF[0].numel() * 3
        return float(dense + (experts - len(mlps)) * mlp + sum(each.router.weight.numel() for each in mlps))

    @property
    def params(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.module.parameters())


def make(name: str, model: str, width: int, layers: int, seq_len: int, **options: Any) -> Variant:
    """A variant with random weights from seed 0."""
    shape = {"d_model": width, "n_layers": layers, "max_seq_len": seq_len + 8 * STEPS}
    config = ModelConfig.model_validate({**catalogue.model_options(model), **shape, **options})
    torch.manual_seed(0)
    module = catalogue.load("models", model).build(config).eval()
    module.calibrate(torch.randint(256, (4, seq_len)))
    return Variant(name, model, config, module)


def variants(width: int, layers: int, seq_len: int, capacities: list[float]) -> Iterator[Variant]:
    """Dense first, then plain MoE, experts that choose, and tokens that choose with two kinds of no-op."""
    yield make("dense", "dense", width, layers, seq_len)
    yield make("moe", "moe", width, layers, seq_len)
    for c in capacities:
        yield make(f"expert choice {c:g}", "mode_integrated", width, layers, seq_len, capacity=c)
        for kind in ("zero", "identity"):
            options = {"capacity": c, "no_op": kind, **TOKEN}
            yield make(f"token choice {c:g} {kind}", "mode_integrated", width, layers, seq_len, **options)


def times(
    calls: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float], before: Callable[[str], object]
) -> dict[str, list[float]]:
    """Seconds of each call, round by round; `before` is called, untimed, before each."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    rng = random.Random(0)
    for number in range(rounds + 2):
        for name in rng.sample(list(calls), len(calls)):
            before(name)
            start = clock()
            calls[name]()
            if number > 1:
                found[name].append(clock() - start)
    return found


def report(work: str, made: list[Variant], found: dict[str, list[float]], ideals: dict[str, float]) -> None:
    """One row for each variant but dense."""
    dense, *rest = made
    for variant in rest:
        ratio = statistics.median(a / b for a, b in zip(found["dense"], found[variant.name], strict=True))
        theoretical = ideals[variant.name]
        achieved_share = f"{(ratio - 1) / (theoretical - 1):.2f}" if abs(theoretical - 1) >= 0.1 else "–"
        milliseconds = statistics.median(found[variant.name]) * 1e3
        cells = [work, variant.name, f"{milliseconds:.2f}", f"{ratio:.3f}", f"{theoretical:.3f}", achieved_share]
        print(f"| {' | '.join(cells)} | {variant.params / dense.params:.2f} |", flush=True)


def layers(made: list[Variant], tokens_BT: torch.Tensor, options: argparse.Namespace) -> None:
    """One routed MLP alone, over normed streams of its own model, by the rule of training and by the causal one."""
    b, t = tokens_BT.shape
    x_BTD = torch.randn(b, t, made[0].config.d_model)
    x_BTD = x_BTD / x_BTD.square().mean(-1, keepdim=True).sqrt()
    for causal in (False, True):
        contexts = {variant.name: variant.module.context(tokens_BT, None, causal=causal) for variant in made}
        calls = {variant.name: _layer(variant, x_BTD, contexts[variant.name]) for variant in made}
        ideals = {}
        for variant in made:
            calls[variant.name]()
            mlp: Any = variant.module.blocks[1].mlp
            rows = getattr(mlp, "pairs", 0) or getattr(mlp, "executed_tokens", 0) * variant.config.n_experts
            ideals[variant.name] = b * t / rows if rows else 1.0
        found = times(calls, options.rounds, CLOCKS[options.clock], lambda _: None)
        report(f"layer {'causal ' * causal}T{t} B{b}", made, found, ideals)


def _layer(variant: Variant, x_BTD: torch.Tensor, ctx: Any) -> Callable[[], object]:  # a forward context
    return lambda: variant.module.blocks[1].mlp_branch(x_BTD, ctx)


def forward(made: list[Variant], tokens_BT: torch.Tensor, options: argparse.Namespace, *, prefill: bool) -> None:
    """The whole model over a sequence, or over a prompt that is kept in a cache."""
    b, t = tokens_BT.shape
    calls = {variant.name: _forward(variant, tokens_BT, prefill=prefill) for variant in made}
    flops = {}
    for variant in made:
        calls[variant.name]()
        flops[variant.name] = variant.forward_flops(t, b)
    found = times(calls, options.rounds, CLOCKS[options.clock], lambda _: None)
    ideals = {name: flops["dense"] / value for name, value in flops.items()}
    report(f"{'prefill' if prefill else 'forward'} T{t} B{b}", made, found, ideals)


def _forward(variant: Variant, tokens_BT: torch.Tensor, *, prefill: bool) -> Callable[[], object]:
    return (lambda: variant.module.prefill(tokens_BT)) if prefill else (lambda: variant.module(tokens_BT))


def decode(made: list[Variant], tokens_BT: torch.Tensor, options: argparse.Namespace) -> None:
    """Some steps after a prompt, the same at every call."""
    b, t = tokens_BT.shape
    caches: dict[str, Cache] = {variant.name: variant.module.prefill(tokens_BT)[1] for variant in made}
    marks = {name: cache.mark() for name, cache in caches.items()}
    steps_SB = torch.randint(256, (STEPS, b))
    calls = {variant.name: _decode(variant, caches[variant.name], steps_SB) for variant in made}
    found = times(calls, options.rounds, CLOCKS[options.clock], lambda name: caches[name].rewind(marks[name]))
    dense, ideals = made[0].decode_read(t, b), {}
    for variant in made:  # tokens of these steps may choose more or fewer experts than expected
        caches[variant.name].rewind(marks[variant.name])
        experts = experts_called(calls[variant.name]) / STEPS if variant.model != "dense" else None
        ideals[variant.name] = dense / variant.decode_read(t, b, experts)
    report(f"decode after {t} B{b}", made, found, ideals)


def experts_called(call: Callable[[], object]) -> int:
    """How many experts a call computes, one product at a time."""
    with mock.patch.object(Experts, "one", autospec=True, side_effect=Experts.one) as seen:
        call()
    return seen.call_count


def _decode(variant: Variant, cache: Cache, steps_SB: torch.Tensor) -> Callable[[], object]:
    return lambda: [variant.module.decode(tokens_B, cache) for tokens_B in steps_SB]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--d-model", type=int, default=512)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--seq-len", default="256,512")
    parser.add_argument("--batch-size", default="1,8")
    parser.add_argument("--capacity", default="0.25,0.5")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    parser.add_argument("--only", default="", help="one of layer, forward, prefill, decode")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| work | variant | ms | ratio | theoretical | realised | parameters |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    capacities = [float(c) for c in options.capacity.split(",")]
    with torch.no_grad():
        for t in map(int, options.seq_len.split(",")):
            made = list(variants(options.d_model, options.layers, t, capacities))
            for b in map(int, options.batch_size.split(",")):
                tokens_BT = torch.randint(256, (b, t), generator=torch.Generator().manual_seed(1))
                if options.only in {"", "layer"}:
                    layers(made, tokens_BT, options)
                for prefill in (False, True):
                    if options.only in {"", "prefill" if prefill else "forward"}:
                        forward(made, tokens_BT, options, prefill=prefill)
                if options.only in {"", "decode"}:
                    decode(made, tokens_BT, options)


if __name__ == "__main__":
    main()
