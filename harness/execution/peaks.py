"""A machine's peaks by shape, measured outside a run: a unit of its own keeps them for later plans."""

from __future__ import annotations

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.errors import ModbenchError
from modbench.harness.domain.case import Case, Comparison, Dtype, Place, Protocol, UnitOfWork
from modbench.harness.domain.notes.findings import RooflineFinding
from modbench.harness.execution.launch.local import LocalLauncher
from modbench.harness.execution.phase import Progress
from modbench.harness.execution.runner import run_in_temporary_folder
from modbench.harness.passes.roofline import PASS as ROOFLINE
from modbench.harness.passes.roofline import WORK
from modbench.harness.registry import catalogue
from modbench.harness.registry.lookup import with_facts

LIMIT_S = 300.0


def unit(threads: int, dtype: Dtype = "fp32") -> UnitOfWork:
    """The unit that measures a CPU with this many threads."""
    place = Place(seq_len=1, batch_size=1, dtype=dtype, device="cpu", threads=threads, compile=False)
    case = with_facts(
        Case(model="dense", arm_parts=(), config=ModelConfig.model_validate({"d_model": 64}), place=place)
    )
    return UnitOfWork(
        name=f"{ROOFLINE.name}-{dtype}",
        made_in=ROOFLINE.name,
        workload="",
        launch=0,
        comparison=Comparison(arms=(case,), metrics=()),
        protocol=Protocol(rounds=1, warm_up_calls=1, seed=0, corpus="stdlib", corpus_path=None, corpus_sha256=""),
        flops=WORK,
        facts=catalogue.facts_of_unit(ROOFLINE.name, "", ()),
    )


def keep_peaks(threads: int, progress: Progress) -> RooflineFinding:
    """Measure the CPU's peaks by shape, which the unit keeps.

    Raises:
        ModbenchError: if the unit left no result.
    """
    (record,) = run_in_temporary_folder([unit(threads)], LocalLauncher(cold=True, threads=threads), progress, LIMIT_S)
    if not isinstance(record.findings, RooflineFinding):
        why = record.died.reason if record.died else "no result"
        raise ModbenchError(f"the peaks by shape could not be measured: {why}")
    return record.findings
