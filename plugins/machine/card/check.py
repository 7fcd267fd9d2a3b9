"""What `modbench doctor` also says of a GPU: its measured peak beside its data sheet's, and whether its clocks are locked.

Data sheets promise dense rates, without structured sparsity; they are shown beside measured peaks only. Sources: NVIDIA's data
sheets of the A100 (PCIe and SXM, 40 and 80 GB), L40S, H100 (SXM, PCIe, NVL) and H200 (SXM, NVL), which print the bf16 rate with
sparsity; half of it is the dense rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modbench.extend import (
    Dtype,
    Job,
    LocalLauncher,
    MachineCheck,
    MachineFinding,
    ModbenchError,
    PeakFinding,
    PhaseProgress,
    Record,
    about_machine,
    catalogue,
    human,
    run_in_temporary_folder,
    share,
)
from modbench.plugins.machine.card import clocks as card_clocks
from modbench.plugins.machine.card.clocks import Clocks

DTYPES: tuple[Dtype, ...] = ("bf16", "fp32")
# Of the job of a number format.
LIMIT_S = 120.0


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


def jobs_of_card() -> list[Job]:
    """One job for each number format."""
    return [about_machine(catalogue.passes()["peak"], "cuda", dtype, 1e9) for dtype in DTYPES]


def check(progress: PhaseProgress) -> MachineFinding:
    """Measure the card that torch uses.

    Raises:
        ModbenchError: if a measurement left no result.
    """
    with card_clocks.watching() as clocks:
        records = run_in_temporary_folder(jobs_of_card(), LocalLauncher(cold=True, threads=1), progress, LIMIT_S)
    card = judged(records, clocks)
    return MachineFinding([*rows(card)], card.as_dict())


def judged(records: list[Record], clocks: dict[str, Clocks]) -> Card:
    """Put together what was measured with the clocks of the card that was used.

    Raises:
        ModbenchError: if a record has no finding.
    """
    peaks = []
    for record in records:
        if not isinstance(record.findings, PeakFinding):
            why = record.died.reason if record.died else "no result"
            raise ModbenchError(f"the GPU's peak could not be measured: {record.job.name}: {why}")
        peaks.append(record.findings)
    where = records[0].environment
    assert where is not None
    uuid = str(where.device_uuid)
    used = next((found for key, found in clocks.items() if uuid in key), None)
    name = str(where.device)
    return Card(name, where.torch, tuple(peaks), used, sheet_of(name))


def rows(card: Card) -> Iterator[tuple[str, str]]:
    """Its measured peaks beside the data sheet's, and its clocks."""
    for peak in card.peaks:
        promised = getattr(card.sheet, peak.dtype) if card.sheet else None
        yield peak.dtype, f"{human(peak.flop_per_s, 'FLOP')}/s{_share_of_sheet(peak.flop_per_s, promised, 'FLOP')}"
    promised = card.sheet.bytes_per_s if card.sheet else None
    copied = max(peak.bytes_per_s for peak in card.peaks)
    yield "memory", f"{copied / 1e12:.3g} TB/s copied{_share_of_sheet(copied, promised, 'B')}"
    clocks = card.clocks
    if clocks is None:
        yield "clocks", "not known: NVIDIA's driver does not answer for this GPU"
        return
    load = f"{min(clocks.sm_MHz):,.0f}–{max(clocks.sm_MHz):,.0f} MHz under load, " if clocks.sm_MHz else ""
    most = f"at most {clocks.most_MHz:,.0f} MHz; " if clocks.most_MHz else ""
    yield "clocks", f"{load}{most}{clocks.verdict()}"
    if clocks.power_W and clocks.temperature_C:
        yield "under load", f"up to {max(clocks.power_W):.0f} W, {max(clocks.temperature_C):.0f} °C"


def _share_of_sheet(measured: float, promised: float | None, unit: str) -> str:
    if promised is None:
        return "; no data sheet is listed for this GPU"
    sheet = f"{human(promised, unit)}/s" if unit == "FLOP" else f"{promised / 1e12:.3g} TB/s"
    return f", {share(measured / promised)} of the data sheet's {sheet}"


CHECK = MachineCheck("cuda", len(DTYPES), check)
