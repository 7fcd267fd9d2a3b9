"""The vocabulary: names of variants (`MoD 0.125`, `dense, 56 % of the FLOPs`), of workloads, and verdicts in words."""

from __future__ import annotations

import re
from collections.abc import Iterable

from modbench.harness.core.errors import UsageError, unknown
from modbench.harness.core.variant_titles import short_name
from modbench.harness.domain.case import Case
from modbench.harness.stats.verdicts import BETTER, BETTER_OPEN, EQUIVALENT, INCONCLUSIVE, WORSE, WORSE_OPEN

_NAMES = {
    "mod": "MoD",
    "mode_staged": "MoDE staged",
    "mode_integrated": "MoDE integrated",
    "moe": "MoE",
    "depth_predictor": "depth predictor",
    "depth_branches": "depth branches",
    "depth_scale": "depth scale",
    "early_exit": "early exit",
}
# What a matched baseline has in common with its target, by the letter in its name (`planning/matched_baselines.py`).
_QUANTITIES = {"f": "FLOPs", "t": "training FLOPs", "p": "parameters", "s": "time"}
# A longer name would leave a figure no room.
MOST_LETTERS = 32
MOST_IN_TITLE = 16


def model_name(model: str) -> str:
    """Return the display name of a model: `MoD`, or `mine:build` for a user's."""
    return _NAMES.get(model, short_name(model))


def in_title(case: Case) -> str:
    """Return the name of a baseline where a title has room for it, else `the baseline`."""
    return short(case) if len(short(case)) <= MOST_IN_TITLE else "the baseline"


def name(case: Case) -> str:
    """Return the display name of a variant: `MoD 0.125`, `dense, 56 % of the FLOPs`, `mine:build`, or the title that it has."""
    if case.title:
        return case.title
    if case.matched:
        share, quantity = _matched(case)
        equal = f"{share} of the {quantity}" if share else f"{quantity} of {_target(case)}"
        return f"{model_name(case.model)}, {equal}"
    return _of_parts(case.model, case.variant_parts)


def _of_parts(model: str, parts: Iterable[str]) -> str:
    """A model with parts of a variant's id, of which `c0.125` is shown as `0.125`, `experts_top_k2` as `top-2`."""
    said = (re.sub(r"^experts_top_k(?=[0-9]+$)", "top-", re.sub(r"^c(?=[0-9.e-]+$)", "", part)) for part in parts)
    return " ".join((model_name(model), *said))


def short(case: Case) -> str:
    """Return the display name where a figure has little room: `dense 56 %` for `dense, 56 % of the FLOPs`.

    `dense for MoD 0.125` stands for `dense, FLOPs of MoD 0.125`.

    Of a long name the middle is left out.
    """
    return cut(whole(case))


def whole(case: Case) -> str:
    """Return the same, however long it is: for a figure that breaks it into lines."""
    if not case.matched or case.title:
        return name(case)
    return f"{model_name(case.model)} {_matched(case)[0] or f'for {_target(case)}'}"


def cut(said: str, most: int = MOST_LETTERS, end: int = 11) -> str:
    """Leave out the middle of a name of more than `most` letters; so many stand at its end."""
    return said if len(said) <= most else f"{said[: most - end - 1]}…{said[-end:]}"


def variant_named(variants: Iterable[Case], text: str, kind: str) -> Case:
    """Return the variant that a text names.

    A variant answers to its id (`mod[c0.125]`), to its names in the report (`MoD 0.125`, `dense 56 %`) in any case of letters,
    and to a part of its id that no other variant has (`c0.125`, `f0.56`, `mod`).

    Args:
        variants: cases of all variants; several cases of one variant are one.
        text: what the user typed.
        kind: what it is called in a message.

    Raises:
        UsageError: if no variant, or more than one, has that name.
    """
    by_id = {case.variant: case for case in reversed(list(variants)) if not case.aa_control}
    if text in by_id:
        return by_id[text]
    asked = " ".join(text.split()).casefold()
    for names in (_whole, _parts):
        found = [case for case in by_id.values() if asked in names(case)]
        if len(found) == 1:
            return found[0]
        if found:
            said = ", ".join(sorted(case.variant for case in found))
            raise UsageError(f"{kind} {text!r} could be any of {said}. Name one of them.")
    raise unknown(kind, text, by_id)


def _whole(case: Case) -> set[str]:
    """What the variant is called, in small letters."""
    return {text.casefold() for text in (case.variant, name(case), short(case), short(case).replace(" %", "%"))}


def _parts(case: Case) -> set[str]:
    """Parts of its id, in small letters; those of a variant that a matched baseline is named by are no names of it."""
    named_by_target = case.matched and not _matched(case)[0]
    own = case.variant_parts[:1] if named_by_target else case.variant_parts
    return {part.casefold() for part in (case.short_model, *own)}


def _matched(case: Case) -> tuple[str, str]:
    """The share of the suite's baseline's cost that a matched baseline has, and the quantity, from a part such as `f0.56`.

    The share is empty where it depends on the length, or is one of a variant that does not run.
    """
    part = case.variant_parts[0]
    return f"{100 * float(part[1:]):.4g} %" if part[1:] else "", _QUANTITIES[part[0]]


def _target(case: Case) -> str:
    """The variant that a matched baseline without a share is named by: of the parts `f`, `mod` and `c0.125` MoD 0.125."""
    _, model, *parts = case.variant_parts
    return _of_parts(model, parts)


# Glyph and word of each verdict, for times; below for everything else.
TIME_WORDS = {
    BETTER: "▲ faster",
    WORSE: "▼ slower",
    EQUIVALENT: "≈ equivalent",
    BETTER_OPEN: "△ faster (size open)",
    WORSE_OPEN: "▽ slower (size open)",
    INCONCLUSIVE: "? inconclusive",
}
PLAIN_WORDS = {
    verdict: words.replace("faster", BETTER).replace("slower", WORSE) for verdict, words in TIME_WORDS.items()
}
# Those that leave nothing open.
DECIDED = {BETTER, WORSE, EQUIVALENT}
# In place of a verdict on two runs.
_OF_RUNS = {
    "not alternated": "· not alternated",
    "not compared": "· not compared",
    "new": "+ new",
    "missing": "– missing",
}
# Timed workloads by metric, in the order of the page: those of single calls, which figures have along the length.
TIMED = {
    "latency/forward": "forward pass",
    "latency/train_step": "train step",
    "latency/prefill": "prefill",
    "latency/decode": "decode step",
}
# All of which an answer speaks.
WORKLOADS = TIMED | {"latency/request": "request"}
# Bytes, and all that is counted or allocated, so that it has no interval.
BYTES = {"memory/peak_allocated": "peak memory", "memory/kv_cache": "KV cache"}
EXACT = {"flops/forward": "forward FLOPs"} | BYTES
# What a matched baseline has in common with its target.
MATCHED = {
    "flops/forward": "FLOPs",
    "flops/train_step": "training FLOPs",
    "params": "parameters",
    "latency/forward": "predicted time",
}


def verdict_words(verdict: object, *, timed: bool = True) -> str:
    """Return a verdict as a glyph and a word, or `no claim`; times are faster or slower, all else better or worse."""
    return ((TIME_WORDS if timed else PLAIN_WORDS) | _OF_RUNS).get(str(verdict), "no claim")
