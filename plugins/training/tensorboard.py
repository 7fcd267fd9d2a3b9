"""TensorBoard: event files in tensorboard/JOB of the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modbench.extend import Logger, Opening


class _Events:
    def __init__(self, where: Opening) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Steps from `first` on, which an interrupted run may have written, are hidden by a marker in the new file.
        purge = where.first if where.first > 1 else None
        writer: Any = SummaryWriter(str(where.folder / "tensorboard" / where.job), purge_step=purge)
        self.writer = writer

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one scalar for each value."""
        for key, value in values.items():
            self.writer.add_scalar(key, value, step)

    def flush(self) -> None:
        """Write the queue to the file."""
        self.writer.flush()

    def close(self) -> None:
        """Close the file."""
        self.writer.close()


LOGGER = Logger(package="tensorboard", extra="tensorboard", open=_Events, rewinds=True)
