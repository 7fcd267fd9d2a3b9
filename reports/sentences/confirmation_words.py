"""What a sweep confirmed, in words: the best against the anchor, whether its router earned that, and what would decide."""

from __future__ import annotations

import math
from collections.abc import Iterator

from modbench.harness.core.units import counted, human_duration
from modbench.harness.planning.confirming import explores, is_noise
from modbench.harness.results.choosing import fit_of, place_of
from modbench.harness.results.confirmed import Compared, Look, found_in
from modbench.harness.stats.joint_fit import Optimum
from modbench.reports.questions.confirmation import Answer, answers
from modbench.reports.questions.isoflop import attention, in_flops
from modbench.reports.tables.load import Loaded
from modbench.reports.wording.arm_names import name
from modbench.reports.wording.words import is_number

NATS = "nats per token"
# An optimum between two sizes that lies lower by less than this share of the margin decides nothing.
LEAST = 0.25
# Times the anchor's parameters from which a report says so.
MORE = 1.25
CHEAPER = (
    "So the gain may come from cheaper steps, of which a budget allows more: it is not shown to come from the router."
)


def in_words(loaded: Loaded) -> list[str]:
    """Say what was confirmed: a few sentences for each budget; none if nothing was."""
    return [sentence for answer in answers(loaded) for sentence in of(loaded, answer)]


def doubts(loaded: Loaded) -> Iterator[str]:
    """Yield a sentence for each budget at which the suite allowed fewer seeds than the spread asked for."""
    for answer in answers(loaded):
        told = answer.confirmed
        if told.planned and (told.wanted is None or told.wanted > told.planned):
            asked = "more than 2,000" if told.wanted is None else f"{told.wanted}"
            yield (
                f"The spread over seeds when exploring asked for {asked} fresh seeds of each arm to show a difference of "
                f"{_percent(answer)} of the loss with 80 % power; the suite allows {told.planned}."
            )


def between_sizes(loaded: Loaded) -> list[str]:
    """Say of which confirmed arms the fit expects a lower loss between two sizes; none of which it does not."""
    return [sentence for answer in answers(loaded) for sentence in _between_sizes(loaded, answer)]


def _between_sizes(loaded: Loaded, answer: Answer) -> Iterator[str]:
    place = next((side.case.place for side in answer.sides.values()), None)
    left = []
    for record in loaded.run.records:
        (case, *_), loss = record.unit.comparison.arms, found_in(record).loss
        if case.budget == answer.budget and case.place == place and explores(record.unit) and loss is not None:
            left.append((record.unit, loss))
    if not left or answer.confirmed.margin is None:
        return
    fitted = fit_of(left)
    for role, side in answer.sides.items():
        optimum = fitted.optimum(side.case.variant)
        if not isinstance(optimum, Optimum):
            continue
        gain = fitted.predicted(side.case.variant)[place_of(side.case)].value - optimum.loss.value
        if gain > LEAST * answer.confirmed.margin:
            at = f"{math.exp(optimum.place.value) / 1e6:.2f} M parameters"
            yield (
                f"The sweep's fit expects {short_name(answer, role)} to be {gain:.3f} nats per token better at {at}, between the "
                "sizes trained: a size there may change the answer."
            )


def pays(answer: Answer) -> bool | None:
    """Whether skipping pays: the best beats both the anchor and the control; None where one of the two is open."""
    verdicts = [answer.verdict(role) for role in ("anchor", "control")]
    if any(verdict in {"worse", "equivalent"} for verdict in verdicts):
        return False
    return True if verdicts == ["better", "better"] else None


def short_name(answer: Answer, role: str) -> str:
    """Display name of a role's variant, without its size."""
    case = answer.sides[role].case  # type: ignore[index]
    return name(case.model_copy(update={"arm_parts": case.arm_parts[:-1]}))


