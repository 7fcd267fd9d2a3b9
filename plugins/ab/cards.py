"""What a run takes of NVIDIA's cards: energy, and the mean clock, by NVML; of all cards that the command sees."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from statistics import fmean
from typing import TYPE_CHECKING

from modbench.extend import nvml

if TYPE_CHECKING:
    from modbench.extend import Child

# Seconds between two readings of the clock.
EVERY_S = 1.0


def seen() -> list[str]:
    """The UUIDs of the cards that a command sees, as CUDA_VISIBLE_DEVICES selects them; none without a driver."""
    found = [str(each["uuid"]) for each in nvml.devices()["devices"]]
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is None:
        return found
    chosen = [each.strip() for each in asked.split(",")]
    return [uuid for at, uuid in enumerate(found) if str(at) in chosen or uuid in chosen]


class Watch:
    """Watches cards while a command runs.

    Attributes:
        devices: the cards.
    """

    def __init__(self, devices: list[nvml.Device]) -> None:
        self.devices = devices
        self.before_mJ = [_energy_mJ(each) for each in devices]
        self.clocks_mhz = list[float]()

    def join(self, running: Child, limit_s: float) -> None:
        """Wait for the command at most so many seconds, and read clocks meanwhile."""
        if not self.devices:
            running.join(limit_s)
            return
        readers = [each for device in self.devices for key, each in device.levels().items() if key == "sm_mhz"]
        left_s = limit_s
        while running.running and left_s > 0:
            running.join(min(EVERY_S, left_s))
            left_s -= EVERY_S
            self.clocks_mhz += [read() for read in readers]

    def took(self) -> dict[str, float | None]:
        """Energy in J and the mean clock in MHz; None where no card tells."""
        spent = [
            None if before is None or after is None else (after - before) / 1e3
            for before, after in zip(self.before_mJ, map(_energy_mJ, self.devices), strict=True)
        ]
        known = [each for each in spent if each is not None]
        energy = sum(known) if known and len(known) == len(spent) else None
        return {"energy_J": energy, "sm_mhz": fmean(self.clocks_mhz) if self.clocks_mhz else None}


@contextlib.contextmanager
def watched(uuids: list[str]) -> Iterator[Watch]:
    """Watch these cards during the `with` block."""
    if not uuids:
        yield Watch([])
        return
    with nvml.driver():
        yield Watch([nvml.Device(each) for each in uuids])


def _energy_mJ(device: nvml.Device) -> int | None:  # noqa: N802  # the unit's own spelling
    """The card's counter; None where it has none that is its own: an older card, or one that is divided (MIG)."""
    read = nvml.or_none(device.energy_mJ) if not device.shared else None
    return None if read is None else int(read)
