"""The tests of the core where `plugins/` is absent, or of a plug-in where all that it does not need is absent.

    python tests/house/core_alone.py FOLDER [PYTEST OPTION …]
    python tests/house/core_alone.py FOLDER --plugin recommend [PYTEST OPTION …]
    python tests/house/core_alone.py FOLDER --without sweeps [PYTEST OPTION …]

A copy of the checkout in FOLDER loses its plug-ins, its wheel is installed beside it, and tests run there: those of the core,
but for the repository's shape and the docs, which speak of all plug-ins. With `--plugin NAME` that plug-in and those it needs
stay, and its tests run; with `--without NAME` it and those that need it go, and the tests of all that is left run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = (".*", "__pycache__", "build", "dist", "*.egg-info", "runs")


def needs() -> dict[str, set[str]]:
    """What each plug-in needs, itself among them; a need's own needs are named too."""
    manifests = {path.parent.name: path.read_text("utf-8") for path in sorted(ROOT.glob("plugins/*/plugin.toml"))}
    found = {name: {name, *tomllib.loads(text).get("needs", ())} for name, text in manifests.items()}
    for _ in found:
        found = {name: those.union(*(found[each] for each in those)) for name, those in found.items()}
    return found


def main(folder: Path, plugin: str, without: str, options: list[str]) -> int:
    """Copy, install and test; returns pytest's exit code."""
    known = needs()
    stay = [name for name in known if (name in known[plugin] if plugin else without and without not in known[name])]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    for gone in known.keys() - stay:
        shutil.rmtree(folder / "plugins" / gone)
    if not stay:
        shutil.rmtree(folder / "plugins")
    site = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*install, str(site), "."], cwd=folder, check=True)
    tests = [f"plugins/{plugin}", "tests/goldens"] if plugin else ["tests", *(f"plugins/{each}" for each in stay)]
    house = ["--ignore=tests/house", "--ignore=tests/docs"]
    command = [sys.executable, "-m", "pytest", *tests, *house, *options]
    environment = os.environ | {"PYTHONPATH": str(site)}
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--plugin", default="", choices=sorted(needs()))
    chosen.add_argument("--without", default="", choices=sorted(needs()))
    told, rest = parser.parse_known_args()
    sys.exit(main(told.folder.absolute(), told.plugin, told.without, rest))
