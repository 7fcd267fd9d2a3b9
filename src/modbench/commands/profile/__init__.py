"""`modbench profile`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from modbench.commands._app import command
from modbench.commands._flags import Flags, JsonFlag, SelectFlag, SuiteName, VerboseFlag, with_flags
from modbench.commands._output import say, say_json
from modbench.harness.core.errors import unknown


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
    from modbench import api
    from modbench.commands.profile import module_profile
    from modbench.harness.results import run_folder
    from modbench.progress import Counter

    if workload not in module_profile.WORKLOADS:
        raise unknown("workload", workload, module_profile.WORKLOADS)
    plan = api.make_plan(suite, dataclasses.replace(flags.overrides(), match="none"))
    case = module_profile.choose(plan, select)  # before a folder is made
    folder = run_folder.create(out, f"profile-{plan.suite.name}")
    done = module_profile.profile(plan, case, workload, folder, Counter(1, "profile"))
    if as_json:
        say_json(module_profile.as_json(done))
    else:
        say(module_profile.as_text(done, verbose=verbose))
