"""`modbench.run`, `modbench.plan` and `modbench.resume`: the commands from Python, with the names of their flags."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from modbench.extend import (
    Lines,
    Plan,
    UsageError,
    UserModelCosts,
    api,
    counted,
    forecast_as_text,
    html_lines,
    html_table,
    human,
    keywords,
    machine_check,
    parse_duration,
    plain,
    plugin_manifests,
    printable_text,
    printed_run,
    progress_for,
    public,
    shown,
    took_in_words,
)
from modbench.extend import forecast as predict
from modbench.extend import (
    plain_html_of as html,
)
from modbench.plugins.python.frames import Results

if TYPE_CHECKING:
    import pandas as pd

    from modbench.extend import Live, progress_file

T = TypeVar("T")
# One value, or several.
Some: TypeAlias = T | Sequence[T]
HEAD = ("", "params", "FLOPs forward", "of baseline", "forward time")
# Cases of a plan that a notebook shows.
MOST_ROWS = 40


@dataclass(frozen=True, repr=False)
class Planned:
    """The plan of a suite, with its forecast.

    Attributes:
        plan: its cases and jobs.
        costs: counts users' models.
    """

    plan: Plan
    costs: UserModelCosts = field(default_factory=lambda: UserModelCosts(memory=True))

    @cached_property
    def forecast(self) -> dict[str, Any]:
        """As `modbench plan --json` prints it, in base units."""
        return predict(self.plan, self.costs)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The cases, one row each, in base units."""
        import pandas as pd

        return pd.DataFrame(self.forecast["cases"])

    def __repr__(self) -> str:
        suite, plan = self.plan.suite, self.plan
        return (
            f"<modbench plan: suite {suite.name!r}, {suite.effort}, "
            f"{counted(len(plan.cases), 'case')}, {counted(len(plan.jobs), 'job')}>"
        )

    def __str__(self) -> str:
        return printable_text([forecast_as_text(self.forecast)])

    def _repr_html_(self) -> str:
        cases = self.forecast["cases"]
        rows = [
            (
                case["case"],
                "–" if case["params"] is None else f"{case['params']:,}",
                human(case["flops_forward"], "FLOP"),
                human(case["flops_share"], "ratio"),
                human(case["forward_s"], "s"),
            )
            for case in cases[:MOST_ROWS]
        ]
        left = [f"and {plain(len(cases) - MOST_ROWS)} more cases"] if len(cases) > MOST_ROWS else []
        took = f"{took_in_words(self.forecast)} on {self.plan.device}"
        return html(html_table(HEAD, rows), html_lines([*left, f"{repr(self)[1:-1]}: {took}"]))


