"""How a setting holds a limit: it fits, breaks it, is inconclusive or unknown; and what would have to be measured to know.

A limit is held where the end of the 95 % interval holds it. A count has no interval: its value decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from modbench.extend import (
    HELD_OUT,
    INCONCLUSIVE,
    MOST,
    SMOKE_RUN,
    Again,
    Case,
    Finding,
    Loaded,
    NotAgainError,
    above_0,
    counted,
    effects,
    fewest,
    grouped,
)
from modbench.plugins.recommend.candidates import (
    KV_CACHE,
    MEMORY,
    NOISY,
    NOT_MEASURED,
    SIZE,
    Candidate,
    Value,
    effect_between,
)
from modbench.plugins.sweeps.held_against import held_against

FITS, MAY, BREAKS, UNKNOWN = "fits", INCONCLUSIVE, "breaks", "unknown"
# From the best to the worst.
WORDS = (FITS, MAY, UNKNOWN, BREAKS)
SAW_FUTURE = "non-causal routing: its causal loss was not measured"
DOCTOR = "modbench doctor"
BELOW = "by the estimate, its confidence interval reaches below the limit"
ABOVE = "its confidence interval reaches above the limit"


@dataclass(frozen=True)
class Need:
    """What would decide something.

    Attributes:
        metric: what must be measured, once more or for the first time; None: no command measures it.
        why: what is lacking.
        processes: so many in all; 0: as many as were made.
        seeds: the same of seeds.
        seq_len: the length at which a model must be trained; None: that of the suite.
        checked: whether the machine must be checked first.
        claims: whether the run was too short to claim anything.
    """

    metric: str | None
    why: str
    processes: int = 0
    seeds: int = 0
    seq_len: int | None = None
    checked: bool = False
    claims: bool = False


@dataclass(frozen=True)
class Limits:
    """What a setting must hold; None: nothing was asked.

    Attributes:
        latency: median seconds of a call.
        memory: bytes.
        loss: increase of the loss over that of the dense model of the same shape, as a share of it.
    """

    latency: float | None = None
    memory: float | None = None
    loss: float | None = None

    @property
    def asked(self) -> dict[str, float]:
        """The limits that were asked for."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class LimitCheck:
    """How a setting holds a limit.

    Attributes:
        limit: `latency`, `memory` or `loss`.
        bound: what is allowed.
        word: `fits`, `inconclusive`, `breaks` or `unknown`.
        value: the estimate, in s or B, or as a share; None where there is none.
        end: the end of the interval that must hold it; of a count the value itself.
        excess: by which share the estimate is over the limit; of a loss in shares of the loss. Negative within.
        reason: why it is not shown.
        need: what would decide it.
    """

    limit: str
    bound: float
    word: str
    value: float | None = None
    end: float | None = None
    excess: float | None = None
    reason: str | None = None
    need: Need | None = None


def loss_against(loaded: Loaded, one: Candidate, other: Candidate) -> Finding | None:
    """Hold the losses of two settings against each other, without later tokens where both have such a loss."""
    if one.trained is None or other.trained is None or one.case.variant == other.case.variant:
        return None
    metrics = dict.fromkeys((one.loss.metric, other.loss.metric, "loss/val"))
    found = (held_against(loaded, one.trained, other.trained, metric) for metric in metrics)
    return next((each for each in found if each is not None), None)


def check_limit(loaded: Loaded, each: Candidate, baseline: Candidate, limit: str, bound: float) -> LimitCheck:
    """Hold a setting against a limit.

    Args:
        loaded: the run.
        each: the setting.
        baseline: the setting whose loss others may exceed by so much.
        limit: `latency`, `memory` or `loss`.
        bound: what is allowed, in s, in B, or as a share of the baseline's loss.
    """
    if limit == "loss":
        return _loss_kept(loaded, each, baseline, bound)
    value = each.of(limit)
    if value.value is None:
        return LimitCheck(limit, bound, UNKNOWN, reason=f"{value.metric}: {value.reason}", need=lacking(value))
    excess = value.value / bound - 1
    if limit == SIZE and value.metric == KV_CACHE and value.value <= bound:
        why = "keys and values alone were measured, not weights and activations"
        return LimitCheck(limit, bound, UNKNOWN, value.value, None, excess, why, Need(MEMORY, why))
    exact = value if value.sampled else replace(value, low=value.value, high=value.value)
    unsure = value.unsure or (None if exact.closed else value.reason)
    held = LimitCheck(limit, bound, BREAKS, value.value, exact.high, excess)
    return _held(held, exact.low, unsure, lambda: _processes(value, bound))


def _held(broken: LimitCheck, low: float | None, unsure: str | None, need: Callable[[], Need]) -> LimitCheck:
    """Return how a limit is held whose estimate and end are known.

    Args:
        broken: what is known, as if it were broken.
        low: the other end of the interval; None where there is none.
        unsure: why the interval supports no claim; None: it does.
        need: finds what would decide where the estimate alone holds it.
    """
    assert broken.value is not None
    if broken.value > broken.bound:
        return replace(broken, reason=unsure or (BELOW if low is not None and low <= broken.bound else None))
    if unsure is None and broken.end is not None and broken.end <= broken.bound:
        return replace(broken, word=FITS)
    return replace(broken, word=MAY, reason=unsure or ABOVE, need=need())


def lacking(value: Value) -> Need:
    """Return what must be measured where a value is lacking; what was measured and has none is not helped by a command."""
    measured = value.reason != NOT_MEASURED
    return Need(None if measured else value.metric, f"{value.metric}: {value.reason}")


