"""Asks for the stub units that run alone one after the other, so that faults also meet runs that are not decided yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modbench.harness.domain.case import UnitOfWork
from modbench.harness.domain.records import Record
from modbench.harness.domain.suite import Suite
from modbench.harness.planning.adaptive import AdaptiveRule, Decision


class Chain(AdaptiveRule[Any]):
    def groups(self, suite: Suite, units: Sequence[UnitOfWork]) -> dict[str, list[UnitOfWork]]:
        alone = [unit for unit in units if unit.made_in == "stub_alone"]
        return {"chain": alone} if suite.name == "stubs" else {}

    def is_conditional(self, suite: Suite, unit: UnitOfWork) -> bool:
        return unit.comparison.place.seq_len > min(suite.grid.seq_len)

    def decide(self, suite: Suite, units: Sequence[UnitOfWork], records: Mapping[str, Record]) -> Decision:
        del suite
        return Decision(
            [unit.name for unit in units if unit.name not in records][:1], why=f"after {len(records)} of {len(units)}"
        )


RULE = Chain()
