"""The forecast of `modbench plan`: FLOPs, memory and time of every case, and the time of the run. Nothing is measured."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from modbench.commands._output import elided
from modbench.harness.core.group_by import grouped
from modbench.harness.core.plain_text import SCREEN, WIDTH, aligned
from modbench.harness.core.units import human, human_duration, human_span
from modbench.harness.domain.case import ELEMENT_BYTES
from modbench.harness.domain.user_model_cost import UserModelCost
from modbench.harness.execution.run_time import RunTime
from modbench.harness.execution.runner import phases
from modbench.harness.machine.environment import usable_cores
from modbench.harness.machine.roofline.stored import USUAL
from modbench.harness.planning import suite_tables
from modbench.harness.planning.flops.closed_form import case_cost
from modbench.harness.planning.jobs import JobMaker
from modbench.harness.planning.plan import (
    ASSUMED_FLOP_PER_S,
    BUSY_FLOPS,
    TRAINING_FLOP_PER_S,
    assumed_speed,
    read_corpus,
    training_tokens,
)
from modbench.harness.registry import catalogue
from modbench.reports.markup.number_format import plain, ratio, share
from modbench.reports.wording import MATCHED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modbench.harness.domain.case import Case, Job
    from modbench.harness.planning.adaptive import AdaptiveRule
    from modbench.harness.planning.matching import Costs
    from modbench.harness.planning.plan import Plan

NUMBERS = (
    "params",
    "flops_forward",
    "flops_train_step",
    "flops_share",
    "theoretical",
    "memory_train_step",
    "forward_s",
)
# Cases that are listed, however much else there is to say.
FEWEST = 4
# Grid points of training runs up to which they are named.
MOST_GRID_POINTS = 3
HEADER = ("case", "params", "FLOPs", "share", "theoretical", "memory", "time")
# Columns of the short table, which fit 80 columns.
SHORT = (0, 2, 3, 5, 6)
UNTIMED = "how long a user's model takes is known when it runs"
LEGEND = "FLOPs, share (of the baseline's FLOPs) and time: one forward pass. Memory: one training step."
THEORETICAL = "Theoretical: how much faster the FLOPs promise to be, with causal attention."


def forecast(plan: Plan, costs: Costs | None = None) -> dict[str, Any]:
    """The forecast in base units; None where a number is known only after a user's model ran, or was not counted by `costs`."""
    every = [(job, slot.at_once) for slot in phases(plan, usable_cores()) for job in slot.jobs]
    own = [case for case in plan.cases if case.is_user_model]
    counted = dict(zip(own, costs.counted(own), strict=True)) if costs is not None else {}
    baselines = {case: comparison.variants[0] for comparison in plan.comparisons for case in comparison.variants}
    run_time = RunTime(plan)
    predicted = [(job, run_time.seconds(job, at_once)) for job, at_once in every]
    usual, most = plan.shares("usual"), plan.shares("most")
    return {
        "suite": plan.suite.name,
        "device": plan.device,
        "effort": plan.suite.effort,
        "jobs": round(sum(usual.values())),
        "jobs_most": round(sum(most.values())),
        "predicted_s": sum(seconds * usual[job.name] for job, seconds in predicted),
        "predicted_most_s": sum(job.facts.most * seconds * most[job.name] for job, seconds in predicted),
        "load": run_time.load,
        "searched": any(each.partial for each in plan.comparisons),
        "measured_peaks": run_time.measured,
        "measured_pace": run_time.paced,
        "assumed_flop_per_s": ASSUMED_FLOP_PER_S[plan.device],
        "training": _training(plan),
        "aa_controls": [aa_control.id for comparison in plan.comparisons if (aa_control := comparison.aa_control_case)],
        "aa_control_share": _aa_control_share(plan),
        "matches": [*_matches(plan, run_time, every)],
        "no_matches": plan.no_matches,
        "routers_uncounted": [*dict.fromkeys(case.config.router for case in plan.cases if case.facts.own_router)],
        "variants_from": _variants_from(plan),
        **_of_additions(plan, predicted),
        "cases": [_case(plan, case, baselines[case], run_time, counted) for case in plan.cases],
    }