@public("mb.run('quick', model='mod')")
def run(
    suite: str | Path = "quick",
    *,
    model: Some[str] | None = None,
    only: bool = False,
    match: str | None = None,
    option: Mapping[str, object] | Some[str] | None = None,
    capacity: Some[float] | None = None,
    router: Some[str] | None = None,
    seq_len: Some[int] | None = None,
    batch_size: Some[int] | None = None,
    dtype: Some[str] | None = None,
    input_len: Some[int] | None = None,
    output_len: Some[int] | None = None,
    device: str | None = None,
    compile: bool = False,  # noqa: A002  # the flag's name
    seeds: Some[int] | None = None,
    corpus: str | Path | None = None,
    effort: str | None = None,
    variants_from: str | Path | None = None,
    audit: bool = False,
    title: Mapping[str, str] | None = None,
    select: str | None = None,
    out: str | Path | None = None,
    timeout: str | None = None,
    launcher: str = "local",
    launcher_profile: str | Path | None = None,
    options: Sequence[str] = (),
    plugin: Some[str | Path] | None = None,
    quiet: bool = False,
    settings: Mapping[str, object] | None = None,
    **more: object,
) -> Results:
    """Measure a suite and write its report, as `modbench run` does, with the same names.

    Works in a script without an `if __name__ == "__main__"` guard, and in a notebook.

    Args:
        suite: a shipped suite's name, or a TOML file.
        model: keep only these models (the baseline stays), or add your own: `FILE.py:build`, `FILE.py:build(OPTION=VALUE)`.
        only: compare the models of `model` alone; the first one is the baseline.
        match: what the matched baseline of each model of yours has in common with it: flops, params or time; or none.
        option: options of your own models that take them, such as `{"threshold": [0.5, 0.7]}`; a list makes variants.
        capacity: capacities.
        router: routers, or a class of your own as `FILE.py:ROUTER`.
        seq_len: sequence lengths.
        batch_size: batch sizes.
        dtype: number formats: fp32, bf16, fp16.
        input_len: input tokens of end-to-end requests, which adds `latency/request`; None: the lengths.
        output_len: output tokens of each such request; None: those of `decode.tokens`.
        device: cpu or cuda; None: cuda if there is a GPU.
        compile: wrap every model in torch.compile.
        seeds: seeds of weights and data.
        corpus: text to train on.
        effort: smoke, draft, standard or rigorous.
        variants_from: run folder whose MoD and MoDE variant with the lowest held-out loss take the place of the suite's.
        audit: audit each model of yours as `audit` does; the report shows the result.
        title: what tables and figures call variants, such as `{"mod[c0.125]": "Ours"}`.
        select: only matching cases, such as `mod and not c0.5` (the flag `-k`).
        out: the run folder; None: runs/SUITE-DATE-N.
        timeout: longest time of a job, such as `10min`.
        launcher: what starts the work: local or slurm.
        launcher_profile: file with options of the launcher.
        options: options of the launcher.
        plugin: folders of your own that are searched for additions, in this process from now on.
        quiet: show no progress.
        settings: further keys of a suite whose names are no Python names, such as `{"train.steps": 100}`.
        **more: further keys of a suite, such as `d_model=64`.

    Returns:
        The run's tables (`cases`, `comparisons`, `samples`, `losses`), its folder and report.

    Raises:
        UsageError: if something that was asked is impossible; nothing was started then.
        IncompleteError: if it was interrupted; finished jobs are kept, and `resume` continues.
        NothingMeasuredError: if every cell failed or was skipped; `load` reads its tables, which say why.
    """
    _check_texts(
        suite=suite, out=out, select=select, timeout=timeout, launcher=launcher, launcher_profile=launcher_profile
    )
    _plugins(plugin)
    values = {
        "model": model,
        "only": only,
        "match": match,
        "option": option,
        "capacity": capacity,
        "router": router,
        "seq_len": seq_len,
        "batch_size": batch_size,
        "dtype": dtype,
        "input_len": input_len,
        "output_len": output_len,
        "device": device,
        "compile": compile,
        "seeds": seeds,
        "effort": effort,
        "variants_from": variants_from,
        "audit": audit,
        "title": title,
        "corpus": corpus,
    }
    given = keywords.overrides(values, _all_settings(settings, more))
    timeout_s = parse_duration(timeout, "timeout") if timeout is not None else None
    resolved, folder, launcher_options, gap = api.prepare(
        str(suite),
        given,
        select,
        out=None if out is None else str(out),
        launcher=launcher,
        launcher_profile=None if launcher_profile is None else str(launcher_profile),
        options=options,
    )
    if not quiet:
        opening = filter(None, [gap, printed_run.opening(resolved)])
        print(*opening, sep="\n", file=sys.stdout if _in_notebook() else sys.stderr)
    finished = api.run(
        resolved,
        folder,
        command=[
            *("modbench", "run", str(suite), *keywords.words(given)),
            *_other_words(select, out, launcher, plugin, launcher_options),
        ],
        progress=_progress(folder.path, quiet=quiet),
        launcher=launcher,
        options=launcher_options,
        timeout_s=timeout_s,
    )
    machine_check.check_measured(finished.loaded, finished.report)
    return Results(finished.loaded, finished.wall_s)


def _other_words(
    select: str | None,
    out: str | Path | None,
    launcher: str,
    plugin: Some[str | Path] | None,
    options: Sequence[str],
) -> list[str]:
    """The words of a command line that are no flags of a suite."""
    folders = [plugin] if isinstance(plugin, str | Path) else plugin or ()
    more = [("-k", select), ("--out", out), ("--launcher", launcher if launcher != "local" else None)]
    more += [("--plugin", folder) for folder in folders]
    words = [str(word) for flag, value in more if value is not None for word in (flag, value)]
    return [*words, *(["--", *options] if options else [])]


