"""A routed block takes k = max(1, floor(c·T)) tokens of every row."""

from __future__ import annotations

from modbench.extend import kept
from modbench.plugins.audit.blocks import calls_of_blocks
from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.probes.skips import built_with
from modbench.plugins.audit.report import Finding, Number, deviates, holds, unseen
from modbench.plugins.audit.routed import ALL_MOVED, need, of_rows

# Lengths as shares of the longest: uneven, so that few rules of rounding agree on all.
SHARES = (1.0, 0.52, 0.32, 0.19, 0.14)
# Capacities that a model is built with, if it takes one: few lengths make them whole numbers of tokens.
CAPACITIES = (0.21, 0.47)
# A capacity may lie this far beyond the ends that lengths allow.
LITTLE = 1e-9


def check(audited: Audited) -> Finding:
    """Count the tokens that leave each routed block changed, at several lengths, and look for a capacity that explains them."""
    routed = need(audited)
    numbers = [each.number for each in routed if each.bypasses]
    if not numbers:
        return unseen(ALL_MOVED)
    longest = audited.case.grid_point.seq_len
    counts: dict[int, set[int]] = {}
    for length in sorted({max(2, round(share * longest)) for share in SHARES}):
        calls = audited.blocks_on(audited.tokens(3, length=length))
        counts[length] = {count for number in numbers for count in of_rows(calls[number].moved_BT)}
    facts = {"counts": {str(length): sorted(found) for length, found in counts.items()}}
    low, high = min(counts[longest]), max(counts[longest])
    if low != high:
        words = "from {low} to {high} of {t} tokens of a row, not one k"
        return deviates(words, "off", low=low, high=high, t=longest, off=high - low, facts=facts)
    if (found := _asked_for(audited, numbers)) is not None:
        return found
    claimed = dict(audited.case.options).get("capacity", audited.case.config.capacity)
    share = claimed if isinstance(claimed, float) else low / longest
    if _capacity(counts) is not None and kept(share, longest) == low:
        of = Number(value=low / longest, kind="share")
        return holds("k = {k} of {t} tokens of every row, {share}", "k", k=low, t=longest, share=of, facts=facts)
    length, wanted = _broken(counts, share)
    got = max(counts[length])
    words = f"{{got}} of {{t}} tokens, {_off(got, wanted)} than k = {{wanted}}"
    return deviates(words, "off", got=got, t=length, wanted=wanted, off=abs(got - wanted), facts=facts)


def _asked_for(audited: Audited, numbers: list[int]) -> Finding | None:
    """A deviation at capacities that the model is built with; None: there is none, or no capacity reaches it."""
    tokens_BT = audited.tokens(3)
    t = tokens_BT.shape[1]
    got: dict[float, list[int]] = {}
    for share in CAPACITIES:
        module = built_with(audited, share)
        if module is None:
            return None
        calls = calls_of_blocks(module, tokens_BT)
        got[share] = sorted({count for number in numbers for count in of_rows(calls[number].moved_BT)})
    if len({tuple(counts) for counts in got.values()}) < len(CAPACITIES):
        return None
    wrong = [share for share, counts in got.items() if counts != [kept(share, t)]]
    if not wrong:
        return None
    share = wrong[0]
    k, wanted = got[share][-1], kept(share, t)
    words = f"{{got}} of {{t}} tokens at c = {{c}}, {_off(k, wanted)} than k = {{wanted}}"
    facts = {"counts": {str(each): counts for each, counts in got.items()}}
    of = Number(value=share, kind="fraction")
    return deviates(words, "off", got=k, t=t, c=of, wanted=wanted, off=abs(k - wanted), facts=facts)


def _off(got: int, wanted: int) -> str:
    """How many tokens are missing, or too many."""
    return "{off} fewer" if got < wanted else "{off} more"


def _capacity(counts: dict[int, set[int]]) -> float | None:
    """A capacity for which k is max(1, floor(c·T)) at every length; None: there is none."""
    least, most = 0.0, 1.0 + LITTLE
    for length, found in counts.items():
        if len(found) > 1 or min(found) < 1:
            return None
        (count,) = found
        least = max(least, count / length if count > 1 else 0.0)
        most = min(most, (count + 1) / length if count < length else 1.0 + LITTLE)
    return least if least < most else None


def _broken(counts: dict[int, set[int]], share: float) -> tuple[int, int]:
    """The length at which the rule is broken, and its k, for the capacity that explains most lengths."""
    wrong = [length for length, found in counts.items() if found != {kept(share, length)}]
    if len(wrong) == len(counts):  # off everywhere: the capacity that was asked for says what is right
        return max(wrong), kept(share, max(wrong))
    tried = [share, *(count / length for length, found in counts.items() for count in found)]
    tried += [(count + 1) / length for length, found in counts.items() for count in found]
    best = max(tried, key=lambda c: (sum({kept(c, length)} == found for length, found in counts.items()), c))
    wrong = [length for length, found in counts.items() if found != {kept(best, length)}]
    at = max(wrong)
    return at, kept(best, at)


PROBE = Probe("k tokens of every row", check, order=110, of=("mod",))
