"""Every run goes through here, from commands and from Python: plan, prepare, run, resume and report, without printing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from modbench.harness.core import atomic_files
from modbench.harness.core.errors import IncompleteError, ModbenchError, UsageError
from modbench.harness.domain.suite import EFFORTS
from modbench.harness.execution import resuming, runner, stopping
from modbench.harness.execution.launcher import is_remote_launcher, read_profile
from modbench.harness.execution.user_model_costs import UserModelCosts
from modbench.harness.machine import accelerators, certificate, environment
from modbench.harness.machine.process import torchrun
from modbench.harness.planning import plan
from modbench.harness.planning.load_suite import load_suite
from modbench.harness.planning.overrides import Overrides, override, with_variants
from modbench.harness.planning.variants import unsolved_variants
from modbench.harness.registry import catalogue
from modbench.harness.results import layout, lock
from modbench.harness.results.run_folder import RunFolder, create, has_checkpoint, read
from modbench.reports.output_format import DEFAULT, PAGE

if TYPE_CHECKING:  # reports, and pandas with them, are imported where one is written: a plan needs none
    from collections.abc import Callable, Mapping, Sequence

    from modbench.harness.domain.case import Device
    from modbench.harness.domain.records import Record
    from modbench.harness.planning.plan import Plan
    from modbench.progress_bar import Lines, Live
    from modbench.reports.tables.load import Loaded

__all__ = [
    "Finished",
    "Prepared",
    "device_named",
    "make_plan",
    "new_folder",
    "prepare",
    "report",
    "resume",
    "run",
    "with_titles",
]


# The pass that `--audit` asks for.
AUDIT = "audit"


@dataclass(frozen=True, repr=False)
class Finished:
    """A run with its report.

    Attributes:
        folder: run folder.
        report: HTML file; if it was not written, the first of the files that were.
        wall_s: duration of the whole run in s; None if the report was rendered again.
        loaded: records and tables.
        files: what was written, the report among it; empty if a run made its usual views.
    """

    folder: Path
    report: Path
    wall_s: float | None
    loaded: Loaded
    files: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        return f"<modbench run {str(self.folder)!r}, report {str(self.report)!r}>"


def make_plan(
    suite_name: str,
    flags: Overrides | None = None,
    select: str | None = None,
    *,
    only_plan: bool = False,
    costs: UserModelCosts | None = None,
) -> Plan:
    """Resolve a suite into a plan.

    Args:
        suite_name: name of a shipped suite, or path of a TOML file.
        flags: values that override the suite's.
        select: `-k` expression over case ids.
        only_plan: the plan will not be run here, so a GPU suite may be planned on a machine without a GPU.
        costs: counts users' models; None: a new one.

    Raises:
        UsageError: if the suite, a flag or the selection is invalid.
    """
    flags = flags or Overrides()
    if flags.audit and AUDIT not in catalogue.passes():
        raise UsageError("--audit needs the plug-in 'audit', which is absent.")
    suite, taken = load_suite(suite_name), None
    if flags.variants_from is not None:
        layout.run_file(flags.variants_from)
        from modbench.reports.tables.best_variants import best_variants
        from modbench.reports.tables.load import load

        taken = best_variants(load(Path(flags.variants_from)))
        suite = with_variants(suite, taken, flags)
    costs = costs or UserModelCosts()
    suite = override(suite, flags, costs)
    unsolved_variants(suite)  # models and keys that do not exist are refused before the corpus is read
    text = plan.read_corpus(suite)
    device = device_named(suite.device, present=not only_plan)
    also = (AUDIT,) if flags.audit else ()
    made = plan.make_plan(suite, device=device, select=select, text=text, costs=costs, also=also)
    if flags.audit and not any(case.is_user_model for case in made.cases):
        raise UsageError(
            "--audit: no model here is your own. Add one, such as --model mine.py:build; `modbench audit` audits modbench's."
        )
    made = made.model_copy(update={"variants_from": taken})
    for variant, why in made.no_matches.items() if flags.match is not None else ():
        raise UsageError(
            f"--match {flags.match}: {variant} gets no dense model of equal {flags.match}: {why} --match none leaves it out."
        )
    return with_titles(made, flags.title)


def with_titles(made: Plan, given: Mapping[str, str]) -> Plan:
    """The plan with titles for some of its variants, by their names.

    Raises:
        UsageError: if there is no such variant, or two would have the same name.
    """
    if not given and not any(case.title for case in made.cases):
        return made
    from modbench.reports.tables.titles import titled

    return titled(made, given)


def device_named(name: str | None, *, present: bool = True) -> Device:
    """The named device; without a name, CUDA if there is a GPU, else the CPU.

    Args:
        name: `cpu`, `cuda` or None.
        present: whether the device must exist on this machine.

    Raises:
        UsageError: if CUDA is named and torch sees no GPU.
    """
    import torch

    available = torch.cuda.is_available()
    if present and name == "cuda" and not available:
        raise UsageError(
            f"device 'cuda': torch {torch.__version__} ({accelerators.build()}) sees no CUDA device. Use --device cpu."
        )
    if name is None:
        return "cuda" if available else "cpu"
    return "cuda" if name == "cuda" else "cpu"


def new_folder(resolved: Plan, out: str | None = None) -> RunFolder:
    """Create a run folder: `out`, or `runs/<suite>-<date>-<n>`.

    Raises:
        UsageError: if it cannot be written or is not empty; it is left unchanged then.
    """
    return create(out, resolved.suite.name)


class Prepared(NamedTuple):
    """A run before anything is started.

    Attributes:
        plan: the resolved suite.
        folder: the new run folder.
        options: of the launcher: those of its profile, then those that were given.
        gap: what this machine cannot measure of the plan; None: nothing is missing.
    """

    plan: Plan
    folder: RunFolder
    options: tuple[str, ...]
    gap: str | None


def prepare(
    suite_name: str,
    flags: Overrides,
    select: str | None = None,
    *,
    out: str | None = None,
    launcher: str = "local",
    launcher_profile: str | None = None,
    options: Sequence[str] = (),
) -> Prepared:
    """Resolve a suite, check its launcher, then create the run folder.

    Args:
        suite_name: name of a shipped suite, or path of a TOML file.
        flags: values that override the suite's.
        select: `-k` expression over case ids.
        out: the run folder; None: `runs/<suite>-<date>-<n>`.
        launcher: name of the launcher that starts jobs.
        launcher_profile: file with options of the launcher.
        options: further ones, which override those of the file.

    Raises:
        UsageError: if something in it is invalid; there is no folder then.
        ModbenchError: if what the launcher asks, such as a cluster's scheduler, does not answer.
    """
    catalogue.find("launchers", launcher)
    words = (*(read_profile(launcher_profile) if launcher_profile else ()), *options)
    remote = is_remote_launcher(launcher)  # jobs run on other machines than this one
    resolved = make_plan(suite_name, flags, select, only_plan=remote)
    runner.launcher_for(resolved, launcher, words)
    folder = new_folder(resolved, out)
    return Prepared(resolved, folder, words, None if remote else accelerators.not_measured(resolved.device))


def run(
    resolved: Plan,
    folder: RunFolder,
    *,
    command: list[str],
    progress: Lines | Live,
    launcher: str = "local",
    options: Sequence[str] = (),
    timeout_s: float | None = None,
) -> Finished:
    """Measure a plan into a new folder (see `prepare`) and render its report.

    Args:
        resolved: the plan.
        folder: takes the records.
        command: the command line, for the record.
        progress: shows which jobs have started and ended.
        launcher: name of the launcher that starts jobs.
        options: the launcher's own options.
        timeout_s: seconds that a job may take; None: from its prediction.

    Raises:
        IncompleteError: if it was interrupted; finished jobs are kept.
        UsageError: under torchrun, if another runner holds the folder, or if the launcher does not know an option.
        ModbenchError: if the folder can no longer be written; finished jobs are kept.
    """
    _refuse_ranks("modbench run")
    start = time.monotonic()
    where = environment.collect()
    machine = certificate.fingerprint(where, resolved.device, resolved.suite.threads)
    known = certificate.pooled(machine, EFFORTS["standard"][0])
    where |= {"machine": machine, "certificate": known.as_dict() if known else None}
    with lock.hold(folder.path) as held:
        folder.write_run(resolved, where, command, atomic_files.now(), launcher, options)
        return _run(
            resolved, folder, progress, start, launcher=launcher, options=options, held=held, timeout_s=timeout_s
        )


def resume(
    run_folder: str,
    progress_of: Callable[[Path], Lines | Live],
    *,
    retry_failed: bool = False,
    take_over: bool = False,
    options: Sequence[str] | None = None,
    allow_changed: bool = False,
    timeout_s: float | None = None,
) -> Finished:
    """Run the missing jobs of an interrupted run, and those whose process died.

    Training continues from its checkpoint; on a CPU the result is bit-identical to an uninterrupted run. A finished run is left
    as it is.

    Args:
        run_folder: folder of the interrupted run.
        progress_of: makes the progress display of a run folder.
        retry_failed: also run every job again in which a cell failed.
        take_over: take over from a runner on another host that is dead, or on a file system without locks.
        options: the launcher's own options; None: those of the run.
        allow_changed: whether to go on where files of the user's are not as they were when the results were made.
        timeout_s: seconds that a job may take; None: from its prediction.

    Raises:
        UsageError: if the folder holds no readable run, one of another schema, one with times of another machine, or one of
            `modbench train`, if files of the user's changed, or if another runner holds it.
        IncompleteError: if it was interrupted again.
        ModbenchError: if the folder can no longer be written; finished jobs are kept.
    """
    _refuse_ranks("modbench resume")
    start, stored = time.monotonic(), read(run_folder, include=True)
    if stored.command[1:2] == ["train"]:
        raise UsageError(
            f"{run_folder!r} is a run of `modbench train`: to continue it, repeat its command with -o {run_folder}."
        )
    with lock.hold(stored.path, take_over=take_over) as held:
        # Read once more: until now another runner may have written to the folder.
        stored = read(run_folder)
        again = resuming.remaining(stored, retry_failed=retry_failed)
        if stored.undecided or again:
            resuming.check_options(stored, options)
            resuming.check_unchanged(stored, {job.name for job in again}, allowed=allow_changed)
        stored = resuming.without_old_decisions(stored, retry_failed=retry_failed)
        remaining = resuming.remaining(stored, retry_failed=retry_failed)
        if not remaining and stored.decided and stored.finished and (stored.path / PAGE).exists():
            return _as_written(stored.path)
        resuming.make_ready(stored, remaining)
        rest, whole = (
            stored.plan.model_copy(update={"jobs": (*jobs, *stored.undecided)})
            for jobs in (remaining, stored.plan.jobs)
        )
        folder, options = RunFolder(stored.path), stored.options if options is None else options
        return _run(
            rest,
            folder,
            progress_of(stored.path),
            start,
            launcher=stored.launcher,
            options=options,
            held=held,
            whole=whole,
            kept=stored.records,
            timeout_s=timeout_s,
        )


def _refuse_ranks(command: str) -> None:
    """Refuse torchrun: a run starts its own processes, so every rank would start a run of its own."""
    world = torchrun.from_environment().world
    if world > 1:
        raise UsageError(
            f"{command} under torchrun would start {world} runs. Start it without torchrun; only `modbench train` uses ranks."
        )


def _run(
    resolved: Plan,
    folder: RunFolder,
    progress: Lines | Live,
    start: float,
    *,
    launcher: str,
    options: Sequence[str],
    held: lock.Lock,
    whole: Plan | None = None,
    kept: Sequence[Record] = (),
    timeout_s: float | None = None,
) -> Finished:
    from modbench.reports.html_report import render

    # Jobs on other machines go on: nothing is finished here.
    stop = stopping.Stop(None if is_remote_launcher(launcher) else progress.finishing)
    try:
        with stopping.signals(stop):
            try:
                with progress:
                    runner.run(
                        resolved,
                        folder,
                        progress,
                        launcher=launcher,
                        options=options,
                        whole=whole,
                        kept=kept,
                        stop=stop,
                        lock=held,
                        timeout_s=timeout_s,
                    )
                    wall_s = time.monotonic() - start
                    loaded = render.write(folder.path)
                stopping.finished()
            except KeyboardInterrupt:  # further signals are ignored by now
                raise IncompleteError(
                    f"{stop.interrupted}. {stop.left and f'{stop.left} '}{_how_to_continue(folder)}"
                ) from None
    except OSError as error:
        raise ModbenchError(
            f"{error.filename or folder.path}: {error.strerror or error}. {_how_to_continue(folder)}"
        ) from error
    except ModbenchError as error:
        if type(error) is not ModbenchError:
            raise
        raise ModbenchError(f"{error} {_how_to_continue(folder)}") from error
    return Finished(folder.path, folder.path / PAGE, wall_s, loaded)


def _as_written(folder: Path) -> Finished:
    """A finished run with the report that it has."""
    from modbench.reports.tables.load import load

    return Finished(folder, folder / PAGE, None, load(folder))


def _how_to_continue(folder: RunFolder) -> str:
    """Which results an unfinished run keeps, and the command that continues it."""
    training = " and checkpoints of training" if has_checkpoint(folder.path) else ""
    return (
        f"Finished jobs{training} are kept: `modbench resume {folder.path}` continues, `modbench report {folder.path}` "
        "shows them."
    )


def report(
    run_folder: str,
    baseline: str | None = None,
    *,
    all_pairs: bool = False,
    formats: Sequence[str] = DEFAULT,
    out: str | None = None,
    title: Mapping[str, str] | None = None,
    pool: Sequence[str | Path] = (),
) -> Finished:
    """Render the report of a stored run again. Does not import torch.

    Args:
        run_folder: folder of the run.
        baseline: variant that the others are compared with; None: the suite's baseline.
        all_pairs: whether `comparisons.csv` has every two variants, however many pairs that makes.
        formats: what is written, such as `md` and `tex`; default the HTML report and the tables.
        out: the folder that takes the files; None: the run folder.
        title: titles of variants, in place of those that the run has.
        pool: folders of runs with other seeds of the same cases on the same tasks, whose seeds are added.

    Raises:
        UsageError: if the folder holds no readable run, has no such variant, or cannot be pooled with the others.
    """
    from modbench.reports.html_report import render
    from modbench.reports.tables.load import load

    loaded = load(Path(run_folder), baseline, all_pairs=all_pairs, title=title, pool=pool)
    files = render.views(loaded, formats, out)
    page = next((file for file in files if file.name == PAGE), files[0])
    return Finished(Path(run_folder), page, None, loaded, tuple(files))
