"""Stub units that run side by side."""

import stub_jobs

from modbench.harness.domain.notes import Notes
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.phases import Phase

PASS = Pass(name="stub_side", run=stub_jobs.run, notes=Notes, each="case", phase=Phase.COUNT, order=8)
