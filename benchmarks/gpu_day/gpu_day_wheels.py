"""Packages for a machine without a network: wheels downloaded elsewhere, installed where they lack."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

# What images with torch most often lack, and what those need in turn. Large ones (torch, numpy, scipy, pandas, matplotlib)
# must be there already.
LIGHT = (
    *("annotated-types", "pydantic", "pydantic-core", "typing-extensions", "typing-inspection"),
    *("annotated-doc", "click", "markdown-it-py", "mdurl", "pygments", "rich", "shellingham", "typer"),
    *("jinja2", "markupsafe", "nvidia-ml-py", "platformdirs", "seaborn"),
    *("hypothesis", "iniconfig", "packaging", "pluggy", "pytest", "pytest-timeout", "sortedcontainers"),
)
# Installed together or not at all: each version fits one of the other.
TOGETHER = (("pydantic", "pydantic-core", "typing-extensions", "typing-inspection"), ("pytest", "pluggy", "iniconfig"))
LINUX = (*(f"manylinux_2_{minor}_x86_64" for minor in (28, 17, 12, 5)), "manylinux2014_x86_64")
MOST_BYTES = 60 * 2**20


def fill(folder: Path, python: str) -> int:
    """Download the wheels of `LIGHT` in the versions installed here, for another Python on x86-64 Linux."""
    wanted = [f"{name}=={importlib.metadata.version(name)}" for name in LIGHT if version(name)]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(folder),
    ]
    command += ["--python-version", python, "--implementation", "cp"]
    command += [word for platform in LINUX for word in ("--platform", platform)]
    code = subprocess.run([*command, *wanted], check=False).returncode
    size = sum(wheel.stat().st_size for wheel in folder.glob("*.whl"))
    print(f"{len(list(folder.glob('*.whl')))} wheels, {size / 2**20:.1f} MiB, in {folder}")
    if size > MOST_BYTES:
        print(f"more than {MOST_BYTES / 2**20:.0f} MiB")
    return code or int(size > MOST_BYTES)


def version(name: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def lacking() -> list[str]:
    """Packages of `LIGHT` that are not installed, with those that must fit them."""
    names = {name for name in LIGHT if version(name) is None}
    for group in TOGETHER:
        if names & {*group}:
            names |= {*group}
    return sorted(names)


def install_missing(folder: Path, site: Path) -> None:
    """Install what lacks into a folder for `PYTHONPATH`; nothing else of the machine changes."""
    names = {name.replace("-", "_") for name in lacking()}
    wheels = [str(wheel) for wheel in sorted(folder.glob("*.whl")) if wheel.name.split("-")[0].lower() in names]
    if len(wheels) < len(names):
        found = {Path(wheel).name.split("-")[0].lower() for wheel in wheels}
        sys.exit(f"gpu_day: {folder} has no wheel of {', '.join(sorted(names - found))}; fill it with --fill-wheels.")
    if wheels:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--upgrade"]
        subprocess.run([*command, "--target", str(site), *wheels], check=True)
        print(f"installed from {folder}: {', '.join(sorted(names))}")
