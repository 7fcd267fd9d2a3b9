"""Where the time of a forward pass goes: shares of its CPU time by the named ranges of the model code.

    python tests/bench/shares.py --seq-len 512

Profiling costs some microseconds per operator, so small parts look larger than they are.
"""

from __future__ import annotations

import argparse

import torch
from torch.profiler import ProfilerActivity, profile

from modbench.harness.core.config import ModelConfig
from modbench.harness.registry import catalogue

PARTS = ("Block", "router", "top-k and sort", "gather", "chosen tokens", "experts", "scatter")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="mod,mode_staged,mode_integrated,moe")
    parser.add_argument("--seq-len", type=int, default=512)
    parser.add_argument("--d-model", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| model | {' | '.join(PARTS)} | embedding, norm, head and the rest |")
    print(f"| --- |{' --- |' * (len(PARTS) + 1)}")
    for name in options.model.split(","):
        shape = {"d_model": options.d_model, "n_layers": options.layers, "max_seq_len": options.seq_len}
        config = ModelConfig.model_validate({**catalogue.model_options(name), **shape})
        module = catalogue.load("models", name).build(config).eval()
        tokens_BT = torch.randint(config.vocab_size, (1, options.seq_len))
        with torch.no_grad():
            for _ in range(5):
                module(tokens_BT)
            with profile(activities=[ProfilerActivity.CPU]) as seen, torch.profiler.record_function("all"):
                for _ in range(options.rounds):
                    module(tokens_BT)
        times = {event.key: event.cpu_time_total for event in seen.key_averages()}
        whole = times["all"]
        # A routed block's mixer and MLP belong to "chosen tokens"; an expert block's other half belongs to the rest.
        shares = [times.get(part, 0.0) / whole for part in PARTS]
        print(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} | {1 - sum(shares):.1%} |")


if __name__ == "__main__":
    main()
