"""`modbench recommend`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modbench.extend import JsonFlag, RunOrNewest, TitleFlag, VerboseFlag, chosen_run, command, refuse, say, say_json

if TYPE_CHECKING:
    from modbench.extend import Loaded


@command(group="Decide")
def recommend(
    run_folder: RunOrNewest = None,
    max_latency: Annotated[
        str | None,
        typer.Option("--max-latency", metavar="DURATION", help="Largest median time of a call, such as 50ms."),
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", metavar="SIZE", help="Largest peak of memory, such as 4GiB.")
    ] = None,
    max_loss_increase: Annotated[
        str | None,
        typer.Option(
            "--max-loss-increase",
            metavar="SHARE",
            help="Largest increase of the loss over the dense model, such as 0.01 or 1%.",
        ),
    ] = None,
    minimize: Annotated[
        str | None,
        typer.Option(
            "--minimize",
            metavar="latency|memory|flops|loss",
            help="What the best setting has least of; default latency.",
        ),
    ] = None,
    workload: Annotated[
        str | None,
        typer.Option(
            "--workload",
            metavar="NAME",
            help="forward, train_step, prefill, decode or request; default the first measured.",
        ),
    ] = None,
    seq_len: Annotated[
        int | None, typer.Option("--seq-len", metavar="N", help="Sequence length; default the longest.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", metavar="N", help="Batch size; default the first of the suite.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", metavar="NAME", help="Number format; default the first of the suite.")
    ] = None,
    title: TitleFlag = None,
    verbose: VerboseFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Choose the best setting within limits.

    Also shows how sure the choice is, and what would make it sure. Exit code 1: no setting fits.
    """
    import shutil

    from modbench.extend import (
        ELEMENT_BYTES,
        IncompleteError,
        UsageError,
        check_sizes,
        parse_bytes,
        parse_duration,
        parse_share,
        unknown,
        variant_titles,
    )

    check_sizes(size for size in (seq_len, batch_size) if size is not None)
    if dtype is not None and dtype not in ELEMENT_BYTES:
        raise unknown("--dtype", dtype, ELEMENT_BYTES)
    folder = chosen_run(run_folder, as_json=as_json, with_values=True)
    from modbench.extend import load, nothing_measured
    from modbench.plugins.recommend.candidates import choice
    from modbench.plugins.recommend.limits import Limits
    from modbench.plugins.recommend.question import OBJECTIVES
    from modbench.plugins.recommend.question import recommend as judge
    from modbench.plugins.recommend.report import as_dict, as_text

    if minimize is not None and minimize not in OBJECTIVES:
        raise unknown("--minimize", minimize, OBJECTIVES)
    limits = Limits(
        None if max_latency is None else parse_duration(max_latency, "--max-latency", "50ms or 1.5s"),
        None if max_memory is None else parse_bytes(max_memory, "--max-memory"),
        None if max_loss_increase is None else float(parse_share(max_loss_increase, "--max-loss-increase")),
    )
    loaded = load(folder, title=variant_titles.listed(title or ()))
    if not loaded.measured:
        raise UsageError(nothing_measured(loaded))
    if loaded.sizes_differ:
        chosen_by = {
            "--max-latency": max_latency,
            "--max-memory": max_memory,
            "--max-loss-increase": max_loss_increase,
            "--minimize": minimize,
            "--workload": workload,
            "--seq-len": seq_len,
            "--batch-size": batch_size,
            "--dtype": dtype,
        }
        refuse(chosen_by, "a run that measured settings, and this one is a sweep")
        _from_sweep(folder, loaded, as_json=as_json)
        return
    minimize = minimize or OBJECTIVES[0]
    chosen = choice(loaded, workload, seq_len, batch_size, dtype)
    if all(each.of(minimize).value is None for each in chosen.candidates):
        available = [
            each for each in OBJECTIVES if any(other.of(each).value is not None for other in chosen.candidates)
        ]
        raise UsageError(
            f"no setting has a value of {minimize}, by which the best is chosen. The run has: {', '.join(available)}; "
            f"choose with --minimize."
        )
    found = judge(loaded, chosen, limits, minimize)
    if as_json:
        say_json({"run": folder} | as_dict(found), allow_nan=False)
    else:
        say("\n".join(as_text(found, min(110, shutil.get_terminal_size().columns), verbose=verbose)))
    if found.best is None:
        raise typer.Exit(1)
    if found.incomplete:
        raise IncompleteError(found.incomplete)


def _from_sweep(folder: str, loaded: Loaded, *, as_json: bool) -> None:
    """Recommend a capacity from a sweep that confirmed its best."""
    import shutil

    from modbench.extend import IncompleteError
    from modbench.plugins.recommend.question import recommend_capacity
    from modbench.plugins.recommend.report import capacity_as_dict, capacity_as_text

    found = recommend_capacity(loaded)
    if as_json:
        say_json({"run": folder} | capacity_as_dict(found), allow_nan=False)
    else:
        say("\n".join(capacity_as_text(found, min(110, shutil.get_terminal_size().columns))))
    if loaded.run.incomplete:
        raise IncompleteError(loaded.run.incomplete)
