"""Stub units that run alone, as timed ones do."""

import stub_jobs

from modbench.harness.domain.notes import Notes
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.phases import Phase

PASS = Pass(name="stub_alone", run=stub_jobs.run, notes=Notes, phase=Phase.TIME, exclusive=True, timed=True, order=8)
