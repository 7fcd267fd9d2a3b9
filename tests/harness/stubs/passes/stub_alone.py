"""Stub units that run alone, as timed ones do."""

import stub_units

from modbench.harness.core.passes import Pass
from modbench.harness.core.phases import Phase
from modbench.harness.results.notes import Notes

PASS = Pass(name="stub_alone", run=stub_units.run, notes=Notes, phase=Phase.TIME, alone=True, timed=True, order=8)
