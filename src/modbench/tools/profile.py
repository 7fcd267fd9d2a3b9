"""What `modbench profile` does and says: one case opened up, as a flame table in the terminal and a trace for Perfetto."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modbench.harness.core import catalogue
from modbench.harness.core.case import Case, Comparison, UnitOfWork
from modbench.harness.core.errors import ModbenchError, UsageError
from modbench.harness.core.units import human
from modbench.harness.execution.launch.local import LocalLauncher
from modbench.harness.execution.runner import Slots, run_phase
from modbench.harness.machine import environment
from modbench.harness.planning.select import compile_expression
from modbench.harness.planning.unit_maker import Maker
from modbench.harness.profiling.ranges import MODULE, ROOT
from modbench.harness.results.records import Record

if TYPE_CHECKING:
    from modbench.harness.execution.runner import Progress
    from modbench.harness.planning.plan import Plan
    from modbench.harness.results.run_folder import RunFolder

WORKLOADS = ("forward", "train_step")
TRACE, PROFILE = "trace.json", "profile.json"
LIMIT_S = 3600.0
# Rows of the flame table below this share of the whole are folded into one.
SMALL = 0.005
BAR = 16


@dataclass(frozen=True)
class Profiled:
    """One case opened up.

    Attributes:
        case: which.
        found: what the pass found.
        folder: where trace and numbers lie.
        where: the machine.
    """

    case: Case
    found: dict[str, Any]
    folder: Path
    where: dict[str, Any]


def choose(plan: Plan, select: str | None) -> Case:
    """The case that is meant.

    Raises:
        UsageError: if the expression fits none, or several.
    """
    matches = compile_expression(select) if select else (lambda _id: True)
    known = catalogue.metrics()
    # What is only trained is another place of the same models: the grid is what is meant, where there is one.
    grid = [c for c in plan.comparisons if any(known[key].made_in != "train" for key in c.metrics)] or plan.comparisons
    cases = list(dict.fromkeys(case for comparison in grid for case in comparison.arms if matches(case.id)))
    if len(cases) == 1:
        return cases[0]
    shown = ", ".join(case.id for case in cases[:5]) + (" …" if len(cases) > 5 else "")
    raise UsageError(
        f"profile opens one case; {f'-k {select!r}' if select else 'without -k'} fits {len(cases)}: {shown}. Narrow -k."
    )


def profile(plan: Plan, select: str | None, workload: str, folder: RunFolder, progress: Progress) -> Profiled:
    """Open up the chosen case in a process of its own.

    Raises:
        ModbenchError: if that process failed.
        UsageError: for a training step on a GPU.
    """
    case = choose(plan, select)
    if workload == "train_step" and case.place.device == "cuda":
        raise UsageError(
            "profile opens no training step on a GPU: the backward pass launches its kernels from another thread, and the "
            "profiler does not say for which range. --workload forward, or latency/train_step/backward, would work."
        )
    comparison = Comparison(arms=(case,), metrics=())
    made = Maker(plan.suite, None).unit(f"profile-{workload}-{case.id}", comparison, "profile", 1e12, workload=workload)
    traced = made.protocol.model_copy(update={"trace": str((folder.path / TRACE).resolve())})
    unit: UnitOfWork = made.model_copy(update={"protocol": traced})
    launcher = LocalLauncher(cold=True, threads=plan.suite.threads)
    run_phase(Slots((unit,), 1, alone=True), launcher, folder, progress, {unit.name: LIMIT_S})
    record = Record.model_validate_json(folder.record(unit).read_bytes())
    found = record.environment.get("profile")
    if found is None:
        raise ModbenchError(f"the profile of {case.id} failed; {folder.logs}/{unit.name}.died.log says why.")
    done = Profiled(case, found, folder.path, environment.collect())
    (folder.path / PROFILE).write_text(json.dumps(as_json(done), indent=1), encoding="utf-8")
    return done


def as_json(done: Profiled) -> dict[str, Any]:
    """Rows by module and component, and the roof, in base units."""
    return {
        "case": done.case.id,
        "workload": done.found["workload"],
        "wall_s": done.found["wall_s"],
        "modules": rows(done.found),
        "components": shares(done.found),
        "peak": done.found["peak"],
        "operators": done.found["operators"],
        "trace": str(done.folder / TRACE),
    }


def rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each module, the whole first: seconds scaled to the unwatched call, rates, shares of the measured peak."""
    ranges, peak = found["ranges"], found["peak"]
    scale = found["wall_s"] / ranges[ROOT]["seconds"]
    made = [_row(found, "", ranges[ROOT]["seconds"] * scale, ranges[ROOT]["calls"], peak)]
    for name, seen in ranges.items():
        if name.startswith(MODULE):
            made.append(_row(found, name.removeprefix(MODULE), seen["seconds"] * scale, seen["calls"], peak))
    return made


