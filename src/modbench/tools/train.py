"""What `modbench train` does: one model trained in this process, or on the ranks that torchrun started; a run folder is left."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from modbench import api
from modbench.harness.core import files, torchrun
from modbench.harness.core.errors import IncompleteError, UsageError
from modbench.harness.core.files import write_atomically
from modbench.harness.core.units import human_duration
from modbench.harness.execution import worker
from modbench.harness.machine import certificate, environment
from modbench.harness.planning import plan
from modbench.harness.planning.overrides import Overrides, override
from modbench.harness.planning.suite import parse_suite
from modbench.harness.results import run_folder, workspace
from modbench.harness.results.run_folder import RunFolder
from modbench.harness.training import parallel

if TYPE_CHECKING:
    from modbench.harness.core.case import UnitOfWork
    from modbench.harness.core.torchrun import Ranks
    from modbench.harness.planning.plan import Plan
    from modbench.harness.training.trainer import Told

METRICS = ("flops/train_step", "loss/val", "loss/val_causal", "loss/gap", "bpb/val")
# Seconds between lines where nobody looks.
LINE_S = 15.0


@dataclass
class Speaker:
    """Says how far training is: one line written anew on a terminal, a line now and then elsewhere."""

    stream: TextIO
    said: float = 0.0

    def __call__(self, told: Told) -> None:
        """Say it, if it is time."""
        now = time.monotonic()
        over = told.step == told.steps
        if not self.stream.isatty() and now - self.said < LINE_S and not over:
            return
        self.said = now
        with contextlib.suppress(OSError):  # a reader that went away must not end a run
            if self.stream.isatty():
                print(f"\r\x1b[K{told}", end="\n" if over else "", file=self.stream, flush=True)
            else:
                print(told, file=self.stream, flush=True)


def make_plan(model: str, flags: Overrides) -> Plan:
    """A plan of one model trained on a corpus; flags that name the grid's shape name the batch here.

    Raises:
        UsageError: if anything asked for cannot be.
    """
    seq_len, batch_size = one("--seq-len", flags.seq_len, 256), one("--batch-size", flags.batch_size, 8)
    data = {
        "name": "train",
        "metrics": METRICS,
        "grid": {"seq_len": [seq_len], "batch_size": [batch_size]},
        "arms": [{"model": model}],
        "train": {"seq_len": seq_len, "batch_size": batch_size},
    }
    suite = override(parse_suite(data, "command line"), replace(flags, seq_len=(), batch_size=()))
    text = plan.read_corpus(suite)
    made = plan.make_plan(suite, device=api.device_named(suite.device), text=text)
    trained = dict.fromkeys(unit.comparison.arms[0].id for unit in made.units if unit.protocol.train is not None)
    if len(trained) != 1:
        raise UsageError(
            f"this would train {', '.join(trained) or 'nothing'}: a training run has one model and a metric such as loss/val. "
            "`modbench run` takes lists."
        )
    return made


def one(flag: str, values: tuple[int, ...], default: int) -> int:
    """The only value of a flag.

    Raises:
        UsageError: if there are several.
    """
    if len(values) > 1:
        raise UsageError(f"{flag} {','.join(map(str, values))}: a training run has one. `modbench run` takes lists.")
    return values[0] if values else default


def run(resolved: Plan, out: str | None, command: list[str]) -> api.Finished | None:
    """Train, evaluate and render; under torchrun every rank calls this, and the first one writes.

    A folder that holds the same run, interrupted, is gone on with.

    Returns:
        What was made; None on a rank that is not the first.

    Raises:
        UsageError: if the folder holds something else.
        IncompleteError: if it was interrupted; the checkpoint is kept.
    """
    mine, start = torchrun.from_environment(), time.monotonic()
    for unit in resolved.units:
        if unit.protocol.train is not None:
            mine.check(unit.protocol.train)
    with parallel.together(mine, resolved.device):
        folder = _folder(resolved, out, command, mine)
        try:
            for unit in resolved.units:
                if not folder.record(unit).exists() and (mine.first or unit.made_in == "train"):
                    _make(unit, folder, mine)
        except KeyboardInterrupt:
            raise IncompleteError(
                f"interrupted. The checkpoint is kept: the same command with -o {folder.path} goes on from there."
            ) from None
    if not mine.first:
        return None
    finished = {"ended": files.now(), "wall_s": time.monotonic() - start, "timed_wall_s": 0.0, "parent_cpu_s": 0.0}
    folder.write_finished(finished)
    made = api.report(str(folder.path))
    return replace(made, wall_s=time.monotonic() - start)


def _make(unit: UnitOfWork, folder: RunFolder, mine: Ranks) -> None:
    """Run one unit in this process."""
    here = workspace.Workspace(folder.path, unit.name, mine, Speaker(sys.stderr), keeps_weights=True)
    with workspace.at(here):
        record = worker.make_record(unit)
        if mine.first:
            write_atomically(folder.record(unit), record.model_dump_json())
            here.tidy()


def _folder(resolved: Plan, out: str | None, command: list[str], mine: Ranks) -> RunFolder:
    """The run's folder, made by the first rank and told to the others."""
    where: list[Any] = [None]
    if mine.first:
        try:
            where[0] = str(_first_folder(resolved, out, command).path)
        except UsageError as error:
            where[0] = error
    if mine.world > 1:
        import torch

        torch.distributed.broadcast_object_list(where, 0)
    if isinstance(where[0], UsageError):
        raise where[0]
    return RunFolder(Path(where[0]))


def _first_folder(resolved: Plan, out: str | None, command: list[str]) -> RunFolder:
    if out is not None and (Path(out) / "run.json").exists():
        stored = run_folder.read(out)
        if stored.plan != resolved:
            raise UsageError(f"--out {out!r} holds another run: name a new folder, or give the settings of that one.")
        return RunFolder(Path(out))
    where = environment.collect()
    where |= {"machine": certificate.fingerprint(where, resolved.device, resolved.suite.threads), "certificate": None}
    folder = run_folder.create(out, resolved.suite.name)
    folder.write_run(resolved, where, command, files.now())
    return folder


def as_text(made: api.Finished) -> str:
    """What came out, in a few lines."""
    lines = []
    for unit in made.loaded.runs:
        (case,) = unit.comparison.arms
        run = unit.protocol.train
        assert run is not None
        how = f"{run.steps} steps of {run.tokens_per_step} tokens, rate {run.lr:.3g}"
        lines.append(f"{case.id}, seed {unit.protocol.seed}: {how}")
    for row in made.loaded.cases.to_dict("records"):
        if row["status"] == "ok":
            between = "" if math.isnan(row["ci_low"]) else f" [{row['ci_low']:.6g}, {row['ci_high']:.6g}]"
            lines.append(f"  {row['metric']:<16} {row['value']:.6g} {row['unit']}{between}")
        else:
            lines.append(f"  {row['metric']:<16} {row['status']}: {row['reason']}")
    took = f" ({human_duration(made.wall_s)})" if made.wall_s else ""
    return "\n".join([*lines, "", f"weights: {made.folder / 'weights'}", f"report: {made.report}{took}"])