def of(loaded: Loaded, answer: Answer) -> list[str]:
    """Say what one confirmation found."""
    told, at = answer.confirmed, f"At {in_flops(answer.budget)} ({attention(answer.count)})"
    at += f" in {answer.dtype}" if answer.dtype else ""
    if told.reason is not None:
        return [f"{at} nothing was confirmed: {told.reason}."]
    said = [_against(answer, compared, at if i == 0 else "") for i, compared in enumerate(told.compared)]
    verdict, control = answer.verdict("anchor"), answer.verdict("control")
    if told.lacking:
        said.append(f"No run of {', '.join(told.lacking)} left a loss: it could not be chosen.")
    noise = answer.control is None or is_noise(answer.control)
    who, anchor = short_name(answer, "best"), short_name(answer, "anchor") if "anchor" in answer.sides else ""
    if pays(answer):
        what = "Skipping tokens" if answer.sides["best"].case.config.capacity is not None else who
        beaten = "routing by noise" if noise else short_name(answer, "control")
        said.append(f"{what} pays here in loss at equal FLOPs: {who} beats {anchor} of equal cost, and {beaten}.")
    elif verdict == "better" and control is not None:
        beside = short_name(answer, "control")
        said.append(CHEAPER if noise else f"So the gain is not shown to come from skipping: {beside} may have it too.")
    elif verdict == "better" and answer.control is None:
        said.append("No control was confirmed, such as routing by noise: whether the router earned that is open.")
    said += _parameters(loaded, answer)
    if not loaded.run.plan.suite.claims:
        said.append("A smoke run claims nothing.")
    return said


def _parameters(loaded: Loaded, answer: Answer) -> list[str]:
    """A sentence where the best holds many more or many fewer parameters than the anchor."""
    if "anchor" not in answer.sides or "best" not in answer.sides:
        return []
    held = [loaded.tables.counted(answer.sides[role].case).params for role in ("best", "anchor")]
    if held[0] is None or not held[1]:
        return []
    ratio = held[0] / held[1]
    if MORE**-1 < ratio < MORE:
        return []
    return [f"{short_name(answer, 'best')} holds {ratio:.2g}× the parameters of {short_name(answer, 'anchor')}."]


def _against(answer: Answer, compared: Compared, at: str) -> str:
    """One sentence: how the best compares with one other, and what would decide it."""
    best, other = short_name(answer, "best"), short_name(answer, compared.role)
    who = f"{at}, {best}" if at else best
    if not compared.looks:
        return f"{who} could not be compared with {other}: {compared.reason or 'no run left a loss'}."
    last = compared.looks[-1]
    how = f"{_difference(answer, compared, last)} ({_seeds(last)})"
    if last.verdict in {"better", "worse"}:
        said = f"{who} has a {'lower' if last.verdict == 'better' else 'higher'} loss than {other}: {how}"
    elif last.verdict == "equivalent":
        said = f"{who} and {other} differ by less than {_percent(answer)} of the loss: {how}"
    else:
        said = (
            f"Not decided: {who[:1].lower() + who[1:] if at else who} against {other}: {how}{_needed(answer, compared)}"
        )
    lost = f" {compared.reason[:1].upper()}{compared.reason[1:]}." if compared.reason else ""
    return f"{said}.{lost}"


def _percent(answer: Answer) -> str:
    margin, whole = answer.confirmed.margin or 0.0, answer.sides["anchor" if "anchor" in answer.sides else "best"].mean
    return f"{margin / whole:.1%}".replace("%", " %") if whole else f"{margin:.3f} nats"


def _difference(answer: Answer, compared: Compared, last: Look) -> str:
    """`-0.050 nats per token [-0.061, -0.039], 3.4 % of the loss, worth 1.31× the training compute of dense [1.20, 1.44]`."""
    said, whole = f"{last.value:+.3f} {NATS}{_ends(last.low, last.high, '+.3f')}", answer.sides[compared.role].mean
    if whole:
        said += f", {abs(last.value) / whole:.1%}".replace("%", " %")
    worth = answer.worth if compared.role == "anchor" else None
    if worth is not None and worth.value is not None:
        anchor = short_name(answer, compared.role)
        said += f", worth {worth.value:.2f}× the training compute of {anchor}{_ends(worth.low, worth.high, '.2f')}"
    return said


def _ends(low: float | None, high: float | None, form: str) -> str:
    return f" [{low:{form}}, {high:{form}}]" if is_number(low) and is_number(high) else ""


def _seeds(last: Look) -> str:
    one, other = last.seeds
    return counted(one, "fresh seed") + " each" if one == other else f"{one} and {other} fresh seeds"


def _needed(answer: Answer, compared: Compared) -> str:
    """What would decide it, and how to ask: `; 40 other fresh seeds of each, 3 h 06 min here besides the sweep, would …`."""
    if compared.more is None:
        return ""
    hours = answer.hours(compared)
    time = "" if hours is None else f", {human_duration(3600 * hours)} here besides the sweep,"
    first = answer.first_seed + 1000
    ask = f"--set confirm.first_seed={first} --set confirm.seeds={compared.more}"
    return f"; {compared.more} other fresh seeds of each{time} would probably decide ({ask})"
