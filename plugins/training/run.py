"""`modbench train`: trains one model, in this process or on the ranks of torchrun, and leaves a run folder."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modbench.extend import (
    Estimate,
    IncompleteError,
    ModbenchError,
    Overrides,
    RunFolder,
    Slots,
    StepProgress,
    Tracker,
    UsageError,
    UserModelCosts,
    aligned,
    api,
    atomic_files,
    certificate,
    environment,
    estimate,
    exit_codes,
    graceful_stop,
    grouped,
    human_duration,
    lock,
    model_specs,
    of_cell,
    override,
    parallel,
    parse_suite,
    plan,
    run_folder,
    stopping,
    torchrun,
    unsolved_variants,
    worker,
    workspace,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modbench.extend import Job, Plan, Progress, Ranks

LOSS = "loss/val"
METRICS = ("flops/train_step", LOSS, "loss/val_causal", "loss/gap", "bpb/val")


def make_plan(model: str, flags: Overrides) -> Plan:
    """Plan the training of one model on a corpus. `--seq-len` and `--batch-size` set the training batch.

    Raises:
        UsageError: if a flag is invalid, or the plan would train anything but one model.
    """
    seq_len, batch_size = (
        _single_value("--seq-len", flags.seq_len, 256),
        _single_value("--batch-size", flags.batch_size, 8),
    )
    name, options = model_specs.parse_single(model, flags.option)
    data = {
        "name": "train",
        "metrics": METRICS,
        "grid": {"seq_len": [seq_len], "batch_size": [batch_size]},
        "variants": [{"model": name, "options": dict(options)}],
        "train": {"seq_len": seq_len, "batch_size": batch_size},
    }
    costs = UserModelCosts()
    suite = override(parse_suite(data, "command line"), replace(flags, seq_len=(), batch_size=(), option={}), costs)
    unsolved_variants(suite)  # models and keys that do not exist are refused before the corpus is read
    text = plan.read_corpus(suite)
    planned = plan.make_plan(suite, device=api.device_named(suite.device), text=text, costs=costs)
    trained = dict.fromkeys(job.comparison.variants[0].id for job in planned.jobs if job.protocol.train is not None)
    if len(trained) != 1:
        raise UsageError(
            f"this would train {', '.join(trained) or 'nothing'}: a training run has one model and a metric such as loss/val. "
            "`modbench run` takes lists."
        )
    return api.with_titles(planned, flags.title)


def _single_value(flag: str, values: tuple[int, ...], default: int) -> int:
    """The only value of a flag."""
    if len(values) > 1:
        raise UsageError(f"{flag} {','.join(map(str, values))}: a training run has one. `modbench run` takes lists.")
    return values[0] if values else default


def run(resolved: Plan, out: str | None, command: list[str]) -> api.Finished | None:
    """Train, evaluate and render. Under torchrun every rank calls this, and the first one writes.

    If the folder holds the same run, interrupted, it is continued.

    Returns:
        The finished run; None on a rank that is not the first.

    Raises:
        UsageError: if the folder holds something else.
        IncompleteError: if the run was interrupted; its checkpoint is kept.
    """
    ranks, start = torchrun.from_environment(), time.monotonic()
    for job in resolved.jobs:
        if job.protocol.train is not None:
            ranks.check(job.protocol.train)
    with parallel.together(ranks, resolved.device):
        folder = _folder(resolved, out, command, ranks)
        stop = stopping.Stop(_end_at_a_checkpoint)
        # Under torchrun the signals are its own: it ends all ranks together.
        signals = stopping.signals(stop) if ranks.world == 1 else contextlib.nullcontext()
        try:
            with signals, lock.hold(folder.path) if ranks.first else contextlib.nullcontext() as held:
                rest = [job for job in resolved.jobs if not folder.record(job).exists()]
                tracker = _tracker(resolved, rest, folder, stop, held) if held is not None else None
                with tracker or contextlib.nullcontext():
                    for job in rest:
                        if held is not None:
                            held.check()
                        if ranks.first or job.protocol.train is not None:
                            _run_job(job, folder, ranks, tracker)
                rendered = _finish(folder, start) if ranks.first else None
        except (KeyboardInterrupt, graceful_stop.Stopped):
            raise IncompleteError(f"{stop.interrupted}. {_how_to_continue(resolved, folder)}") from None
        except (OSError, graceful_stop.CannotWrite) as error:
            refused = error if isinstance(error, OSError) else error.__cause__
            assert isinstance(refused, OSError)
            if refused.errno not in graceful_stop.DISK:
                raise
            where = refused.filename or folder.path
            raise ModbenchError(
                f"{where}: {refused.strerror}. Make room there. {_how_to_continue(resolved, folder)}"
            ) from error
        finally:
            graceful_stop.request_stop(wanted=False)
    return rendered


def _how_to_continue(resolved: Plan, folder: RunFolder) -> str:
    """Which files of an unfinished run are kept, and the command that continues it."""
    done = all(folder.record(job).exists() for job in resolved.jobs)
    kept = (
        "Training is done: "
        if done
        else "The checkpoint is kept: "
        if run_folder.has_checkpoint(folder.path)
        else "There is no checkpoint yet: "
    )
    return f"{kept}the same command with -o {folder.path} continues."


def _finish(folder: RunFolder, start: float) -> api.Finished:
    """Write the end of the run and its views."""
    finished = {
        "ended": atomic_files.now(),
        "wall_s": time.monotonic() - start,
        "timed_wall_s": 0.0,
        "parent_cpu_s": 0.0,
    }
    folder.write_finished(finished)
    rendered = api.report(str(folder.path))
    return replace(rendered, wall_s=time.monotonic() - start)


def _end_at_a_checkpoint() -> None:
    """Let training end at its next checkpoint, after the first Ctrl-C."""
    graceful_stop.request_stop()
    exit_codes.remark("training ends at a checkpoint. Press Ctrl-C again to stop now.")  # to who pressed it


def _tracker(resolved: Plan, rest: Sequence[Job], folder: RunFolder, stop: stopping.Stop, held: lock.Lock) -> Tracker:
    """Counts the jobs that are left and writes the progress."""
    left = resolved.model_copy(update={"jobs": tuple(rest)})
    return Tracker(left, [Slots(left.jobs, 1)], folder, whole=resolved, resumable=False, stop=stop, lock=held)


def _run_job(job: Job, folder: RunFolder, ranks: Ranks, tracker: Tracker | None) -> None:
    """Run one job in this process; the first rank has a tracker."""
    steps = StepProgress(sys.stderr)

    def tell(state: Progress | str) -> None:
        steps(state)
        if tracker is not None:
            tracker.tick()

    grid_point = workspace.Workspace(folder.path, job.name, ranks, tell, keeps_weights=True)
    if tracker is not None:
        tracker.started(job)
    with workspace.at(grid_point):
        record = worker.make_record(job)
        if tracker is not None:
            folder.write_record(record)
            grid_point.tidy()
            tracker.ended(job)


def _folder(resolved: Plan, out: str | None, command: list[str], ranks: Ranks) -> RunFolder:
    """The run's folder, created by the first rank, which broadcasts its path to the others."""
    message: list[Path | UsageError | None] = [None]
    if ranks.first:
        try:
            message[0] = _open_folder(resolved, out, command).path
        except UsageError as error:
            message[0] = error
    if ranks.world > 1:
        import torch

        torch.distributed.broadcast_object_list(message, 0)
    (received,) = message
    if isinstance(received, UsageError):
        raise received
    assert received is not None
    return RunFolder(received)


