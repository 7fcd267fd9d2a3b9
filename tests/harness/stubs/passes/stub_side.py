"""Stub units that run side by side."""

import stub_units

from modbench.harness.core.passes import Pass
from modbench.harness.core.phases import Phase
from modbench.harness.results.notes import Notes

PASS = Pass(name="stub_side", run=stub_units.run, notes=Notes, each="case", phase=Phase.COUNT, order=8)
