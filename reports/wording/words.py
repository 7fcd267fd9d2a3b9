"""Words of verdicts and workloads."""

from __future__ import annotations

# Glyph and word of each verdict, for times; below for everything else.
TIME_WORDS = {
    "better": "▲ faster",
    "worse": "▼ slower",
    "equivalent": "≈ equivalent",
    "different": "△ different",
    "inconclusive": "? undecided",
    "contaminated": "⚠ contaminated",
}
PLAIN_WORDS = {**TIME_WORDS, "better": "▲ better", "worse": "▼ worse"}
# Verdicts on one of several runs: shown in one direction alone, or nothing is claimed.
_OF_RUNS = {
    "not worse": "▵ not worse",
    "not better": "▿ not better",
    "cannot tell": "? cannot tell",
    "not compared": "· not compared",
    "new": "+ new",
    "missing": "– missing",
}
_TIMES_OF_RUNS = _OF_RUNS | {"not worse": "▵ not slower", "not better": "▿ not faster"}
# Timed workloads in the order of the page.
TIMED = (
    ("forward pass", "latency/forward"),
    ("train step", "latency/train_step"),
    ("prefill", "latency/prefill"),
    ("decode step", "latency/decode"),
)
# What a rung of the dense ladder has in common with its target.
MATCHED = {"flops/forward": "FLOPs", "flops/train_step": "training FLOPs", "params": "parameters"}


def verdict_words(verdict: object, unit: str) -> str:
    """Return a verdict as a glyph and a word, or `no claim`; times are faster or slower, all else better or worse."""
    table = TIME_WORDS | _TIMES_OF_RUNS if unit == "s" else PLAIN_WORDS | _OF_RUNS
    return table.get(verdict, "no claim") if isinstance(verdict, str) else "no claim"


def is_number(value: object) -> bool:
    """Whether a table's cell holds a number."""
    return isinstance(value, int | float) and value == value  # noqa: PLR0124  # NaN is the only value unequal to itself
