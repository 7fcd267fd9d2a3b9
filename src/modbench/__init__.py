"""Does skipping tokens pay? `modbench` measures it: FLOPs, latency, memory and loss of dense, MoD and MoDE transformers."""

from pathlib import Path

__version__ = "0.1.0"

# The rooms (harness, models, suites, reports) are links to the top-level folders. A checkout without links
# (the default on Windows) finds the same names by searching the project root as well.
if not (Path(__file__).parent / "harness").is_dir():
    __path__.append(str(Path(__file__).parents[2]))
