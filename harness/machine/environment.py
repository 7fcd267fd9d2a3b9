"""The environment of a run: versions, processor, memory, git commit, GPU. Loads no torch."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from modbench.harness.machine import nvml
from modbench.harness.machine.process import processes
from modbench.version import __version__

# The checkout that this file lies in: <checkout>/harness/machine/environment.py.
CHECKOUT = Path(__file__).resolve().parents[2]
# Seconds that git may take.
GIT_S = 20
PACKAGES = ("torch", "numpy", "scipy", "pandas", "matplotlib", "seaborn", "pydantic", "nvidia-ml-py")


def collect() -> dict[str, Any]:
    """Collect what a reader needs to judge or repeat a number; what is unknown is null, with a reason."""
    return {
        "python": platform.python_version(),
        # Of modbench itself the code that runs is asked: what a checkout was when it was installed may be an older version.
        "packages": {"modbench": __version__} | {name: _version(name) for name in PACKAGES},
        "system": platform.platform(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "memory_bytes": _memory(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "git": git_state(CHECKOUT),
        "gpu": nvml.devices(),
    }


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    for line in (processes.text_of("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def free_memory() -> int | None:
    """Bytes that are available without swapping; None where the system does not report them."""
    return _memory("MemAvailable")


def all_memory() -> int | None:
    """Bytes of memory and swap of this machine; None where the system does not report them."""
    memory = _memory()
    return None if memory is None else memory + (_memory("SwapTotal") or 0)


def _memory(field: str = "MemTotal") -> int | None:
    for line in (processes.text_of("/proc/meminfo") or "").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return None


def git_state(root: Path) -> dict[str, Any]:
    """Commit of the modbench checkout, and whether it has changes; null with a reason for an installed wheel."""
    if not (root / ".git").exists():
        return {"commit": None, "dirty": None, "reason": "installed from a package, not a git checkout"}
    try:
        commit, changed = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain")
    except (OSError, subprocess.SubprocessError) as error:
        return {"commit": None, "dirty": None, "reason": f"git does not answer ({type(error).__name__})"}
    return {"commit": commit, "dirty": bool(changed)}


def _git(root: Path, *arguments: str) -> str:
    done = processes.answer(["git", "-C", str(root), *arguments], GIT_S)
    done.check_returncode()
    return done.stdout.decode(errors="replace").strip()