def _of_additions(plan: Plan, predicted: Sequence[tuple[Job, float]]) -> dict[str, Any]:
    """What passes say of their jobs, rules of what they may request, and tables of plug-ins of the comparisons."""
    rules: dict[str, AdaptiveRule[Any]] = catalogue.usable("adaptive_rules")
    jobs = grouped((job.made_in, (job, seconds)) for job, seconds in predicted)
    said = [
        *(each.forecast(jobs.get(name, [])) for name, each in catalogue.passes().items()),
        *(rule.forecast(plan.suite, plan.members(name)) for name, rule in rules.items()),
        *(table.forecast(plan.suite, plan.comparisons) for table in suite_tables.in_use(plan.suite)),
    ]
    return {key: value for each in said for key, value in each.items()}


def _aa_control_share(plan: Plan) -> float | None:
    """Share by which the baseline's A/A controls lengthen the timed work, in FLOPs; None if there is none."""
    maker, timed = (
        JobMaker(plan.suite, None),
        [job for job in plan.jobs if job.series and job.comparison.variants[-1].aa_control],
    )
    alone = (job.comparison.model_copy(update={"variants": job.comparison.variants[:-1]}) for job in timed)
    without = sum(maker.timed_flops(variants, job.workload) for variants, job in zip(alone, timed, strict=True))
    return sum(job.flops for job in timed) / without - 1 if without else None


def _training(plan: Plan) -> dict[str, Any] | None:
    """Training runs: their number, their cost, and how often they read the corpus."""
    jobs = [job for job in plan.jobs if job.facts.trains and not job.rule and job.flops]
    if not jobs:
        return None
    on_corpus = [job.protocol.train for job in jobs if job.protocol.corpus and job.protocol.train]
    most = max((run.steps * run.tokens_per_step for run in on_corpus), default=0)
    flops, text = sum(job.flops for job in jobs), read_corpus(plan.suite)
    grid_points = [job.comparison.variants[0].grid_point for job in jobs]
    return {
        "runs": sum(max(1, len(job.protocol.rates)) for job in jobs),
        "of_these_for_rates": sum(len(job.protocol.rates) for job in jobs),
        "flops": flops,
        "device_hours": flops / TRAINING_FLOP_PER_S[plan.device] / 3600,
        "assumed_flop_per_s": TRAINING_FLOP_PER_S[plan.device],
        "most_tokens": most,
        "evaluates_only": bool(on_corpus) and most == 0,
        "epochs": most / training_tokens(plan.suite, text) if text else None,
        "grid_points": [
            *dict.fromkeys(f"T{grid_point.seq_len}-B{grid_point.batch_size}" for grid_point in grid_points)
        ],
    }


def _variants_from(plan: Plan) -> dict[str, Any] | None:
    """The variants that were taken from another run; None where they are the suite's."""
    if plan.variants_from is None:
        return None
    from modbench.reports.tables.best_variants import sentence  # pandas, which other plans do without

    return plan.variants_from.model_dump() | {"in_words": plain(sentence(plan.variants_from))}


def _matches(plan: Plan, run_time: RunTime, every: Sequence[tuple[Job, int]]) -> Iterator[dict[str, Any]]:
    """The dense models that were solved to cost what the user's do, with the time that each adds to the run."""
    if plan.suite.match == "none":
        return
    own, solved = (
        {case.variant for case in plan.cases if case.is_user_model},
        {case.variant for case in plan.cases if case.matched},
    )
    matched_baselines = (
        matched for matched in plan.matched_baselines if matched.target in own and matched.variant in solved
    )
    targets = grouped(((matched.variant, matched.quantity), matched.target) for matched in matched_baselines)
    usual, maker = plan.shares("usual"), JobMaker(plan.suite, None)
    for (variant, quantity), of in targets.items():
        seconds = sum(usual[job.name] * _adds(job, variant, run_time, maker, at_once) for job, at_once in every)
        yield {"variant": variant, "targets": of, "quantity": quantity, "predicted_s": seconds}


def _adds(job: Job, variant: str, run_time: RunTime, maker: JobMaker, at_once: int) -> float:
    """Seconds that a variant, and its A/A control if it is the baseline, add to a job: all of a job of its own."""
    variants = job.comparison.variants
    rest = tuple(case for case in variants if case.original.variant != variant)
    if len(rest) == len(variants) or job.facts.about_machine:
        return 0.0
    whole = run_time.seconds(job, at_once)
    work = {case: maker.forward(job.comparison, case) for case in variants}
    left = sum(work[case] for case in rest) / sum(work.values())
    if not rest or variants[0] not in rest:  # what the others take is known from the baseline
        return whole * (1 - left)
    comparison = job.comparison.model_copy(update={"variants": rest})
    without = {"comparison": comparison, "series": "", "flops": job.flops * left}
    return whole - run_time.seconds(job.model_copy(update=without), at_once)


