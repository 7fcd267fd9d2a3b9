"""Shared by the bench scripts: time calls in interleaved blocks with the harness, as ratios with intervals.

One process and one thread are one process, whatever the number of rounds. The interval is the order-statistic interval of the
median over the blocks of this process: it says nothing about other processes, machines or weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from modbench.harness.call.timing.interleave import Call, Clock, Effort, Session
from modbench.harness.machine import environment
from modbench.harness.stats.against_baseline import Process
from modbench.harness.stats.effects import over_processes
from modbench.reports.reasons import in_words

HEADER = """\
| what | against | ratio | 95 % within this process | ms | ms against | blocks |
| --- | --- | --- | --- | --- | --- | --- |"""


@dataclasses.dataclass(frozen=True)
class Ratio:
    """The anchor's time over the variant's; above 1 the variant is faster.

    Attributes:
        value: median over blocks; None where nothing was measured.
        low: lower end of the 95 % within-process interval; None where there is none.
        high: upper end.
        variant_s: median seconds of one call of the variant.
        baseline_s: the same of the anchor.
        blocks: blocks that both stood in.
        reason: how far the interval reaches, or why there is none.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    variant_s: float | None = None
    baseline_s: float | None = None
    blocks: int = 0
    reason: str | None = None


def compare(
    calls: dict[str, Callable[[], object]], anchor: str, *, rounds: int, warm_up_calls: int = 5, seed: int = 0
) -> dict[str, Ratio]:
    """Time every variant in blocks with its anchor, in this process and on one thread; a variant that raises ends the script.

    Args:
        calls: variant to the timed function; each call must do the same work.
        anchor: the variant that all others are compared with.
        rounds: number of rounds, each of which visits every variant twice; at least six for an interval.
        warm_up_calls: calls of every variant before the first block.
        seed: draws the orders.

    Returns:
        Every other variant's ratio.

    Raises:
        ValueError: if there is no round.
    """
    if rounds < 1:
        raise ValueError(f"rounds = {rounds} must be at least 1, and at least 6 for an interval")
    torch.set_num_threads(1)
    session = Session(
        {variant: _unnumbered(call) for variant, call in calls.items()},
        anchor,
        rng=random.Random(seed),
        clock=Clock(threads=1),
        on_error=lambda _variant, _error: None,
        survivable=(),
    )
    samples = session.measure(Effort(rounds, warm_up_calls)).samples
    ratios = {}
    for variant in calls:
        if variant != anchor:
            within = Process(samples, anchor).of_blocks(variant).tolist()
            effect = over_processes([statistics.median(within)], within)
            ratios[variant] = Ratio(
                math.exp(-effect.value),
                None if effect.high is None else math.exp(-effect.high),
                None if effect.low is None else math.exp(-effect.low),
                statistics.median(samples[variant]["wall_s"]),
                statistics.median(samples[anchor]["wall_s"]),
                len(within),
                in_words(effect.reason),
            )
    return ratios


def _unnumbered(call: Callable[[], object]) -> Call:
    return lambda _number: call()


def print_row(what: str, against: str, ratio: Ratio) -> None:
    """Print a row under `HEADER`; without a number, a dash and the reason."""
    interval = ratio.reason if ratio.low is None else f"{ratio.low:.3f}–{ratio.high:.3f}"
    cells = [what, against, _number(ratio.value), str(interval)]
    cells += [_number(seconds and seconds * 1e3) for seconds in (ratio.variant_s, ratio.baseline_s)]
    print(f"| {' | '.join(cells)} | {ratio.blocks} |", flush=True)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def add_options(parser: argparse.ArgumentParser, rounds: int) -> None:
    """Add `--rounds` with its default, and `--json`."""
    parser.add_argument("--rounds", type=int, default=rounds, help="blocks per comparison, six or more (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="save the rows and the machine here")


def save(path: Path, rows: Sequence[tuple[str, str, Ratio]], **about: Any) -> None:
    """Write rows as JSON, with the machine and what else is needed to repeat them."""
    content = {
        **about,
        "machine": environment.collect(),
        "threads": torch.get_num_threads(),
        "rows": [{"what": what, "against": against, **dataclasses.asdict(ratio)} for what, against, ratio in rows],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
