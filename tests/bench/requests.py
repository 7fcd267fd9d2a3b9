"""Whole requests of a dense model beside the sum of their parts, measured apart: within 10 %?

    python tests/bench/requests.py                             # d 256, 4 layers, 256+64 tokens, batch 1: about a minute
    python tests/bench/requests.py --input-len 512 --output-len 128 --batch-size 1,4

It runs the suite `decode` with `--input-len` and `--output-len`, and prints the table `requests.csv` of that run. `by_cpu` is
the same quotient of the CPU times of the one thread that works, which other processes disturb less; where the machine is not
idle, it decides.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import pandas as pd

from modbench import run

# Largest difference from 1.
MOST = 0.10


def main() -> int:
    """Measure, print, and return 1 if the CPU time of a request is further from its prediction."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input-len", type=int, default=256, help="tokens of the prompt")
    parser.add_argument("--output-len", type=int, default=64, help="tokens that are generated")
    parser.add_argument("--batch-size", default="1", help="comma list")
    parser.add_argument("--processes", type=int, default=3)
    given = parser.parse_args()
    prompt, new = given.input_len, given.output_len
    with tempfile.TemporaryDirectory() as folder:
        done = run(
            "decode",
            model="dense",
            only=True,
            input_len=prompt,
            output_len=new,
            seq_len=prompt,
            batch_size=given.batch_size,
            processes=given.processes,
            out=f"{folder}/run",
            settings={"decode.tokens": new, "metrics": ["latency/prefill", "latency/decode", "latency/request"]},
        )
        found = pd.read_csv(done.path / "requests.csv")
        sizes = done.cases.drop_duplicates("case_id").set_index("case_id").batch_size
        samples = done.samples.assign(batch_size=done.samples.case_id.map(sizes))
        cpu_s = samples.groupby(["metric", "batch_size"]).cpu_s.median()
    parts = [found.batch_size.map(cpu_s[f"latency/{part}"]) for part in ("request", "prefill", "decode")]
    found["by_cpu"] = parts[0] / (parts[1] + found.new_tokens * parts[2])
    print(found.drop(columns=["case_id", "reason"]).to_string(index=False))
    apart = (found.by_cpu - 1).abs()
    return int(not bool((apart <= MOST).all()))


if __name__ == "__main__":
    sys.exit(main())
