"""Sizes that no suite can mean: refused at once, before anything is expanded, solved or counted.

The limits lie far above what anybody has run. `modbench cost` may go further than a plan: it computes closed forms only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from modbench.harness.core.errors import UsageError
from modbench.harness.core.units import human
from modbench.harness.domain.case import ELEMENT_BYTES, Case, Comparison
from modbench.harness.flops.closed_form import case_cost

if TYPE_CHECKING:
    from modbench.harness.domain.suite import Suite

MOST_ARMS = 500
MOST_CASES = 20_000
MOST_UNITS = 200_000
# Layers of a model that is planned to run; its solver and its counters visit each.
MOST_LAYERS = 1000
# More bytes than any one machine has.
MOST_BYTES = 2.0**46


def check_size(suite: Suite, source: str) -> None:
    """Check that a suite can be expanded: how many arms, cases and units it asks for, and how deep they are.

    Args:
        suite: the suite.
        source: its file, for messages.

    Raises:
        UsageError: if it cannot.
    """
    arms = sum(
        math.prod(
            len(value) for value in (*arm.settings.values(), *arm.options.values()) if isinstance(value, list | tuple)
        )
        for arm in suite.arms
    )
    arms *= len(suite.isoflop.sizes) if suite.isoflop else 1
    _at_most(source, arms, MOST_ARMS, "arms", "Give fewer capacities, sizes or other values")
    grids = [suite.grid, *([suite.decode_grid] if suite.decode_grid else [])]
    points = sum(math.prod(map(len, ((*g.seq_len, *g.request), g.batch_size, g.dtype, g.execution))) for g in grids)
    _at_most(
        source, arms * points, MOST_CASES, "cases", f"{arms} arms at {points} points of the grid: give fewer of them"
    )
    budgets = len(suite.isoflop.budgets) if suite.isoflop else 1
    units = points * suite.launches_limit + arms * budgets * len(suite.seeds)
    _at_most(source, units, MOST_UNITS, "units of work", "Give fewer launches, seeds or points of the grid")
    depths = [size.get("n_layers", 0) for size in (suite.isoflop.sizes if suite.isoflop else ())]
    for settings in (suite.shape, *(arm.settings for arm in suite.arms)):
        depth = settings.get("n_layers", 0)
        depths += [each for each in (depth if isinstance(depth, list | tuple) else [depth]) if type(each) is int]
    _check_depth(source, max(depths, default=0))


def check_called(case: Case, memory: float | None) -> None:
    """Check that a single case can be built and called: how deep it is, and how much memory it needs.

    Args:
        case: the case.
        memory: bytes that this machine has; None: that is not known.

    Raises:
        UsageError: if it cannot.
    """
    _check_depth(f"model {case.model!r}", case.config.n_layers)
    _check_memory(case)
    _check_memory(case, memory, "this machine")


def _check_depth(source: str, layers: int) -> None:
    _at_most(source, layers, MOST_LAYERS, "layers", "`modbench cost` takes deeper models")


def _at_most(source: str, asked: int, most: int, what: str, instead: str) -> None:
    if asked > most:
        number = f"{asked:,}" if asked < 10**15 else f"{asked:.3g}" if asked < 10**300 else "over 10^300"
        raise UsageError(f"{source}: {number} {what}: a plan holds at most {most:,}. {instead}.")


def check_memory(comparisons: Sequence[Comparison]) -> None:
    """Check that no case needs more memory than any machine has, by its closed form.

    Raises:
        UsageError: if one does.
    """
    largest: dict[tuple[object, ...], tuple[int, Case]] = {}
    for comparison in comparisons:
        for case in comparison.arms:
            key = (case.model, case.config, case.place.dtype)
            tokens = case.place.seq_len * case.place.batch_size
            if key not in largest or tokens > largest[key][0]:
                largest[key] = tokens, case
    for _, case in largest.values():
        _check_memory(case)


def _check_memory(case: Case, most: float | None = MOST_BYTES, who: str = "any machine") -> None:
    """Check the forecast of a closed form; of a model of the user's what its logits take, which is the least that it needs."""
    place, cost, width = case.place, case_cost(case), ELEMENT_BYTES[case.place.dtype]
    logits = width * place.batch_size * place.seq_len * case.config.vocab_size
    needed = cost.memory_forward(width) if cost else logits
    if most is not None and needed > most:
        raise UsageError(
            f"{case.id}: a forward pass needs {human(needed, 'B')}, more than {who} has ({human(most, 'B')}). "
            "Make it smaller; `modbench cost` shows what a model of any size costs."
        )
