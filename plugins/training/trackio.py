"""trackio: a local data base in trackio/ of the run folder, unless TRACKIO_DIR names another place."""

from __future__ import annotations

import os

from modbench.extend import Logger, Opening, Writer
from modbench.plugins.training.tracker import Tracker


def _open(where: Opening) -> Writer:
    os.environ.setdefault("TRACKIO_DIR", str(where.folder / "trackio"))  # read when the package is imported
    return Tracker("trackio", where, {})


LOGGER = Logger(package="trackio", extra="trackio", open=_open)