def _case(
    plan: Plan, case: Case, baseline: Case, run_time: RunTime, counted: Mapping[Case, UserModelCost | str]
) -> dict[str, Any]:
    closed, base_closed = case_cost(case), case_cost(baseline)
    found = counted.get(case, "is counted when it runs")
    cost, base = closed or _known(found), base_closed or _known(counted.get(baseline))
    known = {"case": case.id, "model": case.model, "options": dict(case.options)}
    if cost is None:
        return known | dict.fromkeys(NUMBERS) | {"source": None, "reason": f"a user's model {found}"}
    memory, why, source = None, None, "closed form"
    if isinstance(found, UserModelCost):  # other tensors than ours are kept
        memory, why = found.memory, found.memory_reason
        source = source if closed else found.source
    elif closed is not None and not case.is_user_model:
        memory = closed.memory_train(ELEMENT_BYTES[case.grid_point.dtype])
    seconds = run_time.call(case, "forward")
    if seconds is None and closed is not None:
        seconds = closed.forward / assumed_speed(plan.device, closed.forward)
    reasons = [UNTIMED] * (seconds is None) + [f"memory: {why}"] * (memory is None and why is not None)
    return known | {
        "params": cost.params,
        "flops_forward": cost.forward,
        "flops_train_step": cost.train_step,
        "flops_share": cost.forward / base.forward if base else None,
        "theoretical": base_closed.forward_causal / closed.forward_causal if closed and base_closed else None,
        "memory_train_step": memory,
        "forward_s": seconds,
        "source": source,
        "reason": "; ".join(reasons) or None,
    }


def _known(found: UserModelCost | str | None) -> UserModelCost | None:
    return found if isinstance(found, UserModelCost) else None


def as_text(forecast: dict[str, Any], *, verbose: bool = False) -> str:
    """The jobs and their time in one line; then the cases, and notes on this plan."""
    notes = [
        LEGEND,
        *([THEORETICAL] if verbose else []),
        *_matches_text(forecast),
        *_aa_control_text(forecast),
        *_router_text(forecast),
        *(note for each in catalogue.passes().values() for note in each.forecast_in_words(forecast)),
        *_training_text(forecast["training"]),
    ]
    notes += [forecast["variants_from"]["in_words"]] if forecast["variants_from"] else []
    notes += [note for table in catalogue.usable("suite_tables").values() for note in table.forecast_in_words(forecast)]
    notes += [note for rule in catalogue.usable("adaptive_rules").values() for note in rule.forecast_in_words(forecast)]
    notes += [*_reasons(forecast["cases"]), *_sources(forecast["cases"]), *_basis(forecast)]
    wrapped_notes = [
        line for note in notes for line in textwrap.wrap(note, WIDTH, break_on_hyphens=False, break_long_words=False)
    ]
    columns = range(len(HEADER)) if verbose else SHORT
    rows = [_cells(case) for case in forecast["cases"]]
    head, *lines = aligned([[row[at] for at in columns] for row in (HEADER, *rows)], right=range(1, len(columns)))
    if not verbose:
        lines = elided(lines, max(FEWEST, SCREEN - len(wrapped_notes) - 4), "cases")
    return "\n".join([_answer(forecast), "", head, *lines, "", *wrapped_notes])


