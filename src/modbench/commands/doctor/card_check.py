"""The card, as measured now: matrix products and copies beside the data sheet's promises, and its clocks under that load.

Data sheets promise dense rates here, without structured sparsity. Sources: NVIDIA's data sheets of the A100 (PCIe and SXM, 40 and
80 GB), L40S, H100 (SXM, PCIe, NVL) and H200 (SXM, NVL), which print the bf16 rate with sparsity; half of it is the dense rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modbench.harness.core.config import ModelConfig
from modbench.harness.core.errors import ModbenchError
from modbench.harness.domain.case import Case, Comparison, Device, Dtype, Place, Protocol, UnitOfWork
from modbench.harness.domain.notes import PeakFinding
from modbench.harness.domain.passes import Pass
from modbench.harness.domain.records import Record
from modbench.harness.execution.launch.local import LocalLauncher
from modbench.harness.execution.phase import Progress
from modbench.harness.execution.runner import run_in_temporary_folder
from modbench.harness.machine import card_clocks
from modbench.harness.machine.card_clocks import Clocks
from modbench.harness.passes.peak import PASS as PEAK
from modbench.harness.registry import catalogue
from modbench.harness.registry.lookup import with_facts


@dataclass(frozen=True)
class Sheet:
    """Promises of a card.

    Attributes:
        bf16: FLOP/s of dense bf16 matrix products.
        fp32: FLOP/s in fp32, without TF32.
        bytes_per_s: bandwidth of its memory.
    """

    bf16: float
    fp32: float
    bytes_per_s: float


# Words of a name, as the driver writes it, to the promises; the first that fits counts.
SHEETS: tuple[tuple[tuple[str, ...], Sheet], ...] = (
    (("H200", "NVL"), Sheet(835e12, 60e12, 4.8e12)),
    (("H200",), Sheet(989e12, 67e12, 4.8e12)),
    (("H100", "PCIe"), Sheet(756e12, 51e12, 2.0e12)),
    (("H100", "NVL"), Sheet(835e12, 60e12, 3.9e12)),
    (("H100", "HBM3"), Sheet(989e12, 67e12, 3.35e12)),
    (("A100", "SXM4", "80GB"), Sheet(312e12, 19.5e12, 2.039e12)),
    (("A100", "80GB", "PCIe"), Sheet(312e12, 19.5e12, 1.935e12)),
    (("A100", "40GB"), Sheet(312e12, 19.5e12, 1.555e12)),
    (("L40S",), Sheet(362e12, 91.6e12, 0.864e12)),
)


def sheet_of(name: str) -> Sheet | None:
    """The promises of the card with this name; None if its data sheet is not listed here, or for an instance (MIG) of a card."""
    words = {*name.replace("-", " ").split()}
    return next((sheet for needed, sheet in SHEETS if {*needed} <= words and "MIG" not in words), None)


DTYPES: tuple[Dtype, ...] = ("bf16", "fp32")
LIMIT_S = 120.0


@dataclass(frozen=True)
class Card:
    """The measurements of a card.

    Attributes:
        name: as torch names it.
        torch: torch's version.
        peaks: the measured peak in each number format.
        clocks: its clocks under that load; None without NVIDIA's driver.
        sheet: promises of its data sheet; None if not listed.
    """

    name: str
    torch: str
    peaks: tuple[PeakFinding, ...]
    clocks: Clocks | None
    sheet: Sheet | None

    def as_dict(self) -> dict[str, Any]:
        """As JSON data."""
        clocks = self.clocks
        return {
            "name": self.name,
            "torch": self.torch,
            "peaks": [peak.model_dump() for peak in self.peaks],
            "clocks": None if clocks is None else vars(clocks) | {"verdict": clocks.verdict()},
            "sheet": None if self.sheet is None else vars(self.sheet),
        }


def units() -> list[UnitOfWork]:
    """One unit for each number format."""
    return [unit_of(PEAK, "cuda", dtype, 1e9) for dtype in DTYPES]


def unit_of(made_in: Pass, device: Device, dtype: Dtype, flops: float, threads: int = 1) -> UnitOfWork:
    """A unit that finds something about the machine: its pass reads the place, and runs no model."""
    place = Place(seq_len=1, batch_size=1, dtype=dtype, device=device, threads=threads, compile=False)
    case = with_facts(
        Case(model="dense", arm_parts=(), config=ModelConfig.model_validate({"d_model": 64}), place=place)
    )
    return UnitOfWork(
        name=f"{made_in.name}-{dtype}",
        made_in=made_in.name,
        workload="",
        launch=0,
        comparison=Comparison(arms=(case,), metrics=()),
        protocol=Protocol(rounds=1, warm_up_calls=1, seed=0, corpus="stdlib", corpus_path=None, corpus_sha256=""),
        flops=flops,
        facts=catalogue.facts_of_unit(made_in.name, "", ()),
    )


def check(progress: Progress) -> Card:
    """Measure the card that torch uses.

    Raises:
        ModbenchError: if a measurement left no result.
    """
    with card_clocks.watching() as clocks:
        records = run_in_temporary_folder(units(), LocalLauncher(cold=True, threads=1), progress, LIMIT_S)
    return judged(records, clocks)


def judged(records: list[Record], clocks: dict[str, Clocks]) -> Card:
    """Put together what was measured with the clocks of the card that was used.

    Raises:
        ModbenchError: if a record has no finding.
    """
    peaks = []
    for record in records:
        if not isinstance(record.findings, PeakFinding):
            why = record.died.reason if record.died else "no result"
            raise ModbenchError(f"the card's peak could not be measured: {record.unit.name}: {why}")
        peaks.append(record.findings)
    environment = records[0].environment
    assert environment is not None
    uuid = str(environment.device_uuid)
    used = next((found for key, found in clocks.items() if uuid in key), None)
    name = str(environment.device)
    return Card(name, environment.torch, tuple(peaks), used, sheet_of(name))