def _open_folder(resolved: Plan, out: str | None, command: list[str]) -> RunFolder:
    """Create the folder, or open it if it holds the same run."""
    if out is not None and (Path(out) / "run.json").exists():
        stored = run_folder.read(out)
        if stored.plan != resolved:
            raise UsageError(f"--out {out!r} holds another run: name a new folder, or repeat that run's settings.")
        return RunFolder(Path(out))
    where = environment.collect()
    where |= {"machine": certificate.fingerprint(where, resolved.device, resolved.suite.threads), "certificate": None}
    folder = run_folder.create(out, resolved.suite.name)
    folder.write_run(resolved, where, command, atomic_files.now())
    return folder


def as_text(finished: api.Finished) -> str:
    """The loss in one line; then how it was trained, the other metrics, and the paths of weights and report."""
    seeds: dict[str, list[int]] = {}
    for job in finished.loaded.runs:
        run = job.protocol.train
        assert run is not None
        length = f"{run.steps} steps of {run.tokens_per_step} tokens, rate {run.lr:.3g}"
        seeds.setdefault(length, []).append(job.protocol.seed)
    rows = {row["metric"]: row for row in finished.loaded.cases.to_dict("records")}
    answer = rows.pop(LOSS if LOSS in rows else next(iter(rows)))
    labels = of_cell(answer["labels"])
    lines = [f"{answer['case_id']}: {answer['metric']} {_cell(answer)}" + f" ({', '.join(labels)})" * bool(labels)]
    lines += [f"{length}, seed {', '.join(map(str, of))}" for length, of in seeds.items()]
    table = [(f"  {metric}", _cell(row)) for metric, row in rows.items()]
    labelled = grouped((label, metric) for metric, row in rows.items() for label in of_cell(row["labels"]))
    notes = [f"{label}: {'also ' * (label in labels)}{', '.join(metrics)}" for label, metrics in labelled.items()]
    took = f" ({human_duration(finished.wall_s)})" if finished.wall_s else ""
    ends = [f"weights: {finished.folder / 'weights'}", f"report: {finished.report}{took}"]
    return "\n".join([*lines, *(aligned(table) if table else ()), *notes, "", *ends])


def _cell(row: dict[Any, Any]) -> str:
    if row["status"] != "ok":
        return f"{row['status']}: {row['reason']}"
    return estimate(Estimate.of(row["value"], row["ci_low"], row["ci_high"], unit=row["unit"]))
