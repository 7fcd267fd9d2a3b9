"""`modbench profile`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from modbench.extend import (
    Flags,
    JsonFlag,
    SelectFlag,
    SuiteName,
    VerboseFlag,
    command,
    say,
    say_json,
    unknown,
    with_flags,
)


@command(group="Measure")
@with_flags("model", "only", "option", "capacity", "router", "seq_len", "batch_size", "dtype", "device", "settings")
def profile(
    suite: SuiteName,
    *,
    select: SelectFlag = None,
    workload: Annotated[str, typer.Option("--workload", metavar="NAME", help="forward or train_step.")] = "forward",
    flags: Flags,
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="DIR", help="Folder; default runs/profile-SUITE-DATE-N.")
    ] = None,
    verbose: VerboseFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Take one case apart, module by module.

    Shows time, FLOPs, bytes and memory by module and component, and writes a trace for Perfetto.
    """
    from modbench.extend import Counter, api, run_folder
    from modbench.plugins.machine.profile import result

    if workload not in result.WORKLOADS:
        raise unknown("workload", workload, result.WORKLOADS)
    plan = api.make_plan(suite, dataclasses.replace(flags.overrides(), match="none"))
    case = result.choose(plan, select)  # before a folder is made
    folder = run_folder.create(out, f"profile-{plan.suite.name}")
    done = result.profile(plan, case, workload, folder, Counter(1, "profile"))
    if as_json:
        say_json(result.as_json(done))
    else:
        say(result.as_text(done, verbose=verbose))
