"""What a run asked, in words: the title, and one sentence for a reader who has never seen a report."""

from __future__ import annotations

from collections.abc import Sequence

from modbench.harness.core.case import Case
from modbench.reports.tables.contenders import contenders
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import TIMED

# Where it may pay, if only these workloads were timed.
WHERE = {
    frozenset({"train_step"}): " in training",
    frozenset({"prefill"}): " in prefill",
    frozenset({"decode"}): " in decoding",
    frozenset({"prefill", "decode"}): " in generation",
}
# More names than this are counted.
MOST_NAMED = 6


def title(loaded: Loaded) -> str:
    """Return the question that the suite asks, such as `Does skipping tokens pay on AMD EPYC, fp32, 1 thread?`."""
    return f"{_question(loaded)} on {measured_on(loaded)}?"


def measured_on(loaded: Loaded) -> str:
    """Name what was measured on: `AMD EPYC, fp32, 1 thread`."""
    suite = loaded.run.plan.suite
    said = f"{loaded.device_name}, {'/'.join(suite.grid.dtype)}"
    if loaded.run.plan.device == "cpu":
        said += f", {suite.threads} thread{'s' * (suite.threads != 1)}"
    return said + ", compiled" * suite.compile


def _question(loaded: Loaded) -> str:
    if loaded.run.plan.suite.isoflop is not None:
        return "Does skipping tokens lower the loss at equal training FLOPs"
    if not any(case.config.capacity is not None for case in loaded.arms):
        others = [case for case in loaded.arms if not case.rung]
        return f"How fast is {name(others[0])}" if len(others) == 1 else f"How do {_listed(others)} compare"
    metrics = [loaded.tables.metrics[key] for key in loaded.run.plan.suite.metrics]
    timed = {metric.workload for metric in metrics if loaded.tables.made_in(metric).times}
    if timed:
        return f"Does skipping tokens pay{WHERE.get(frozenset(timed), '')}"
    if metrics and all(metric.task for metric in metrics):
        return "Do models that skip tokens still solve these tasks"
    memory = any(metric.key.startswith("memory/") for metric in metrics)
    return "Does skipping tokens save memory" if memory else "What does skipping tokens do to the loss"


def asked(loaded: Loaded) -> str:
    """Return one sentence: which models were compared with which, in what, and where."""
    plan = loaded.run.plan
    others, baseline = contenders(loaded), loaded.arms[0]
    if not others:
        who = f"{name(baseline)} alone"
    else:
        who = f"{_listed(others)} against {name(baseline)}"
        if any(rung.arm in {case.arm for case in loaded.arms} for rung in plan.ladder):
            who += " of the same shape, and against smaller dense models of equal cost"
    what = [title for title, metric in TIMED if metric in plan.suite.metrics]
    known = loaded.tables.metrics
    what += ["memory"] * any(key.startswith("memory/") for key in plan.suite.metrics)
    what += ["energy"] * any(key.startswith("energy/") for key in plan.suite.metrics)
    made = {key for comparison in plan.comparisons for key in comparison.metrics}  # a filter may leave tasks out
    tasks = {task for key in made if (task := known[key].task)}
    what += [f"accuracy on {len(tasks)} task{'s' * (len(tasks) != 1)}"] * bool(tasks)
    what += ["held-out loss"] * (loaded.trained_metric is not None)
    where = "" if tasks and not loaded.lengths else f" at {_lengths(loaded.lengths)}"
    return f"{who}: {_and(what) or 'FLOPs'}{where}."


def _lengths(lengths: Sequence[int]) -> str:
    if len(lengths) > MOST_NAMED:
        return f"{len(lengths)} lengths from {lengths[0]:,} to {lengths[-1]:,} tokens"
    return f"{_and([f'{length:,}' for length in lengths])} token{'s' * (lengths != [1])}"


def _listed(cases: Sequence[Case]) -> str:
    """Name the arms; of many say how many there are of each model."""
    if len(cases) <= MOST_NAMED:
        return _and([name(case) for case in cases])
    by_model: dict[str, list[Case]] = {}
    for case in cases:
        by_model.setdefault(case.model, []).append(case)
    return _and(
        [
            name(each[0]) if len(each) == 1 else f"{len(each)} settings of {_model(each[0])}"
            for each in by_model.values()
        ]
    )


def _model(case: Case) -> str:
    return name(case.model_copy(update={"arm_parts": (), "rung": False}))


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def place_shown(loaded: Loaded) -> list[str]:
    """Say which batch size and number format figures show, if the grid has several, and how many arms and lengths of many."""
    grid, said = loaded.run.plan.suite.grid, []
    if len(grid.batch_size) > 1 or len(grid.dtype) > 1:
        said.append(f"Figures and tiles show batch size {grid.batch_size[0]} in {grid.dtype[0]}; the table has all.")
    counts = [
        f"{len(shown)} of {len(every):,} {what}"
        for shown, every, what in (
            (loaded.arms_shown, loaded.arms[1:], "arms"),
            (loaded.lengths_shown, loaded.lengths, "lengths"),
        )
        if len(shown) < len(every)
    ]
    if counts:
        said.append(f"Figures and tiles show {' and '.join(counts)}; cases.csv and comparisons.csv have all.")
    return said
