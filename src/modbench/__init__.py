"""Does skipping tokens pay? `modbench` measures it: FLOPs, latency, memory and loss of dense, MoD and MoDE transformers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modbench.reports.frames import load

__all__ = ["__version__", "load"]
__version__ = "0.1.0"

# The rooms (harness, models, suites, reports) are links to the top-level folders. A checkout without links
# (the default on Windows) finds the same names by searching the project root as well.
if not (Path(__file__).parent / "harness").is_dir():
    __path__.append(str(Path(__file__).parents[2]))


if not TYPE_CHECKING:  # else type checkers would believe that the package has every name

    def __getattr__(name: str) -> object:
        """Import `load` when it is first asked for: it stands on pandas, which `modbench --help` does not need."""
        if name == "load":
            from modbench.reports.frames import load

            return load
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