def doubted(value: Value) -> Need:
    """Return what would let an interval support a claim, which it does not for a reason of the whole run."""
    why = str(value.unsure)
    again = why == SMOKE_RUN or why.startswith(NOISY)
    return Need(value.metric if again else None, why, checked=not again, claims=why == SMOKE_RUN)


def more(n: int | None, metric: str) -> Need:
    """Return how many processes, or seeds of a loss, would decide; None: more than anybody makes."""
    learned = metric in HELD_OUT
    of = "seeds" if learned else "processes"
    if n is None:
        return Need(None, f"{metric}: more than {MOST} {of}")
    return Need(metric, f"{metric}: {n} {of}", processes=0 if learned else n, seeds=n if learned else 0)


def _processes(value: Value, bound: float) -> Need:
    """Return how many processes would bring the end of the interval below the limit, or what else is lacking."""
    if value.unsure is not None:
        return doubted(value)
    if value.value is None or value.high is None:
        return more(effects.FEWEST, value.metric)
    # The interval is one of logarithms: its half-width gives their standard deviation.
    sd = math.log(value.high / value.value) * math.sqrt(value.n) / effects.t_quantile(0.975, value.n)
    processes = fewest(above_0, math.log(bound / value.value), sd, least=value.n + 1)
    return more(processes, value.metric)


def _loss_kept(loaded: Loaded, each: Candidate, baseline: Candidate, bound: float) -> LimitCheck:
    """Hold the increase of a loss over the baseline's against a limit, seed by seed."""
    if each.case.variant == baseline.case.variant:
        return LimitCheck("loss", bound, FITS, 0.0, 0.0, -bound)
    found = loss_against(loaded, each, baseline)
    if found is None or found.typical.value is None or each.trained is None or baseline.trained is None:
        lacks = each.loss if each.loss.value is None else baseline.loss
        why = lacks.reason if lacks.value is None else "not compared with the baseline's"
        return LimitCheck("loss", bound, UNKNOWN, reason=f"{lacks.metric}: {why}", need=lacking(lacks))
    mine, theirs = (loaded.tables.values_of(side, found.metric) for side in (each.trained, baseline.trained))
    shared = mine.keys() & theirs.keys()
    mean = sum(theirs[seed] for seed in shared) / len(shared)
    made = found.typical.scaled(1 / mean)
    increase = made.value or 0.0
    few = None if made.closed else f"{counted(len(shared), 'seed')}: illustration, not shown"
    held = LimitCheck("loss", bound, BREAKS, increase, made.high, increase - bound)
    if found.saw_future:
        return _held(held, made.low, SAW_FUTURE, lambda: Need(None, SAW_FUTURE))
    case, other, metric = each.trained, baseline.trained, found.metric
    return _held(held, made.low, each.loss.unsure or few, lambda: _seeds(loaded, case, other, metric, bound * mean))


def _seeds(loaded: Loaded, case: Case, baseline: Case, metric: str, allowed: float) -> Need:
    """Return how many seeds would bring the end of the interval below an increase that is allowed."""
    effect = effect_between(loaded, case, baseline, metric)
    if effect is None or effect.sd is None:
        return more(effects.FEWEST, metric)
    return more(fewest(above_0, allowed + effect.value, effect.sd, least=effect.n + 1), metric)


# --- the commands that measure what is lacking


def commands(loaded: Loaded, needs: Sequence[tuple[Candidate, Need]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the commands that measure what is lacking, one for each metric, and why there is none for some of it.

    All losses are measured by one: whatever is evaluated, a variant is trained once.
    """
    made, why = [DOCTOR] * any(need.checked for _, need in needs), list[str]()
    again, asked = Again(loaded.run), [(each, need) for each, need in needs if need.metric is not None]
    for mine in grouped((need.metric in HELD_OUT or need.metric, (each, need)) for each, need in asked).values():
        metric = ",".join(dict.fromkeys(str(need.metric) for _, need in mine))
        try:
            made.append(_command(loaded, again, metric, mine))
        except NotAgainError as error:
            why.append(f"No command measures {metric} again: {error}")
    return tuple(made), tuple(why)


def _command(loaded: Loaded, again: Again, metric: str, needs: Sequence[tuple[Candidate, Need]]) -> str:
    suite, settings, numbers = loaded.suite, dict[str, str](), [need for _, need in needs]
    trains = any(need.metric in HELD_OUT for need in numbers)
    if trains and suite.train is None:
        raise NotAgainError("the suite trains nothing: add a table [train] to it.")
    at_lengths = suite.train is not None and len(suite.train.grid_points) > 1
    if not suite.claims or any(need.claims for need in numbers):
        settings["--effort"] = "draft"  # a smoke run makes no claims, however often it is repeated
    if processes := max(need.processes for need in numbers):
        settings["--set processes"] = str(processes)
    if seeds := max(need.seeds for need in numbers):
        more = (seed for seed in range(seeds + len(suite.seeds)) if seed not in suite.seeds)
        settings["--seeds"] = ",".join(str(seed) for seed in [*suite.seeds, *more][:seeds])
    if length := next((need.seq_len for need in numbers if need.seq_len), None):
        settings["--set train.seq_len"] = str(length)
        if suite.train is not None and at_lengths:
            settings["--set train.batch_size"] = str(max(1, suite.train.tokens_per_step // length))
    trained = [each.trained for each, need in needs if each.trained is not None and not need.seq_len]
    if trains and at_lengths and len(trained) == len(needs):
        return again.command(list(dict.fromkeys(trained)), metric, settings)  # at their own length alone
    # Trained in a place of their own, which a run that trained nothing does not have.
    cases = list(dict.fromkeys(each.case for each, _ in needs))
    return again.command(cases, metric, settings, everywhere=trains)
