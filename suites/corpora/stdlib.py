"""The source of the Python standard library: always installed, about 11 MB, PSF licence, nothing downloaded."""

from __future__ import annotations

import functools
import sysconfig
from pathlib import Path

from modbench.harness.core.contracts import Corpus, Text
from modbench.harness.planning.text.corpus import from_files

# Tests are repetitive, and some distributions omit them; site-packages is not the standard library.
LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__"}


@functools.cache  # plans and runs read it more than once, which takes a second
def read(_path: str | None = None) -> Text:
    """Read all `*.py` files of the standard library except tests, idlelib and lib2to3."""
    root = Path(sysconfig.get_path("stdlib"))
    files = (path for path in root.rglob("*.py") if not LEFT_OUT.intersection(path.relative_to(root).parts))
    return from_files("stdlib", files)


CORPUS = Corpus(read=read)
