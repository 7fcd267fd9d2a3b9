"""`modbench profile`: the time of one case by module and component, as tables and as a trace for Perfetto."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modbench.extend import (
    LOCAL_LAUNCHER,
    SCREEN,
    WIDTH,
    Case,
    Comparison,
    Job,
    JobMaker,
    ModbenchError,
    PeakFinding,
    Run,
    Slots,
    UsageError,
    aligned,
    catalogue,
    compile_expression,
    environment,
    human,
    no_case,
    read_record,
    share,
)
from modbench.plugins.machine.profile.measurement import PASS, ProfileFinding
from modbench.plugins.machine.profile.ranges import MODULE, ROOT

if TYPE_CHECKING:
    from modbench.extend import PhaseProgress as Progress
    from modbench.extend import Plan, RunFolder

WORKLOADS = ("forward", "train_step")
TRACE, PROFILE = "trace.json", "profile.json"
LIMIT_S = 3600.0
# Modules below this share of the whole are left out of the table; of the others the largest are shown that fit a screen,
# at least so many.
SMALL, FEWEST = 0.005, 8
HEADER = ("module", "", "time", "share", "FLOPs", "FLOP/s", "peak", "moved", "copy", "keeps")
# Columns of the short table, which fit 80 columns.
SHORT = (0, 2, 3, 4, 5, 6)
# Widths in characters.
BAR, MODULE_NAME = 16, 28


@dataclass(frozen=True)
class Profiled:
    """The profile of one case, with the folder that holds its trace and numbers, and the machine."""

    case: Case
    found: ProfileFinding
    folder: Path
    where: dict[str, Any]


def choose(plan: Plan, select: str | None) -> Case:
    """The one case that the expression matches.

    Raises:
        UsageError: if it matches none, or several.
    """
    matches = compile_expression(select) if select else (lambda _id: True)
    known = catalogue.metrics()
    # Comparisons that are only trained repeat the models at another place: prefer the grid, where there is one.
    grid = [
        c for c in plan.comparisons if any(not catalogue.pass_of(known[key]).trains for key in c.metrics)
    ] or plan.comparisons
    cases = list(dict.fromkeys(case for comparison in grid for case in comparison.variants if matches(case.id)))
    if len(cases) == 1:
        return cases[0]
    if not cases and select:
        raise no_case(select, grid[0].variants[-1].id)
    shown = ", ".join(case.id for case in cases[:5]) + (" …" if len(cases) > 5 else "")
    raise UsageError(
        f"profile takes one case; {f'-k {select!r}' if select else 'without -k'} matches {len(cases)}: {shown}. Narrow -k."
    )


def profile(plan: Plan, case: Case, workload: str, folder: RunFolder, progress: Progress) -> Profiled:
    """Profile a case in a process of its own.

    Raises:
        ModbenchError: if that process failed.
        UsageError: for a training step on a GPU.
    """
    if workload == "train_step" and case.grid_point.device == "cuda":
        raise UsageError(
            "a training step cannot be profiled on a GPU: the backward pass launches its kernels from another thread, and the "
            "profiler does not report their range. Use --workload forward, or the metric latency/train_step/backward."
        )
    comparison = Comparison(variants=(case,), metrics=())
    made = JobMaker(plan.suite, None).job(
        f"{PASS.name}-{workload}-{case.id}", comparison, PASS.name, 1e12, workload=workload
    )
    traced = made.protocol.model_copy(update={"trace": str((folder.path / TRACE).resolve())})
    job: Job = made.model_copy(update={"protocol": traced})
    launcher = LOCAL_LAUNCHER(cold=True, threads=plan.suite.threads)
    Run(launcher, folder, progress).phase(Slots((job,), 1), {job.name: LIMIT_S})
    record = read_record(folder.record(job), job)
    found = record.findings
    if not isinstance(found, ProfileFinding):
        log = folder.logs / f"{job.name}.died.log"
        raise ModbenchError(f"the profile of {case.id} failed: {_last_line(log)}; {log} says more.")
    done = Profiled(case, found, folder.path, environment.collect())
    (folder.path / PROFILE).write_text(json.dumps(as_json(done), indent=1), encoding="utf-8")
    return done


def _last_line(log: Path) -> str:
    """The last line of a log, which names the exception that ended a process."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it left no message")


def as_json(done: Profiled) -> dict[str, Any]:
    """Rows by module and component, and the measured peaks, in base units."""
    return {
        "case": done.case.id,
        "workload": done.found.workload,
        "wall_s": done.found.wall_s,
        "modules": rows(done.found),
        "components": shares(done.found),
        "peak": done.found.peak.model_dump(),
        "operators": [operator.model_dump() for operator in done.found.operators],
        "trace": str(done.folder / TRACE),
    }


def rows(found: ProfileFinding) -> list[dict[str, Any]]:
    """One row for each module, the whole first: seconds, rates, shares of the measured peaks.

    On a CPU seconds are scaled to the unprofiled call. On a GPU they are those of kernels, which the profiler does not slow down:
    scaled, a module would be charged for what the device waits.
    """
    ranges, peak = found.ranges, found.peak
    scale = 1.0 if _on_gpu(found) else found.wall_s / ranges[ROOT].seconds
    made = [_row(found, "", ranges[ROOT].seconds * scale, ranges[ROOT].calls, peak)]
    for name, measured in ranges.items():
        if name.startswith(MODULE):
            made.append(_row(found, name.removeprefix(MODULE), measured.seconds * scale, measured.calls, peak))
    return made


def _on_gpu(found: ProfileFinding) -> bool:
    return found.peak.device == "cuda"


def _whole_s(found: ProfileFinding) -> float:
    """Seconds that modules and components add up to."""
    return found.ranges[ROOT].seconds if _on_gpu(found) else found.wall_s


