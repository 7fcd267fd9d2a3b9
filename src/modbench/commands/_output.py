"""What `run`, `resume` and `report` print at their end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modbench.api import Finished


def print_summary(finished: Finished, *, as_json: bool) -> None:
    """Print the summary of a run, as text or as JSON."""
    from modbench.reports import summary

    result = (finished.loaded, finished.report, finished.wall_s)
    print(json.dumps(summary.as_json(*result), indent=1) if as_json else summary.closing(*result))
