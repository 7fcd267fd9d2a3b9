"""Titles of variants that are given when a run is shown: they take the place of those that it was made with."""

from __future__ import annotations

from collections.abc import Mapping

from modbench.harness.core.errors import UsageError
from modbench.harness.domain.case import Comparison
from modbench.harness.planning.plan import Plan
from modbench.harness.planning.variants import check_titles
from modbench.reports.wording import name, variant_named


def titled(plan: Plan, given: Mapping[str, str], lacking: dict[str, UsageError] | None = None) -> Plan:
    """Return the plan with titles for some of its variants, named as `variant_named` takes them; nothing else of it changes.

    `lacking` takes what is wrong with variants that the plan does not have; without it, that is raised.

    Raises:
        UsageError: if there is no such variant, or two would have the same name.
    """
    by_variant = dict[str, str]()
    for variant, title in given.items():
        try:
            by_variant[variant_named(plan.cases, variant, "variant of --title").variant] = title
        except UsageError as error:
            if lacking is None:
                raise
            lacking[variant] = error
    known: dict[int, Comparison] = {}

    def of(comparison: Comparison) -> Comparison:
        """Jobs at one place share their comparison."""
        if id(comparison) not in known:
            variants = tuple(case.with_title(by_variant.get(case.variant, case.title)) for case in comparison.variants)
            known[id(comparison)] = comparison.model_copy(update={"variants": variants})
        return known[id(comparison)]

    made = plan.model_copy(
        update={
            "comparisons": tuple(map(of, plan.comparisons)),
            "jobs": tuple(job.model_copy(update={"comparison": of(job.comparison)}) for job in plan.jobs),
        }
    )
    variants = {case.variant: case for case in made.cases}
    check_titles((name(case.with_title("")), case.title) for case in variants.values())
    return made