def _row(found: ProfileFinding, path: str, seconds: float, calls: float, peak: PeakFinding) -> dict[str, Any]:
    # FLOPs and bytes were counted in one forward pass: they do not describe a whole training step.
    whole_step = path == "" and found.workload == "train_step"
    flops = None if whole_step else found.flops.get(path)
    moved = None if whole_step else found.bytes.get(path)
    return {
        "module": path,
        "calls": calls,
        "seconds": seconds,
        "share": seconds / _whole_s(found),
        "flops": flops,
        "flop_per_s": flops / seconds if flops and seconds else None,
        "of_peak": flops / seconds / peak.flop_per_s if flops and seconds else None,
        "bytes": moved,
        "bytes_per_s": moved / seconds if moved and seconds else None,
        "of_bandwidth": moved / seconds / peak.bytes_per_s if moved and seconds else None,
        "keeps": found.kept.get(path),
    }


def shares(found: ProfileFinding) -> list[dict[str, Any]]:
    """Seconds and share of every component, the largest first."""
    total = sum(found.components.values()) or 1.0
    return [
        {"component": name, "share": seconds / total, "seconds": _whole_s(found) * seconds / total}
        for name, seconds in sorted(found.components.items(), key=lambda item: -item[1])
    ]


def as_text(done: Profiled, *, verbose: bool = False) -> str:
    """The time of the call in one line; then modules, components, the roofline, and the path of the trace."""
    found = done.found
    peak, modules = found.peak, rows(found)
    where = done.where["cpu"] if done.case.grid_point.device == "cpu" else "CUDA"
    what = {"forward": "a forward pass", "train_step": "a training step"}[found.workload]
    answer = [f"{done.case.id}: {what} takes {human(found.wall_s, 's')} on {where}"]
    answer.append("median of 7 calls without the profiler")
    if _on_gpu(found):
        busy_s = _whole_s(found)
        answer.append(
            f"the device works for {human(busy_s, 's')} of it ({share(busy_s / found.wall_s)}); times below are the device's"
        )
    components = [(each["component"], human(each["seconds"], "s"), share(each["share"], 1)) for each in shares(found)]
    below = ["", *aligned([("component", "time", "share"), *components], right={1, 2}), ""]
    below += [line for sentence in _roofline(modules[0], peak) for line in textwrap.wrap(sentence, WIDTH)]
    below += ["", f"trace: {done.folder / TRACE} (open it in Perfetto)"]
    # A module takes no longer than the one it lies in, which stands before it: with a module its parents are shown.
    largest = sorted((row for row in modules if row["share"] >= SMALL), key=lambda row: -row["share"])
    notes = 2 + bool(found.kept)
    room = None if verbose else max(FEWEST, SCREEN - len(answer) - len(below) - notes - 1)
    names = {row["module"] for row in largest[:room]}
    table = _modules([row for row in modules if row["module"] in names], range(len(HEADER)) if verbose else SHORT)
    if found.kept:
        table.append("modules: FLOPs, bytes and time of the forward pass; components: of the whole step")
    if len(names) < len(modules):
        more = f"; -v lists those above {share(SMALL, 1)}" if len(names) < len(largest) else f" below {share(SMALL, 1)}"
        table.append(f"{len(modules) - len(names)} modules left out{more}; {PROFILE} has all")
    return "\n".join([*answer, "", *table, *below])


def _modules(modules: list[dict[str, Any]], columns: Sequence[int]) -> list[str]:
    """A table of modules, indented as they are nested."""
    keeps = any(row["keeps"] for row in modules)
    columns = [at for at in columns if keeps or HEADER[at] != "keeps"]
    table, shown = [HEADER], list[str]()
    for row in modules:
        parents = [path for path in shown if not path or row["module"].startswith(f"{path}.")] if row["module"] else []
        shown.append(row["module"])
        name = "  " * len(parents) + (_short_name(row["module"]) or "the whole call")
        table.append(
            (
                name[:MODULE_NAME],
                ("█" * max(1, round(BAR * row["share"])))[:BAR] if row["share"] else "",
                human(row["seconds"], "s"),
                share(row["share"], 1),
                human(row["flops"], "FLOP"),
                "–" if row["flop_per_s"] is None else f"{human(row['flop_per_s'], 'FLOP')}/s",
                share(row["of_peak"]),
                human(row["bytes"], "B"),
                share(row["of_bandwidth"]),
                human(row["keeps"], "B"),
            )
        )
    right = [i for i, at in enumerate(columns) if at > 1]
    return aligned([[cells[at] for at in columns] for cells in table], right=right)


def _short_name(path: str) -> str:
    """The last part of a module's path: `attention` of `blocks.3.attention`; a number keeps its parent: `blocks.3`."""
    before, _, last = path.rpartition(".")
    return f"{before.rpartition('.')[2]}.{last}" if last.isdigit() and before else last


def _roofline(whole: dict[str, Any], peak: PeakFinding) -> list[str]:
    """The call compared with the machine's measured roof."""
    product, copy = human(peak.flop_per_s, "FLOP"), human(peak.bytes_per_s, "B")
    lines = [f"roof, measured here: {product}/s ({peak.shape} product), {copy}/s (copy)"]
    if whole["flops"] and whole["bytes"]:
        intensity = whole["flops"] / whole["bytes"]
        ridge = peak.flop_per_s / peak.bytes_per_s
        roof = min(peak.flop_per_s, intensity * peak.bytes_per_s)
        bound = "arithmetic" if intensity > ridge else "memory traffic"
        lines.append(
            f"the call: {intensity:.3g} FLOP per byte that operators move (ridge {ridge:.3g}): bound by {bound}; "
            f"it reaches {share(whole['flop_per_s'] / roof)} of the roof there"
        )
    return lines