def _cells(case: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table; a dash where the forecast lacks something."""
    return (
        case["case"],
        human(case["params"], "param"),
        human(case["flops_forward"], "FLOP"),
        share(case["flops_share"] or None, 1),
        ratio(case["theoretical"]) if case["theoretical"] else "–",
        human(case["memory_train_step"], "B"),
        human(case["forward_s"], "s"),
    )


def _reasons(cases: list[dict[str, Any]]) -> list[str]:
    """Why cells are empty, once for all cases."""
    reasons = [
        case["reason"] or ("memory is predicted when it runs" * (case["memory_train_step"] is None)) for case in cases
    ]
    return [f"–: {reason}." for reason in dict.fromkeys(filter(None, reasons))]


def _answer(forecast: dict[str, Any]) -> str:
    """The number of jobs, the device and the time."""
    jobs, most = forecast["jobs"], forecast["jobs_most"]
    usual, longest = took_in_words(forecast), human_duration(forecast["load"] * forecast["predicted_most_s"])
    if forecast["searched"]:
        amount = f"at most {most} jobs on {forecast['device']}, {longest}; the search needs {jobs}, {usual}"
    else:
        amount = f"{jobs}{f' to {most}' * (most > jobs)} jobs on {forecast['device']}, {usual}"
        amount += f", up to {longest}" * (forecast["predicted_most_s"] > forecast["predicted_s"])
    return f"{forecast['suite']}: {amount}. Nothing was measured."


def took_in_words(forecast: dict[str, Any]) -> str:
    """How long a run takes: as predicted, to as much longer as the last ones took here."""
    span = human_span(forecast["predicted_s"], forecast["load"] * forecast["predicted_s"])
    return span if span.startswith("up to") else f"about {span}"


def _basis(forecast: dict[str, Any]) -> Iterator[str]:
    """The basis of the predicted times, and what makes a run take longest."""
    if forecast["predicted_most_s"] > forecast["predicted_s"] and not forecast["searched"]:
        yield "It takes longest if pilots ask for more processes, or the best learning rate lies at an edge."
    if (times := f"{forecast['load']:.1f}") != "1.0":
        yield f"The longer time is {times} times the predicted one: as busy as the last runs or `doctor` found this machine."
    if not forecast["measured_peaks"]:
        rate = f"{forecast['assumed_flop_per_s'] / 1e9:g} GFLOP/s"
        if forecast["device"] == "cuda":
            busy = human(BUSY_FLOPS, "FLOP")
            rate += f" ({TRAINING_FLOP_PER_S['cuda'] / 1e9:g} where a forward pass takes {busy} or more)"
        yield f"Times are a guess: FLOPs at an assumed {rate}."
        return
    yield "Times follow from the peaks by shape that were last measured on this machine."
    if forecast["training"] and forecast["measured_pace"]:
        yield "Those of training also follow from how long it took in earlier runs."
    elif forecast["training"]:
        yield f"No run here has shown how long training takes: {USUAL:g} times what the peaks promise is assumed."


def _matches_text(forecast: dict[str, Any]) -> list[str]:
    """Each matched baseline, what it has in common with which models, and what it costs in time; and which models have none."""
    said = [
        f"{each['variant']} has the {MATCHED[each['quantity']]} of {', '.join(each['targets'])} and takes about "
        f"{human_duration(each['predicted_s'])} of the run. --match none leaves it out."
        for each in forecast["matches"]
    ]
    return said + [f"{variant} has no matched baseline: {why}" for variant, why in forecast["no_matches"].items()]


def _sources(cases: list[dict[str, Any]]) -> list[str]:
    """How the FLOPs of users' models were counted, once for all cases."""
    found = dict.fromkeys(case["source"] for case in cases if case["source"] not in {None, "closed form"})
    return [f"FLOPs of users' models: {source}." for source in found]


def _aa_control_text(forecast: dict[str, Any]) -> list[str]:
    if not forecast["aa_controls"]:
        return []
    more = f", {share(forecast['aa_control_share'])} more timed work" if forecast["aa_control_share"] else ""
    aa_controls = forecast["aa_controls"]
    others = f" and {len(aa_controls) - 1} more" if len(aa_controls) > 1 else ""
    said = f"An A/A control of the baseline checks the machine: {aa_controls[0]}{others}{more}."
    return [f"{said} --set aa_control=false leaves it out."]


def _router_text(forecast: dict[str, Any]) -> list[str]:
    named = ", ".join(forecast["routers_uncounted"])
    return [f"Without what the router {named} computes: the run counts it."] if named else []


def _grid_points_text(grid_points: list[str]) -> str:
    """The cases of training runs, where they are few."""
    return f" (the cases {' and '.join(grid_points)})" if len(grid_points) <= MOST_GRID_POINTS else ""


def _training_text(training: dict[str, Any] | None) -> list[str]:
    if training is None:
        return []
    rates, tokens, epochs = training["of_these_for_rates"], training["most_tokens"], training["epochs"]
    what = "evaluations of stored weights" if training["evaluates_only"] else "training runs"
    searches = f" ({rates} of them to find learning rates)" if rates else ""
    text = f"; at most {tokens:,} tokens per run, {epochs:.2g} epochs over the corpus" if tokens and epochs else ""
    runs = (
        f"{training['runs']} {what}{_grid_points_text(training['grid_points'])}{searches}, "
        f"{human(training['flops'], 'FLOP')}{' with evaluation' * (not training['evaluates_only'])}, "
        f"{training['device_hours']:.2g} device hours at {training['assumed_flop_per_s'] / 1e9:g} GFLOP/s{text}."
    )
    return [runs]
