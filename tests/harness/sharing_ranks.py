"""Trains one model on two ranks, forks of one process that has loaded everything: `python sharing_ranks.py MODEL HOW FILE`.

Nothing has run a backward pass before the fork: autograd takes none after one. The first rank writes losses and whole weights.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from test_trainer import RUN, case, trainer

from modbench.harness.machine.process.torchrun import Ranks
from modbench.harness.training.parallel import whole_state

WORLD = 2


def main(model: str, how: str, file: Path) -> None:
    other = os.fork()
    rank = 1 if other == 0 else 0
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}.met", rank=rank, world_size=WORLD)
    ranks = Ranks(rank, WORLD, rank)
    made = trainer(case(model), RUN.model_copy(update={"parallel": how}), ranks=ranks)
    made.train()
    weights = whole_state(made.model, ranks)
    if rank == 0:
        torch.save({"loss": made.curve["loss"], "weights": weights}, file)
    torch.distributed.destroy_process_group()
    if rank:
        os._exit(0)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