@public("mb.plan('quick', model='mod')")
def plan(
    suite: str | Path = "quick",
    *,
    select: str | None = None,
    plugin: Some[str | Path] | None = None,
    settings: Mapping[str, object] | None = None,
    **flags: object,
) -> Planned:
    """The cases of a suite with predicted FLOPs, memory and time, as `modbench plan` shows them; nothing is measured.

    Args:
        suite: a shipped suite's name, or a TOML file.
        select: only matching cases.
        plugin: folders of your own that are searched for additions.
        settings: further keys of a suite whose names are no Python names.
        **flags: as of `run`: `model`, `capacity`, `seq_len`, `effort` and so on, and further keys of a suite.

    Raises:
        UsageError: if the suite, a flag or the selection is invalid.
    """
    _check_texts(suite=suite, select=select)
    _plugins(plugin)
    given = keywords.overrides({}, _all_settings(settings, flags))
    costs = UserModelCosts(memory=True)
    return Planned(api.make_plan(str(suite), given, select, only_plan=True, costs=costs), costs)


@public("mb.resume('runs/quick-1')")
def resume(
    run_folder: str | Path,
    *,
    retry_failed: bool = False,
    take_over: bool = False,
    allow_changed: bool = False,
    timeout: str | None = None,
    options: Sequence[str] | None = None,
    quiet: bool = False,
) -> Results:
    """Run the missing jobs of an interrupted run, as `modbench resume` does.

    Args:
        run_folder: its folder.
        retry_failed: also run again what failed.
        take_over: take the folder from a runner on another host that is dead, or on a file system without locks.
        allow_changed: go on where files of yours are not as they were when the results were made.
        timeout: longest time of a job, such as `10min`.
        options: options of the launcher; None: those of the run.
        quiet: show no progress.

    Raises:
        UsageError: if the folder holds no run that can be continued here.
        IncompleteError: if it was interrupted again.
        NothingMeasuredError: if every cell failed or was skipped.
    """
    _check_texts(run_folder=run_folder, timeout=timeout)
    _plugins(None)
    finished = api.resume(
        str(run_folder),
        functools.partial(_progress, quiet=quiet),
        retry_failed=retry_failed,
        take_over=take_over,
        options=options,
        allow_changed=allow_changed,
        timeout_s=parse_duration(timeout, "timeout") if timeout is not None else None,
    )
    machine_check.check_measured(finished.loaded, finished.report)
    return Results(finished.loaded, finished.wall_s)


class Cell(Lines):
    """Lines below a notebook's cell, which keeps all of them: one when the first job has ended, then one in a while."""

    EVERY_S = 15.0
    last: float | None = None

    def _print(self, line: str, now: progress_file.RunProgress) -> None:
        moment = self.clock()
        if self.last is None or moment - self.last >= self.EVERY_S or now.all_ended:
            self.last = moment
            super()._print(line, now)


def _progress(folder: Path, *, quiet: bool) -> Lines | Live:
    """Few lines in a notebook, else what a command shows."""
    if not quiet and _in_notebook():
        return Cell(folder, sys.stdout)  # standard error looks like an error there
    return progress_for(folder, quiet=quiet)


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, by IPython if it is loaded."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ in {"ZMQInteractiveShell", "Shell"}  # the second is Colab's


def _check_texts(**values: object) -> None:
    """Check arguments that are text, such as names, durations and paths.

    Args:
        **values: values by name; None: not given.

    Raises:
        UsageError: if one is something else.
    """
    for name, value in values.items():
        if value is not None and not isinstance(value, str | Path):
            raise UsageError(f"{name} takes text; got {shown(value)}.")


def _all_settings(settings: object, more: Mapping[str, object]) -> dict[str, object]:
    """All further keys of a suite.

    Raises:
        UsageError: if `settings` is no dict.
    """
    if settings is None:
        return dict(more)
    if not isinstance(settings, Mapping):
        raise UsageError(f"settings must be a dict, as in {{'train.steps': 100}}; got {shown(settings)}.")
    return {**more, **settings}


def _plugins(folders: Some[str | Path] | None) -> None:
    """Use plug-ins in folders, as `--plugin` does.

    Raises:
        UsageError: if one cannot be used.
    """
    if folders is not None and not isinstance(folders, str | Path | Sequence):
        raise UsageError(f"plugin takes a folder, or a list of folders; got {shown(folders)}.")
    plugin_manifests.include([folders] if isinstance(folders, str | Path) else folders or ())
