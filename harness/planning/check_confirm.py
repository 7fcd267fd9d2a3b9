"""The table `[confirm]` of a suite: its metrics, its fresh seeds, and checks of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modbench.harness.core.errors import UsageError

if TYPE_CHECKING:
    from modbench.harness.planning.suite import Suite

CONFIRMED = "loss/confirmed"
CAUSAL = "loss/val_causal"
# Seeds of a smoke run, which claims nothing.
SMOKE_SEEDS = 2


def seeds_of(suite: Suite) -> range:
    """The fresh seeds that may be asked for; none if the suite confirms nothing."""
    confirm = suite.confirm
    if confirm is None:
        return range(0)
    return range(confirm.first_seed, confirm.first_seed + (confirm.most if suite.claims else SMOKE_SEEDS))


def check_confirm(suite: Suite, source: str) -> None:
    """Check that a suite can confirm as it says.

    Args:
        suite: the suite.
        source: its file, for messages.

    Raises:
        UsageError: if it cannot.
    """
    confirm = suite.confirm
    if confirm is None:
        if CONFIRMED in suite.metrics:
            raise UsageError(
                f"{source}: metric {CONFIRMED!r} is measured where a sweep is confirmed: add a [confirm] table, or leave it out."
            )
        return
    where = f"{source}: [confirm]"
    if suite.isoflop is None:
        raise UsageError(f"{where} confirms the best of a sweep: it needs an [isoflop] table.")
    for key in (CAUSAL, CONFIRMED):
        if key not in suite.metrics:
            raise UsageError(f"{where} needs metric {key!r}: add it to metrics.")
    if max(suite.seeds) >= confirm.first_seed:
        raise UsageError(
            f"{where}: seed {max(suite.seeds)} explores, and fresh seeds begin at {confirm.first_seed}. Raise "
            "first_seed, so that none does both."
        )
    if suite.claims and len(suite.seeds) < 2:
        raise UsageError(
            f"{where}: one seed shows no spread, from which the number of fresh seeds follows: give seeds = [0, 1]."
        )
