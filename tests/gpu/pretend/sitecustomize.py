"""Loaded by every Python process of a rehearsal, before anything else: a pretend card, put in place as soon as torch is there.

`gpu_day.py --rehearse` sets `MODBENCH_PRETEND_CARD` and puts this folder first on `PYTHONPATH`.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

if os.environ.get("MODBENCH_PRETEND_CARD"):

    class AfterTorch(importlib.abc.MetaPathFinder):
        """Finds torch as usual, and runs `install` once it is loaded."""

        def find_spec(
            self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
        ) -> importlib.machinery.ModuleSpec | None:
            """Wrap the loader of torch; leave every other module alone."""
            if name != "torch":
                return None
            sys.meta_path.remove(self)
            spec = importlib.machinery.PathFinder.find_spec(name, path, target)
            if spec is None or spec.loader is None:
                return spec
            load = spec.loader.exec_module

            def load_and_install(module: ModuleType) -> None:
                load(module)
                from pretend_card import install

                install()

            spec.loader.exec_module = load_and_install  # type: ignore[method-assign]  # this one loader only
            return spec

    sys.meta_path.insert(0, AfterTorch())
    sys.path.append(str(Path(__file__).parents[2] / "harness"))
    from fake_nvml import fake_pynvml

    sys.modules["pynvml"] = fake_pynvml()  # a driver that answers as an H100 does
