"""Does skipping tokens pay? `modbench` measures it: FLOPs, latency, memory and loss of dense, MoD and MoDE transformers.

PYTEST_DONT_REWRITE: else pytest, for which this is a plug-in, warns wherever modbench was imported before it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modbench.version import __version__

if TYPE_CHECKING:
    from modbench.harness.core.errors import IncompleteError, ModbenchError, NothingMeasuredError, UsageError
    from modbench.plugins.audit.python import Audit, audit
    from modbench.plugins.python.compare import compare
    from modbench.plugins.python.comparison import Comparison
    from modbench.plugins.python.cost import Costs, cost
    from modbench.plugins.python.frames import Results, load
    from modbench.plugins.python.measure import Measurement, measure
    from modbench.plugins.python.runs import Planned, plan, resume, run

__all__ = [
    "Audit",
    "Comparison",
    "Costs",
    "IncompleteError",
    "Measurement",
    "ModbenchError",
    "NothingMeasuredError",
    "Planned",
    "Results",
    "UsageError",
    "__version__",
    "audit",
    "compare",
    "cost",
    "load",
    "measure",
    "plan",
    "resume",
    "run",
]

# The packages (harness, models, suites, reports) are links to the top-level folders. A checkout without links
# (the default on Windows) finds the same names by searching the project root as well.
if not (Path(__file__).parent / "harness").is_dir():
    __path__.append(str(Path(__file__).parents[2]))


if not TYPE_CHECKING:  # else type checkers would believe that the package has every name
    # Names of the core, by the module that has them: imported when first asked for. The others are of plug-ins.
    _PLACES = {
        "harness.core.errors": ("IncompleteError", "ModbenchError", "NothingMeasuredError", "UsageError"),
    }

    def __getattr__(name: str) -> object:
        for module, names in _PLACES.items():
            if name in names:
                from importlib import import_module

                found = getattr(import_module(f"modbench.{module}"), name)
                globals()[name] = found
                return found
        found = _of_plugin(name)
        if found is None:
            raise AttributeError(_without(name))
        globals()[name] = found
        return found

    def _of_plugin(name: str) -> object:
        if name.startswith("_"):
            return None
        from importlib import import_module

        from modbench.harness.registry import plugin_manifests

        plugin = plugin_manifests.with_python_name(name)
        return getattr(import_module(plugin.module(plugin.adds["python"][name])), name) if plugin else None

    def _without(name: str) -> str:
        """What to say of a name that neither the core nor a plug-in has."""
        if name not in __all__:
            return f"module {__name__!r} has no attribute {name!r}"
        from modbench.harness.registry import plugin_manifests

        absent = f"{__name__}.{name} is in a plug-in that is absent: `modbench list plugins` shows what is here."
        return absent + plugin_manifests.perhaps_in()

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
