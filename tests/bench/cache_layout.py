"""Where a routed block keeps keys and values: compact rows with lengths, or a full-size cache with a validity mask?

    python tests/bench/cache_layout.py

Both hold the same tokens (12.5 % of the context, at the same places) and compute the same attention. Timed is the attention of
one block in one decode step. The masked layout reads every slot and needs the mask; the compact one reads only stored tokens.
"""

from __future__ import annotations

import argparse

import torch
from interleaved import HEADER, Ratio, add_options, compare, print_row, save
from torch import Tensor
from torch.nn import functional as F


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser, rounds=40)
    options = parser.parse_args()
    rows: list[tuple[str, str, Ratio]] = []
    print(HEADER)
    for batch_size in (1, 8):
        for context in (1024, 4096):
            torch.manual_seed(0)
            q_BHd, (k_BHSd, v_BHSd) = torch.randn(batch_size, 8, 1, 64), torch.randn(2, batch_size, 8, context, 64)
            held = context // 8
            place_BS = torch.stack([torch.randperm(context)[:held].sort().values for _ in range(batch_size)])
            mask_BS = torch.zeros(batch_size, context, dtype=torch.bool).scatter_(1, place_BS, True)
            index = place_BS[:, None, :, None].expand(-1, 8, -1, 64)
            few_k, few_v = (x.gather(2, index) for x in (k_BHSd, v_BHSd))

            def masked(q: Tensor = q_BHd, k: Tensor = k_BHSd, v: Tensor = v_BHSd, m: Tensor = mask_BS) -> Tensor:
                return F.scaled_dot_product_attention(q, k, v, attn_mask=m[:, None, None])

            def compact(q: Tensor = q_BHd, k: Tensor = few_k, v: Tensor = few_v) -> Tensor:
                return F.scaled_dot_product_attention(q, k, v)

            torch.testing.assert_close(masked(), compact(), rtol=1e-4, atol=1e-5)
            ratio = compare({"masked": masked, "compact": compact}, "masked", rounds=options.rounds)["compact"]
            rows.append((f"compact, B {batch_size}, context {context}, {held} held", "full size and mask", ratio))
            print_row(*rows[-1])
    if options.json:
        save(options.json, rows)


if __name__ == "__main__":
    main()
