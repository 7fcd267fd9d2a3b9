"""What a user's model finds when it imports: the same in every process, whatever was imported there before.

Its neighbours are looked for in its file's folder, then in the current one, which is where the command was started. Two models
may each have a neighbour of the same name: each gets its own.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from types import ModuleType

from modbench.harness.registry import own_code

# Folders that were put on the path, and modules that gave way to others of the same name, by the folder they came from.
_USED: set[Path] = set()
_ASIDE: dict[Path, dict[str, ModuleType]] = {}


def use(*folders: Path) -> None:
    """Let these folders be searched first, in this order, and those of other models no longer.

    Args:
        folders: of the model that is imported or built next.
    """
    roots = list(dict.fromkeys(folder.resolve() for folder in folders))
    for root in roots:
        own_code.import_from_source(root)
    others = {str(folder) for folder in _USED}
    _USED.update(roots)
    sys.path[:] = [*map(str, roots), *(each for each in sys.path if each not in others and each not in map(str, roots))]
    below = tuple(f"{folder}{os.sep}" for folder in _USED)
    found = {name: _root_of(name, module, below) for name, module in list(sys.modules.items())}
    loaded = {name: root for name, root in found.items() if root is not None}
    names = {name.partition(".")[0] for name in (*loaded, *(name for kept in _ASIDE.values() for name in kept))}
    for top in names:
        wanted = next((root for root in roots if (root / f"{top}.py").is_file() or (root / top).is_dir()), None)
        if wanted is None or loaded.get(top) == wanted:
            continue
        for name in [name for name in loaded if name.partition(".")[0] == top]:
            _ASIDE.setdefault(loaded[name], {})[name] = sys.modules.pop(name)
        kept = _ASIDE.get(wanted, {})
        for name in [name for name in kept if name.partition(".")[0] == top]:
            sys.modules[name] = kept.pop(name)


def leave() -> None:
    """Let the folders of all models be searched again: what they import only when they are called is found too."""
    sys.path += [str(folder) for folder in sorted(_USED) if str(folder) not in sys.path]


def _root_of(name: str, module: ModuleType, below: tuple[str, ...]) -> Path | None:
    """The folder on the path that a module was imported from, if it is one of those above."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.startswith(below) or name.partition(".")[0] == "modbench":
        return None
    depth = name.count(".") + (Path(file).stem == "__init__")
    parents = Path(file).parents
    root = parents[depth] if depth < len(parents) else None
    return root if root in _USED else None


def name_of(file: Path) -> str:
    """The name under which a model's file is imported: no other file has it."""
    return f"modbench_user_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
