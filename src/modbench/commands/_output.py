"""What commands print: text and JSON in which data cannot steer a terminal, and the summary of a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from modbench.harness.core.masking import masked
from modbench.harness.core.printable import escaped, escaped_json

if TYPE_CHECKING:
    from modbench.api import Finished


def say(text: str) -> None:
    """Print a text, with control characters as escapes."""
    print(masked(escaped(text)), flush=True)


def say_json(data: object, *, allow_nan: bool = True) -> None:
    """Print JSON, with control characters as JSON's escapes."""
    print(masked(escaped_json(json.dumps(data, indent=1, allow_nan=allow_nan))), flush=True)


def print_summary(finished: Finished, *, as_json: bool) -> None:
    """Print the summary of a run, as text or as JSON."""
    from modbench.reports import summary

    result = (finished.loaded, finished.report, finished.wall_s)
    if as_json:
        say_json(summary.as_json(*result))
    else:
        say(summary.closing(*result))
