"""Sources of additions that a run included: folders and packages. run.json names them, so that they are found again.

What run.json says is only said: it may come from a stranger. Folders are included again without a word only where this user's
own state, outside the run, says that he began the run with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from modbench.harness.core.errors import shown
from modbench.harness.core.frozen import Frozen
from modbench.harness.registry import discovery
from modbench.harness.registry.discovery import ROOMS


class Origin(Frozen):
    """Where additions came from.

    Attributes:
        kind: a folder that was included, or an installed package with entry points.
        name: the folder's absolute path, or the package's name and version.
    """

    kind: Literal["folder", "package"]
    name: str

    def in_words(self) -> str:
        """The source in words, and how to bring it back."""
        if self.kind == "folder":
            return f"the folder {shown(self.name, 200)}; if you trust it, add --include {self.name}"
        return f"the package {shown(self.name, 100)}; install it"


def now() -> tuple[Origin, ...]:
    """The sources that this process includes."""
    folders = [Origin(kind="folder", name=str(folder)) for folder in discovery.included_folders()]
    known = dict.fromkeys(point.package for point in discovery.entry_points())
    return (*folders, *(Origin(kind="package", name=name) for name in known))


def include_again(folders: Iterable[str]) -> None:
    """Include folders that this user began a run with, where they are still there; others are named as missing later."""
    there = [folder for folder in map(Path, folders) if any((folder / room).is_dir() for room in ROOMS)]
    discovery.include(there, ROOMS)


def missing(told: Sequence[Origin]) -> list[Origin]:
    """The sources that a run included and this process does not."""
    here = set(now())
    return [each for each in told if each not in here]
