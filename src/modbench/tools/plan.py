"""What `modbench plan` tells: every case with predicted FLOPs, memory and time; the whole run's time. Nothing is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modbench.harness.core.case import ELEMENT_BYTES
from modbench.harness.core.train_plan import MOST_MORE
from modbench.harness.core.units import human, human_duration
from modbench.harness.execution.runner import phases
from modbench.harness.flops.closed_form import case_cost
from modbench.harness.machine.environment import usable_cores
from modbench.harness.planning.plan import (
    ASSUMED_FLOP_PER_S,
    BUSY_FLOPS,
    TRAINING_FLOP_PER_S,
    assumed_speed,
    predicted_seconds,
    read_corpus,
    training_tokens,
)

if TYPE_CHECKING:
    from modbench.harness.core.case import Case, UnitOfWork
    from modbench.harness.planning.plan import Plan


def forecast(plan: Plan) -> dict[str, Any]:
    """Numbers in base units; null for what is only known once a user's model has run."""
    units = [(unit, slot.at_once) for slot in phases(plan, usable_cores()) for unit in slot.units]
    anchors = {case: comparison.arms[0] for comparison in plan.comparisons for case in comparison.arms}
    return {
        "suite": plan.suite.name,
        "device": plan.device,
        "effort": plan.suite.effort,
        "units": len(plan.units),
        "predicted_s": sum(predicted_seconds(plan, *unit) for unit in units),
        "predicted_most_s": sum(_times(plan, unit) * predicted_seconds(plan, unit, at_once) for unit, at_once in units),
        "assumed_flop_per_s": ASSUMED_FLOP_PER_S[plan.device],
        "training": _training(plan),
        "cases": [_case(plan, case, anchors[case]) for case in plan.cases],
    }


def _training(plan: Plan) -> dict[str, Any] | None:
    """Training runs: how many, what they cost, and how often they go over the corpus."""
    units = [unit for unit in plan.units if unit.made_in in {"train", "rates"}]
    if not units:
        return None
    on_corpus = [unit.protocol.train for unit in units if not unit.comparison.arms[0].task and unit.protocol.train]
    most = max((run.steps * run.tokens_per_step for run in on_corpus), default=0)
    flops, text = sum(unit.flops for unit in units), read_corpus(plan.suite)
    return {
        "runs": sum(max(1, len(unit.protocol.rates)) for unit in units),
        "of_these_for_rates": sum(len(unit.protocol.rates) for unit in units),
        "flops": flops,
        "device_hours": flops / TRAINING_FLOP_PER_S[plan.device] / 3600,
        "assumed_flop_per_s": TRAINING_FLOP_PER_S[plan.device],
        "most_tokens": most,
        "epochs": most / training_tokens(plan.suite, text) if text else None,
    }


def _times(plan: Plan, unit: UnitOfWork) -> float:
    """How many times as long a unit may take: what is timed has a pilot, which may ask for more rounds."""
    _, rounds = plan.suite.protocol_size
    if unit.made_in == "rates":  # and rates beyond an edge that is the best
        return 1 + MOST_MORE / len(unit.protocol.rates)
    return plan.suite.rounds_limit / rounds if unit.made_in == "time" else 1.0


def _case(plan: Plan, case: Case, anchor: Case) -> dict[str, Any]:
    cost, base = case_cost(case), case_cost(anchor)
    if cost is None:
        unknown = (
            "params",
            "flops_forward",
            "flops_train_step",
            "flops_share",
            "ideal",
            "memory_train_step",
            "forward_s",
        )
        return {"case": case.id} | dict.fromkeys(unknown) | {"reason": "a user's model: counted when it runs"}
    return {
        "case": case.id,
        "params": cost.params,
        "flops_forward": cost.forward,
        "flops_train_step": cost.train_step,
        "flops_share": cost.forward / base.forward if base else None,
        "ideal": base.forward_causal / cost.forward_causal if base else None,
        "memory_train_step": cost.memory_train(ELEMENT_BYTES[case.place.dtype]),
        "forward_s": cost.forward / assumed_speed(plan.device, cost.forward),
        "reason": None,
    }


def as_text(told: dict[str, Any]) -> str:
    """A table and the total."""
    head = ["case", "params", "FLOPs forward", "of anchor", "ideal", "train-step memory", "forward time"]
    rows = [head]
    for case in told["cases"]:
        if case["reason"]:
            rows.append([case["case"], "", case["reason"], "", "", "", ""])
            continue
        rows.append(
            [
                case["case"],
                f"{case['params'] / 1e6:.2f} M",
                human(case["flops_forward"], "FLOP"),
                f"{case['flops_share']:.1%}" if case["flops_share"] else "",
                f"{case['ideal']:.2f}×" if case["ideal"] else "",
                human(case["memory_train_step"], "B"),
                human(case["forward_s"], "s"),
            ]
        )
    widths = [max(len(row[i]) for row in rows if i == 0 or row[1] or row is head) for i in range(len(head))]
    lines = [
        "  ".join(
            text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(r, widths, strict=True))
        ).rstrip()
        for r in rows
    ]
    rate = f"{told['assumed_flop_per_s'] / 1e9:g} GFLOP/s"
    if told["device"] == "cuda":
        rate += (
            f" ({TRAINING_FLOP_PER_S['cuda'] / 1e9:g} where a forward pass takes {human(BUSY_FLOPS, 'FLOP')} or more)"
        )
    most = f" (up to {human_duration(told['predicted_most_s'])} where pilots ask for more rounds, or the best rate is at an edge)"
    more = most if told["predicted_most_s"] > told["predicted_s"] else ""
    total = (
        f"{told['suite']}: {told['units']} units on {told['device']}, about {human_duration(told['predicted_s'])}{more}. "
        f"Times are a guess: FLOPs at an assumed {rate}. Nothing was run."
    )
    return "\n".join([*lines, "", *_in_words(told["training"]), total])


def _in_words(training: dict[str, Any] | None) -> list[str]:
    if training is None:
        return []
    rates = (
        f" ({training['of_these_for_rates']} of them to find learning rates)" if training["of_these_for_rates"] else ""
    )
    epochs = ""
    if training["most_tokens"] and training["epochs"] is not None:
        epochs = (
            f"; at most {training['most_tokens']:.3g} tokens a run, {training['epochs']:.2g} epochs over the corpus"
        )
    runs = f"{training['runs']} training runs{rates}, {human(training['flops'], 'FLOP')} with evaluation"
    return [
        f"{runs}, {training['device_hours']:.2g} device hours at {training['assumed_flop_per_s'] / 1e9:g} GFLOP/s{epochs}."
    ]
