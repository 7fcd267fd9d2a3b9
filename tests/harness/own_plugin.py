"""A user's plug-in as a test writes it: files, and the plugin.toml that lists them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from modbench.harness.registry import plugin_manifests


def manifest(folder: Path) -> None:
    """List every file of a folder by the folder of its kind and its own name."""
    kinds = sorted(
        path for path in folder.iterdir() if path.name in {*plugin_manifests.KINDS, *plugin_manifests.FURTHER}
    )
    lines = [
        line
        for kind in kinds
        for line in (
            f"[{kind.name}]",
            *(f'{file.stem} = "{kind.name}/{file.name}"' for file in sorted(kind.glob("*.*"))),
        )
    ]
    (folder / plugin_manifests.MANIFEST).write_text("\n".join(lines) + "\n")


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """A plug-in with these files, by `KIND/NAME.py`; what it had already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    manifest(folder)
    return folder


def use(patch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Use these plug-ins and no other of a user's."""
    patch.setenv(plugin_manifests.VARIABLE, os.pathsep.join(map(str, folders)))
