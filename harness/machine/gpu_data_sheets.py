"""What NVIDIA's data sheets promise of its cards: dense rates, without structured sparsity. Shown beside measured peaks only.

Sources: NVIDIA's data sheets of the A100 (PCIe and SXM, 40 and 80 GB), L40S, H100 (SXM, PCIe, NVL) and H200 (SXM, NVL), which
print the bf16 rate with sparsity; half of it is the dense rate.
"""

from __future__ import annotations

from dataclasses import dataclass


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