def _row(found: dict[str, Any], path: str, seconds: float, calls: float, peak: dict[str, Any]) -> dict[str, Any]:
    # Counts are of one forward pass: of a whole training step they say nothing.
    whole_step = path == "" and found["workload"] == "train_step"
    flops = None if whole_step else found["flops"].get(path)
    moved = None if whole_step else found["bytes"].get(path)
    return {
        "module": path,
        "calls": calls,
        "seconds": seconds,
        "share": seconds / found["wall_s"],
        "flops": flops,
        "flop_per_s": flops / seconds if flops and seconds else None,
        "of_peak": flops / seconds / peak["flop_per_s"] if flops and seconds else None,
        "bytes": moved,
        "bytes_per_s": moved / seconds if moved and seconds else None,
        "of_bandwidth": moved / seconds / peak["bytes_per_s"] if moved and seconds else None,
        "keeps": found["kept"].get(path),
    }


def shares(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Seconds and share of every component, the largest first."""
    total = sum(found["components"].values()) or 1.0
    return [
        {"component": name, "share": seconds / total, "seconds": found["wall_s"] * seconds / total}
        for name, seconds in sorted(found["components"].items(), key=lambda item: -item[1])
    ]


def as_text(done: Profiled) -> str:
    """Flame table, components, roofline, and where the trace lies."""
    found = done.found
    peak, made = found["peak"], rows(found)
    where = done.where["cpu"] if done.case.place.device == "cpu" else "CUDA"
    what = {"forward": "a forward pass", "train_step": "a training step"}[found["workload"]]
    lines = [f"{done.case.id}: {what} on {where} takes {human(found['wall_s'], 's')} (median of 7, unwatched)", ""]
    lines += _flame(made, trained=bool(found["kept"]))
    lines += ["", f"{'component':<22}{'time':>10}{'share':>8}"]
    lines += [
        f"{each['component']:<22}{human(each['seconds'], 's'):>10}{each['share']:>8.1%}" for each in shares(found)
    ]
    lines += ["", *_roof(made[0], peak), "", f"trace: {done.folder / TRACE} (open it in Perfetto)"]
    return "\n".join(lines)


def _flame(made: list[dict[str, Any]], *, trained: bool) -> list[str]:
    head = f"{'module':<30}{'':<{BAR}}{'time':>10}{'share':>7}{'FLOPs':>13}{'FLOP/s':>14}{'peak':>6}{'moved':>11}{'copy':>6}"
    lines = [head + (f"{'keeps':>11}" if trained else "")]
    small, shown = [row for row in made if row["share"] < SMALL], list[str]()
    for row in made:
        if row["share"] < SMALL:
            continue
        above = [path for path in shown if not path or row["module"].startswith(f"{path}.")] if row["module"] else []
        name = "  " * len(above) + (_last(row["module"]) or "the whole call")
        shown.append(row["module"])
        bar = "█" * max(1, round(BAR * row["share"])) if row["share"] else ""
        cells = [
            f"{name:<30.30}{bar:<{BAR}.{BAR}}{human(row['seconds'], 's'):>10}{row['share']:>7.1%}",
            f"{_or_dash(row['flops'], 'FLOP'):>13}",
            f"{_or_dash(row['flop_per_s'], 'FLOP', '/s'):>14}{_percent(row['of_peak']):>6}",
            f"{_or_dash(row['bytes'], 'B'):>11}{_percent(row['of_bandwidth']):>6}",
            f"{_or_dash(row['keeps'], 'B'):>11}" if trained else "",
        ]
        lines.append("".join(cells).rstrip())
    if trained:
        lines.append(
            "FLOPs and bytes are of the forward pass, as are the seconds of modules: the parts of the step stand below"
        )
    if small:
        lines.append(f"{len(small)} modules below {SMALL:.1%} of the whole are folded; {PROFILE} has them all")
    return lines


def _last(path: str) -> str:
    """`attention` of `blocks.3.attention`; of a bare number also what it counts: `blocks.3`."""
    before, _, last = path.rpartition(".")
    return f"{before.rpartition('.')[2]}.{last}" if last.isdigit() and before else last


def _or_dash(value: float | None, unit: str, per: str = "") -> str:
    return "–" if value is None else human(value, unit) + per


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _roof(whole: dict[str, Any], peak: dict[str, Any]) -> list[str]:
    """Where the call stands under the machine's measured roof."""
    product, copy = human(peak["flop_per_s"], "FLOP"), human(peak["bytes_per_s"], "B")
    lines = [f"roof, measured here: {product}/s ({peak['shape']} product), {copy}/s (copy)"]
    if whole["flops"] and whole["bytes"]:
        intensity = whole["flops"] / whole["bytes"]
        ridge = peak["flop_per_s"] / peak["bytes_per_s"]
        roof = min(peak["flop_per_s"], intensity * peak["bytes_per_s"])
        bound = "arithmetic" if intensity > ridge else "memory traffic"
        lines.append(
            f"the call: {intensity:.3g} FLOP per byte that operators move (ridge {ridge:.3g}): bound by {bound}; "
            f"it reaches {whole['flop_per_s'] / roof:.0%} of the roof there"
        )
    return lines
