"""`modbench.run`, `modbench.plan` and `modbench.resume`: the commands from Python, with the flags' names."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

from modbench import api
from modbench.harness.core import catalogue
from modbench.harness.core.launching import works_apart
from modbench.harness.core.public import public
from modbench.harness.core.units import parse_duration
from modbench.harness.execution.launcher_profile import read_profile
from modbench.harness.machine import accelerators
from modbench.progress import in_notebook, progress_for
from modbench.python.given import flags_of, including, merged, texts, words
from modbench.python.planned import Planned
from modbench.reports.notebook.frames import Results
from modbench.reports.sentences import nothing_measured
from modbench.reports.terminal import summary

T = TypeVar("T")
# One value, or several.
Some: TypeAlias = T | Sequence[T]


@public("mb.run('quick', model='mod')")
def run(
    suite: str | Path = "quick",
    *,
    model: Some[str] | None = None,
    only: bool = False,
    capacity: Some[float] | None = None,
    router: Some[str] | None = None,
    seq_len: Some[int] | None = None,
    batch_size: Some[int] | None = None,
    dtype: Some[str] | None = None,
    device: str | None = None,
    compile: bool = False,  # noqa: A002  # the flag's name
    seeds: Some[int] | None = None,
    corpus: str | Path | None = None,
    effort: str | None = None,
    select: str | None = None,
    out: str | Path | None = None,
    timeout: str | None = None,
    launcher: str = "local",
    launcher_profile: str | Path | None = None,
    options: Sequence[str] = (),
    include: Some[str | Path] | None = None,
    quiet: bool = False,
    settings: Mapping[str, object] | None = None,
    **more: object,
) -> Results:
    """Measure a suite and write its report, as `modbench run` does, with the same names.

    Works in a script without an `if __name__ == "__main__"` guard, and in a notebook.

    Args:
        suite: a shipped suite's name, or a TOML file.
        model: keep only these models (the anchor stays), or add your own: `FILE.py:build`, `FILE.py:build(OPTION=VALUE)`.
        only: compare the models of `model` alone; the first one is the baseline.
        capacity: capacities.
        router: routers, or a class of your own as `FILE.py:ROUTER`.
        seq_len: sequence lengths.
        batch_size: batch sizes.
        dtype: number formats: fp32, bf16, fp16.
        device: cpu or cuda; None: cuda if there is a GPU.
        compile: wrap every model in torch.compile.
        seeds: seeds of weights and data.
        corpus: text to train on.
        effort: smoke, draft, standard or rigorous.
        select: only matching cases, such as `mod and not c0.5` (the flag `-k`).
        out: the run folder; None: runs/SUITE-DATE-N.
        timeout: longest time of a unit, such as `10min`.
        launcher: what starts the work: local or slurm.
        launcher_profile: file with options of the launcher.
        options: options of the launcher.
        include: folders of your own that are searched for additions, in this process from now on.
        quiet: show no progress.
        settings: further keys of a suite whose names are no Python names, such as `{"train.steps": 100}`.
        **more: further keys of a suite, such as `d_model=64`.

    Returns:
        The run's tables (`cases`, `comparisons`, `samples`, `losses`), its folder and report.

    Raises:
        UsageError: if something that was asked is impossible; nothing was started then.
        IncompleteError: if it was interrupted; finished units are kept, and `resume` continues.
        NothingMeasuredError: if every cell failed or was skipped; `load` reads its tables, which say why.
    """
    texts(suite=suite, out=out, select=select, timeout=timeout, launcher=launcher, launcher_profile=launcher_profile)
    including(include)
    given = {
        "model": model,
        "only": only,
        "capacity": capacity,
        "router": router,
        "seq_len": seq_len,
        "batch_size": batch_size,
        "dtype": dtype,
        "device": device,
        "compile": compile,
        "seeds": seeds,
        "effort": effort,
        "corpus": None if corpus is None else str(corpus),
    }
    flags = flags_of(given, merged(settings, more))
    timeout_s = parse_duration(timeout, "timeout") if timeout is not None else None
    catalogue.find("launchers", launcher)
    own = (*(read_profile(str(launcher_profile)) if launcher_profile else ()), *options)
    elsewhere = works_apart(launcher)
    plan = api.make_plan(str(suite), flags.overrides(), select, only_plan=elsewhere)
    api.check_launcher(plan, launcher, own)
    folder = api.new_folder(plan, None if out is None else str(out))
    if not quiet:
        gap = None if elsewhere else accelerators.not_measured(plan.device)
        print(*filter(None, [gap, summary.opening(plan)]), sep="\n", file=sys.stdout if in_notebook() else sys.stderr)
    made = api.run(
        plan,
        folder,
        command=["modbench", "run", str(suite), *words(flags), *_words(select, out, launcher, include, own)],
        progress=progress_for(plan, folder, quiet=quiet),
        launcher=launcher,
        options=own,
        timeout_s=timeout_s,
    )
    nothing_measured.check(made.loaded, made.report)
    return Results(made.loaded, made.wall_s)


def _words(
    select: str | None,
    out: str | Path | None,
    launcher: str,
    include: Some[str | Path] | None,
    options: Sequence[str],
) -> list[str]:
    """The words of a command line that are no flags of a suite."""
    folders = [include] if isinstance(include, str | Path) else include or ()
    more = [("-k", select), ("--out", out), ("--launcher", launcher if launcher != "local" else None)]
    more += [("--include", folder) for folder in folders]
    said = [str(word) for flag, value in more if value is not None for word in (flag, value)]
    return [*said, *(["--", *options] if options else [])]


@public("mb.plan('quick', model='mod')")
def plan(
    suite: str | Path = "quick",
    *,
    select: str | None = None,
    include: Some[str | Path] | None = None,
    settings: Mapping[str, object] | None = None,
    **flags: object,
) -> Planned:
    """The cases of a suite with predicted FLOPs, memory and time, as `modbench plan` shows them; nothing is run.

    Args:
        suite: a shipped suite's name, or a TOML file.
        select: only matching cases.
        include: folders of your own that are searched for additions.
        settings: further keys of a suite whose names are no Python names.
        **flags: as of `run`: `model`, `capacity`, `seq_len`, `effort` and so on, and further keys of a suite.

    Raises:
        UsageError: if the suite, a flag or the selection is invalid.
    """
    texts(suite=suite, select=select)
    including(include)
    asked = flags_of({}, merged(settings, flags)).overrides()
    return Planned(api.make_plan(str(suite), asked, select, only_plan=True))


@public("mb.resume('runs/quick-1')")
def resume(
    run_folder: str | Path,
    *,
    retry_failed: bool = False,
    steal: bool = False,
    trust: bool = False,
    timeout: str | None = None,
    options: Sequence[str] | None = None,
    quiet: bool = False,
) -> Results:
    """Run the missing units of an interrupted run, as `modbench resume` does.

    Args:
        run_folder: its folder.
        retry_failed: also run again what failed.
        steal: take the folder from a runner on another host that gives no sign of life.
        trust: use files that you did not begin the run with, or that changed.
        timeout: longest time of a unit, such as `10min`.
        options: options of the launcher; None: those of the run.
        quiet: show no progress.

    Raises:
        UsageError: if the folder holds no run that can be continued here.
        IncompleteError: if it was interrupted again.
        NothingMeasuredError: if every cell failed or was skipped.
    """
    texts(run_folder=run_folder, timeout=timeout)
    including(None)
    made = api.resume(
        str(run_folder),
        functools.partial(progress_for, quiet=quiet),
        retry_failed=retry_failed,
        steal=steal,
        options=options,
        trust=trust,
        timeout_s=parse_duration(timeout, "timeout") if timeout is not None else None,
    )
    nothing_measured.check(made.loaded, made.report)
    return Results(made.loaded, made.wall_s)
