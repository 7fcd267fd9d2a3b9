"""Which blocks are routed: every second, or fewer at even steps."""

from __future__ import annotations

import itertools

from modbench.plugins.audit.model import Audited
from modbench.plugins.audit.probe import Probe
from modbench.plugins.audit.probes.skips import ALL, rows_computed
from modbench.plugins.audit.report import Finding, deviates, holds, unseen
from modbench.plugins.audit.routed import routed_blocks


def check(audited: Audited) -> Finding:
    """See which blocks let tokens by, or skip rows."""
    blocks = len(audited.block_calls)
    if not blocks:
        return unseen("no block is seen: modules that map [B, T, D] to [B, T, D] would be blocks")
    numbers = [each.number for each in routed_blocks(audited)]
    facts = {"routed": numbers, "blocks": blocks}
    which = tuple(str(number) for number in numbers)
    if not numbers and rows_computed(audited) < ALL:
        return unseen("tokens are skipped outside of the modules that map [B, T, D] to [B, T, D]", facts=facts)
    if not numbers:
        return deviates("none of {blocks:block} is routed", "n", n=0, blocks=blocks, facts=facts)
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    if len(steps) > 1:
        words = "blocks {which} of {blocks} (from 0) are routed, in uneven steps"
        return deviates(words, "n", n=len(numbers), which=which, blocks=blocks, facts=facts)
    if steps == {1}:
        words = "{n} of {blocks:block} routed, one after the other"
        return deviates(words, "n", n=len(numbers), blocks=blocks, facts=facts)
    words = "{n:block|blocks} of {blocks} routed, from 0: {which}"
    return holds(words, "n", n=len(numbers), which=which, blocks=blocks, facts=facts)


PROBE = Probe("every second block", check, order=122, of=("mod",))
