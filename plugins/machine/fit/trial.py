"""One trial of the fit pass, a process of its own: prints whether a training step fits the budget, and what ran."""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

from modbench.extend import Case, child_process, user_code

# Memory that a process maps for itself while it works, beyond the step's.
OWN_BYTES = 2**20


def main() -> None:
    """Read a case and a budget, take two steps under the limit, print `{"fits": …, "ran": …}`."""
    child_process.end_with_parent()
    request = json.load(sys.stdin)
    user_code.settle()
    case = Case.model_validate(request["case"])

    from modbench.extend import Subject, missing_after

    warm_up(case)
    limit(case.grid_point.device, int(request["memory_limit"]))
    try:
        subject = Subject(case, 0)
        tokens_BT = subject.inputs(0, 1)[0]
        subject.module.train()
        for _ in range(2):
            subject.train_step(tokens_BT)
    except Exception as error:
        if missing_after(error).kind == "oom":
            _answer(fits=False)
            return
        raise
    _answer(fits=True)


def _answer(*, fits: bool) -> None:
    print(json.dumps({"fits": fits, "ran": user_code.ran()}))  # noqa: T201  # the answer


def warm_up(case: Case) -> None:
    """Take a step of a few tokens, so that libraries create their threads and tables before the limit is set."""
    from modbench.extend import Subject

    few = {"seq_len": min(8, case.grid_point.seq_len), "batch_size": 1}
    small = case.model_copy(update={"grid_point": case.grid_point.model_copy(update=few)})
    subject: Any = Subject(small, 0)
    subject.train_step(subject.inputs(0, 1)[0])
    del subject
    gc.collect()


def limit(device: str, budget: int) -> None:
    """Limit further allocations to `budget` B."""
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()
        # The limit is on all that the allocator holds; libraries' workspaces exist before the step.
        share = (torch.cuda.memory_reserved() + budget) / torch.cuda.get_device_properties(0).total_memory
        if share > 1:
            raise ValueError(f"fit.memory_limit {budget} B and what is in use are more than this GPU has")
        torch.cuda.set_per_process_memory_fraction(share)
        return
    import resource
    from pathlib import Path

    status = Path("/proc/self/status").read_text(encoding="ascii")
    data = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (data + budget + OWN_BYTES, hard))


if __name__ == "__main__":
    main()
